"""The sub-commands of ``automat``; what all of them share is in ``common``."""

from __future__ import annotations

from flows.commands import doctor, library, potentials, references, train

GROUPS = {"library": library.app, "potentials": potentials.app, "references": references.app, "train": train.app}
"""Name on the command line → its commands."""

COMMANDS = (doctor.doctor,)
"""Commands of one word; a function's name is the command's."""
