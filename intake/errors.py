"""What can go wrong with a watched folder, its ledger or its claims."""

from microscopy.errors import AutoMatError


class IntakeError(AutoMatError):
    """A file, a folder or its metadata cannot be taken in."""

    stage = "intake"


class ClaimedError(IntakeError):
    """Another process has what was asked for."""


class VanishedError(IntakeError):
    """The watched folder is away, as a network share may be; nothing is known about its files."""


class LedgerError(IntakeError):
    """The ledger cannot be read or written."""


class UnreachableError(IntakeError):
    """Whoever runs the jobs does not answer, or takes none for the time being."""
