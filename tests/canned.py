"""A pipeline whose science is canned, so that what the flow does with it can be seen."""

from __future__ import annotations

import zlib
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import fake_run
import numpy as np
import pytest

from library import store as library_store
from microscopy import readers
from models import denoising, formation, potentials
from planning import verify
from planning.records import Check, Status, Verdict
from reconstruction import drift, point_defects, reconstruct, retrieval
from reconstruction.records import Candidates
from reporting import overlay, report


@dataclass
class Science:
    """What the stages answer, and how often each was asked."""

    calls: Counter[str] = field(default_factory=Counter)
    library: str = "library-1"
    weights: str = "weights-1"
    checkpoint: str = "checkpoint-1"
    judge: Callable[[Candidates], Verdict] = lambda _: fake_run.verdict()
    seen_denoised: list[bool] = field(default_factory=list)
    searches: list[retrieval.RetrievalOptions] = field(default_factory=list)
    fail: dict[str, Exception] = field(default_factory=dict)

    def spent(self) -> Counter[str]:
        """Calls since the last look."""
        calls = Counter(self.calls)
        self.calls.clear()
        return calls

    def count(self, stage: str) -> None:
        self.calls[stage] += 1
        if stage in self.fail:
            raise self.fail[stage]

    def read(self, path: Path, options: readers.ReadOptions) -> Any:
        self.count("ingest")
        image = np.load(path).astype(np.float32)
        micrograph = fake_run.micrograph()
        return replace(micrograph, image=image, source=str(path), elements=options.elements, dose=options.dose)

    def straighten(self, micrograph: Any) -> Any:
        self.count("straighten")
        return micrograph

    def defects(self, micrograph: Any, reconstruction: Any) -> Any:
        self.count("defects")
        return reconstruction

    def denoise(self, micrograph: Any, options: Any, device: str = "cpu") -> Any:
        self.count("denoise")
        return replace(fake_run.denoised(), digest=f"{self.weights}/{options.expert}")

    def retrieve(
        self, micrograph: Any, library: Any, options: retrieval.RetrievalOptions, denoised: Any = None
    ) -> Candidates:
        self.count("retrieve")
        self.searches.append(options)
        self.seen_denoised.append(denoised is not None)
        told = (
            denoised is None,
            options.strain,
            options.use_elements,
            options.supercells,
            options.substitute,
            options.template_free,
            options.exclude,
        )
        return replace(fake_run.candidates(), searched=zlib.crc32(repr(told).encode()))

    def reconstruct(self, micrograph: Any, candidates: Candidates, rank: int) -> Any:
        self.count("reconstruct")
        chosen = candidates.items[rank]
        return replace(
            fake_run.reconstruction(), candidate=chosen, structure=chosen.structure, symmetrised=chosen.structure
        )

    def relax(self, structure: Any, potential: Any, options: Any) -> Any:
        self.count("relax")
        return replace(fake_run.relaxation(), structure=structure, checkpoint=potential.checkpoint)

    def verify(self, micrograph: Any, candidates: Candidates, reconstruction: Any, relaxation: Any) -> Verdict:
        self.count("verify")
        return self.judge(candidates)


def judged(status: Status, *failed: str, confidence: float = 0.5) -> Verdict:
    checks = tuple(Check(name, 0.0, 1.0, name not in failed, "") for name in ("lattice", "fit", "margin", "energy"))
    return Verdict(checks, confidence, status, "as told")


def install(monkeypatch: pytest.MonkeyPatch) -> Science:
    """Put canned science in the place of every stage."""
    fake = Science()
    monkeypatch.setattr(readers, "read_micrograph", fake.read)
    monkeypatch.setattr(drift, "undrifted_micrograph", fake.straighten)
    monkeypatch.setattr(point_defects, "with_point_defects", fake.defects)
    monkeypatch.setattr(denoising, "denoise", fake.denoise)
    monkeypatch.setattr(denoising, "digest", lambda options: f"{fake.weights}/{options.expert}")
    monkeypatch.setattr(retrieval, "retrieve", fake.retrieve)
    monkeypatch.setattr(reconstruct, "reconstruct", fake.reconstruct)
    monkeypatch.setattr(formation, "relax", fake.relax)
    monkeypatch.setattr(verify, "verify", fake.verify)
    monkeypatch.setattr(library_store, "open_libraries", lambda _: SimpleNamespace(digest=fake.library))
    monkeypatch.setattr(
        potentials,
        "load_potential",
        lambda name=None, device="cpu": SimpleNamespace(
            name=name or "SevenNet-0", checkpoint=fake.checkpoint, fallback=""
        ),
    )
    monkeypatch.setattr(overlay, "overlay_png", lambda *_, **__: b"png")
    monkeypatch.setattr(report, "render_report", lambda result, **_: f"<p>{result.image.path}</p>")
    return fake
