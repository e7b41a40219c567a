"""What more workers gain, and what a micrograph costs: ``python -m benchmarks.scaling``."""
