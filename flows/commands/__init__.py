"""The sub-commands of ``automat``; what all of them share is in ``common``."""

from __future__ import annotations

from flows.commands import doctor, library, potentials, prune, references, retry, service, status, train, watch

GROUPS = {"library": library.app, "potentials": potentials.app, "references": references.app, "train": train.app}
"""Name on the command line → its commands."""

COMMANDS = (
    watch.watch,
    status.status,
    retry.retry,
    service.serve,
    service.deploy,
    service.worker,
    prune.prune,
    doctor.doctor,
)
"""Commands of one word; a function's name is the command's."""
