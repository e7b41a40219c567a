"""What a micrograph is: records, file readers, calibration, image formation, noise."""
