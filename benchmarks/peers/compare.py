"""All competitors on the same images: one row an image and competitor."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import asdict, fields
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.columns import ColumnScore, score_columns
from benchmarks.image_quality import ImageQuality, quality
from benchmarks.peers.local import LOCAL, Local, ask
from benchmarks.peers.runner import PEERS, Answer, Peer, ask_peer, peers_folder, write_query
from benchmarks.peers.specimen import Specimen

TIMEOUT = 120.0
"""Seconds an image that a peer may take on average, before the rest is left unanswered."""


def compare(
    specimens: Sequence[Specimen],
    work: Path,
    *,
    competitors: Sequence[Peer | Local] = (*PEERS, *LOCAL),
    environments: Path | None = None,
    timeout: float = TIMEOUT,
) -> Iterator[dict[str, Any]]:
    """Ask every competitor about every image.

    Parameters
    ----------
    specimens
        The images.
    work
        Folder of what is handed to peers and of their answers; what was answered there is not asked again.
    competitors
        Peers and tools of this process.
    environments
        Folder of the peers' environments; None for the usual one.
    timeout
        Seconds an image, on average over a peer's images.

    Yields
    ------
    dict
        JSON-compatible: ``id``, ``dose``, ``competitor``, ``kind``, ``seconds`` (of this image, without imports or
        loading of models), ``problem`` (empty with an answer), and the fields of `ColumnScore` or `ImageQuality` (None
        without an answer).
    """
    inputs = _queries(specimens, work)
    for competitor in competitors:
        if isinstance(competitor, Local):
            for specimen in specimens[:1]:
                ask(competitor, specimen)  # untimed: what is imported on first use is not part of an image's time
            for specimen in specimens:
                yield _row(specimen, competitor, ask(competitor, specimen))
            continue
        ids = [specimen.key for specimen in specimens]
        answers = ask_peer(competitor, environments or peers_folder(), inputs, work / "answers", ids, timeout)
        for specimen, answer in zip(specimens, answers, strict=True):
            yield _row(specimen, competitor, answer)


def _queries(specimens: Sequence[Specimen], work: Path) -> Path:
    """Write the images for peers, into a folder of these images alone."""
    names = hashlib.sha256(" ".join(sorted(specimen.key for specimen in specimens)).encode())
    inputs = work / "queries" / names.hexdigest()[:12]
    for specimen in specimens:
        path = inputs / f"{specimen.key}.npz"
        if not path.is_file():
            write_query(path, specimen.micrograph.image, specimen.pixel_size, specimen.separation, specimen.noise)
    return inputs


def _row(specimen: Specimen, competitor: Peer | Local, answer: Answer) -> dict[str, Any]:
    measure = ColumnScore if competitor.kind == "columns" else ImageQuality
    metrics: dict[str, Any] = dict.fromkeys(field.name for field in fields(measure))
    problem = answer.problem
    if answer.values is not None:
        try:
            metrics = asdict(_measured(specimen, competitor, answer))
        except ValueError as error:
            problem = f"its answer cannot be measured: {error}"
    return {
        "id": specimen.id,
        "dose": specimen.micrograph.dose,
        "competitor": competitor.name,
        "kind": competitor.kind,
        "seconds": answer.seconds,
        **metrics,
        "problem": problem,
    }


def _measured(specimen: Specimen, competitor: Peer | Local, answer: Answer) -> ColumnScore | ImageQuality:
    assert answer.values is not None
    if not np.isfinite(answer.values).all():
        raise ValueError("not all of it is finite")
    if competitor.kind == "columns":
        return score_columns(answer.values, specimen.truth, specimen.micrograph.image.shape, specimen.pixel_size)
    return quality(answer.values, specimen.reference, specimen.pixel_size, specimen.truth.cell)
