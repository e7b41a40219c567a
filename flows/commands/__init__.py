"""The sub-commands of ``automat``; what all of them share is in ``common``."""

from __future__ import annotations

from flows.commands import library, potentials, references, retry, status, train

GROUPS = {"library": library.app, "potentials": potentials.app, "references": references.app, "train": train.app}
"""Name on the command line → its commands."""

COMMANDS = (status.status, retry.retry)
"""Commands of one word; a function's name is the command's."""
