"""What has happened so far in a run."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from prefect import Task

from flows.placement import place
from flows.progress import announce
from planning.records import Found
from tasks.store import Ref


@dataclass
class Journal:
    """What has happened so far: needed to tell of a failure."""

    stage: str = "ingest"
    micrograph: Ref | None = None
    decisions: list[Ref] = field(default_factory=list)
    found: list[Found | None] = field(default_factory=list)
    timings: dict[str, float] = field(default_factory=dict)
    notes: dict[str, None] = field(default_factory=dict)

    def call(self, step: Task[..., Ref], *arguments: Any) -> Ref:
        """Run a step where it belongs."""
        self.stage = step.name
        announce(step.name)
        ref, trouble = place(step, arguments)
        if trouble:
            self.notes[f"{trouble}; computed where the run is"] = None
        self.timings[step.name] = self.timings.get(step.name, 0.0) + ref.seconds
        return ref
