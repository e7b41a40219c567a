"""The errors a person at a microscope may see.

Each stage raises its own subclass, so that a failure names its stage. A message says what is
wrong, with which input, and what to do about it; it is printed as it stands, on one line.
"""


class AutoMatError(Exception):
    """Base of every expected failure; ``stage`` names the step of the pipeline that raised it."""

    stage = "automat"


class ReadError(AutoMatError):
    """A file cannot be read as a micrograph."""

    stage = "ingest"


class CalibrationError(AutoMatError):
    """A micrograph has no usable pixel size."""

    stage = "ingest"


class SimulationError(AutoMatError):
    """A structure cannot be imaged."""

    stage = "simulate"


class DenoiseError(AutoMatError):
    """An image cannot be denoised."""

    stage = "denoise"


class LibraryError(AutoMatError):
    """A template library or one of its sources cannot be used."""

    stage = "retrieve"


class ReconstructionError(AutoMatError):
    """No crystal can be derived from an image."""

    stage = "reconstruct"


class PotentialError(AutoMatError):
    """An interatomic potential cannot be loaded, or cannot describe a structure."""

    stage = "relax"


class ReportError(AutoMatError):
    """A result cannot be written."""

    stage = "report"
