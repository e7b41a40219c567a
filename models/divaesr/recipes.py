"""Recipes: the stages of a training, from nothing to weights that can be used."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from models.divaesr.bank import CrystalBank
from models.divaesr.configuration import SMALL, Configuration
from models.divaesr.manifest import digest
from models.divaesr.train import train
from models.divaesr.training import Schedule


@dataclass(frozen=True)
class Stage:
    """One run of ``train``: which network, and how."""

    network: str
    schedule: Schedule


@dataclass(frozen=True)
class Recipe:
    """Stages; each starts from what the one before has learnt."""

    configuration: Configuration
    stages: tuple[Stage, ...]


RECIPES = {
    "full": Recipe(
        Configuration(),
        (
            Stage("single", Schedule(steps=2600, each=16, seed=1)),
            Stage("mixture", Schedule(steps=1300, each=16, seed=2, rate=6e-4)),
            Stage("mixture", Schedule(steps=3600, each=16, seed=3, rate=6e-4, joint=0.2)),
            Stage("patterns", Schedule(steps=2600, each=4, seed=4, rate=3e-3)),
        ),
    ),
    "small": Recipe(
        SMALL,
        (
            Stage("single", Schedule(steps=4000, each=2, side=256, seed=1, rate=2e-3)),
            Stage("mixture", Schedule(steps=4000, each=2, side=256, seed=2)),
        ),
    ),
}
"""``full`` made the weights that ship, in 25 minutes of one H100 and, its last stage, in an hour of one core; ``small``
is for two cores and two hours.

One network first sees every kind of image; the experts start as its copies and then specialise, and the gate learns
to tell their kinds. Copies learn faster than experts that start from nothing, for each sees a quarter of the images.
"""


def cook(
    recipe: Recipe,
    training: CrystalBank,
    validation: CrystalBank,
    out: Path,
    facts: dict[str, Any],
    progress: bool = True,
) -> dict[str, float]:
    """Run every stage that is not done yet; what is left half-way goes on from its last checkpoint.

    Parameters
    ----------
    recipe
        What to do.
    training, validation
        Crystals of disjoint materials.
    out
        One folder per stage, and in the last of them the weights.
    facts
        For the manifest: where the crystals come from.
    progress
        Show a progress bar.

    Returns
    -------
    dict
        What the last stage reaches on materials it has not seen.
    """
    start: Path | None = None
    reached: dict[str, float] = {}
    for number, stage in enumerate(recipe.stages, start=1):
        folder = out / f"{number}-{stage.network}"
        made = folder / ("network.safetensors" if stage.network == "single" else "weights")
        if not made.exists():
            stages = [{"network": each.network, **asdict(each.schedule)} for each in recipe.stages[:number]]
            reached = train(
                training,
                validation,
                folder,
                recipe.configuration,
                stage.schedule,
                stage.network,
                start,
                progress=progress,
                facts={**facts, "stages": stages},
            )
        start = made
    return reached


def weights_of(recipe: Recipe, out: Path) -> tuple[Path, str]:
    """Folder of the weights that `cook` leaves, and their digest."""
    folder = out / f"{len(recipe.stages)}-{recipe.stages[-1].network}" / "weights"
    return folder, digest(folder)
