"""The groups of sub-commands of ``automat``; what all commands share is in ``common``."""

from __future__ import annotations

from flows.commands import library, potentials, references, train

GROUPS = {"library": library.app, "potentials": potentials.app, "references": references.app, "train": train.app}
"""Name on the command line → its commands."""
