"""The flows of a watched folder: one looks for new micrographs, the other reconstructs one of them."""

from __future__ import annotations

import errno
import logging
import time
from pathlib import Path
from typing import Any

import httpx
from prefect import flow
from prefect.client.orchestration import get_client
from prefect.exceptions import PrefectException
from prefect.runtime import flow_run
from prefect.states import Completed, Crashed, Failed
from prefect.states import State as RunResult

from flows import artifacts
from flows.reconstruct import Outcome, process
from flows.settings import load_settings
from flows.submission import PrefectRuns, tidy
from intake.claims import claim, finish, finished
from intake.errors import IntakeError
from intake.ledger import Ledger
from intake.passing import Pass, PassSettings, one_pass
from intake.places import LEDGER, shown
from intake.records import State
from microscopy.errors import AutoMatError
from microscopy.readers import digest
from planning.records import Status
from reporting import words
from tasks.assembly import failure
from tasks.store import GoneError

logger = logging.getLogger("automat")

PASSING = frozenset(
    {errno.ENOSPC, errno.EDQUOT, errno.EIO, errno.ESTALE, errno.EMFILE, errno.ENFILE, errno.ENOMEM, errno.ETIMEDOUT}
)
"""System errors that are not the micrograph's fault: it gets another run when there is room again."""

QUIET = "Quiet"
"""Name of the state of a pass that found nothing to do."""


@flow(name="reconstruct-file", flow_run_name="{name}", validate_parameters=False)
def reconstruct_dropped(
    name: str, path: str, settings: dict[str, Any], options: dict[str, Any], out: str, sha256: str, key: str
) -> RunResult[None]:
    """Reconstruct one micrograph of a watched folder, once.

    Parameters
    ----------
    name
        What people call the file.
    path
        Where it was seen.
    settings
        `Settings` of the folder, as JSON.
    options
        What is known of this file: fields of its `ReadOptions`, over those of the folder.
    out
        Parent of the run folder.
    sha256
        Of its contents when it was seen.
    key
        Of the processing: that of the contents, and how often the user asked for it again.

    Returns
    -------
    State
        Completed and named after the verdict, failed with the reason, or crashed if the machine is to blame: then it is
        run again.
    """
    folder = Path(out)
    document = finished(folder, key)
    if document is None:
        with claim(folder, key):
            document = finished(folder, key) or _reconstruct(name, Path(path), settings, options, folder, sha256)
            if document.get("again"):
                return Crashed(message=document["reason"])
            finish(folder, key, document)
    _tag(document)
    if document["status"] == Status.FAILED:
        return Failed(message=document["reason"])
    return Completed(name=str(document["status"]).capitalize(), message=_summary(document, folder))


@flow(name="drop-folder", flow_run_name="{folder}", validate_parameters=False)
def drop_folder(folder: str, out: str, settings: dict[str, Any], in_flight: int, settle: float) -> RunResult[None]:
    """Look into a folder once: note what is new, settle what is done, start what waits.

    Parameters
    ----------
    folder
        Where micrographs are dropped.
    out
        Where results and the ledger are.
    settings
        `Settings` of every file in it, as JSON.
    in_flight
        Runs under way at most.
    settle
        Seconds that a file must not have changed for.
    """
    root, results = Path(folder), Path(out)
    patience = PassSettings(in_flight=in_flight, settle=settle)
    with get_client(sync_client=True) as client, Ledger(results / LEDGER, root=root) as ledger:
        done = one_pass(ledger, root, results, PrefectRuns(client, settings, results), time.time(), patience)
        news = bool(done.new or done.started or done.finished or done.failed or done.lost)
        if news:
            artifacts.publish_ledger(root.name, ledger)
        tidy(client, QUIET)
    message = _told(done)
    if done.trouble:
        logger.warning("%s: %s", shown(folder), "; ".join(done.trouble))
    return Completed(message=message) if news or done.trouble else Completed(name=QUIET, message=message)


def _reconstruct(
    name: str, path: Path, settings: dict[str, Any], options: dict[str, Any], out: Path, sha256: str
) -> dict[str, Any]:
    """Run everything; returns what the ledger will hold of it."""
    started = time.time()
    error: Exception | None
    try:
        merged = load_settings(None, {**settings, "read": {**settings.get("read", {}), **options}})
        if digest(path) != sha256:
            raise IntakeError(f"{path}: changed after it was seen; the new contents are processed by themselves")
        outcome, error = process(name, path, merged, out)
    except (AutoMatError, OSError) as problem:
        outcome, error = Outcome(failure(path, sha256, problem, "intake"), None), problem
    result = outcome.result
    return {
        "status": str(result.status),
        "confidence": result.confidence,
        "formula": result.structure.formula if result.structure else None,
        "reason": result.reason,
        "folder": outcome.folder.name if outcome.folder else None,
        "seconds": round(time.time() - started, 3),
        **({"again": True} if _machine_to_blame(error) else {}),
    }


def _machine_to_blame(error: BaseException | None) -> bool:
    """Whether the disk, the memory, the cache or Prefect's server failed, and not the analysis of the micrograph."""
    if isinstance(error, httpx.HTTPError | PrefectException):  # not wrapped: no step of ours asked
        return True
    while error is not None:
        if isinstance(error, MemoryError | GoneError) or (isinstance(error, OSError) and error.errno in PASSING):
            return True
        error = error.__cause__ or error.__context__
    return False


def _told(done: Pass) -> str:
    """One line: what happened, then what there is."""
    happened = {
        "new": done.new,
        "started": done.started,
        "done": done.finished,
        "failed": done.failed,
        "lost": done.lost,
    }
    parts = [f"{len(names)} {word}" for word, names in happened.items() if names]
    there = [f"{done.counts[state]} {state}" for state in State if done.counts.get(state)]
    return "; ".join([*parts, *done.trouble, f"in all {', '.join(there) or 'nothing'}"])


def _summary(document: dict[str, Any], out: Path) -> str:
    """One line: the answer, or why there is none, and where to read about it."""
    answer = document["reason"] or "no reason was recorded"
    if document.get("formula") and document["status"] != Status.REJECTED:
        sure = words.percent(document["confidence"]).replace("\N{NO-BREAK SPACE}", " ")  # logs would spell it out
        answer = f"{words.formula(document['formula'])}, {sure}"
    return f"{answer}; see {shown(str(out / document['folder']))}" if document.get("folder") else answer


def _tag(document: dict[str, Any]) -> None:
    """Mark the run with its verdict, and with what was found, so that the Prefect UI can filter by both."""
    id = flow_run.get_id()
    if id is None:
        return
    found = {document["formula"]} if document.get("formula") and document["status"] != Status.REJECTED else set()
    with get_client(sync_client=True) as client:
        client.update_flow_run(id, tags=sorted({*flow_run.get_tags(), document["status"], *found}))
