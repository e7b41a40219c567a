"""What the mixture reaches on images of materials it has not seen: ``python -m benchmarks.denoiser.phantoms``.

The images are those of its training (``models.divaesr.imaging``), of the validation materials: every kind in equal
parts, with all artefacts. Noise level, kind and pattern family as the gate sees them, and the PSNR of every expert on
every kind of image.
"""

from __future__ import annotations

import argparse
import sys
from itertools import pairwise
from pathlib import Path

import numpy as np
import torch

from benchmarks.denoiser.gate import LEVELS
from benchmarks.measuring import threads
from flows.train import SEED, banks, read_names, split
from library.store import open_libraries
from models.divaesr.configuration import PATTERNS
from models.divaesr.imaging import Phantoms
from models.divaesr.inference import network
from models.divaesr.manifest import SHIPPED
from models.divaesr.training import VALIDATION_SEED, psnr

ENDS = (-22.0, 26.0)
"""dB, the worst and the best image of the training, beside the borders of the suite ``gate``."""


def main(arguments: list[str] | None = None) -> int:
    """Print three tables."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.denoiser.phantoms", description=__doc__.split("\n")[0])
    parser.add_argument("--library", type=Path, action="append", default=[], help="folder; the embedded one if none")
    parser.add_argument("--hold-out", type=Path, help="file of ids that training did not see")
    parser.add_argument("--weights", type=Path, default=SHIPPED, help="folder; those that ship if none")
    parser.add_argument("--batches", type=int, default=12, help="of two images of every kind")
    given = parser.parse_args(arguments)
    library = open_libraries(given.library or None)
    hidden = read_names(given.hold_out) if given.hold_out else ()
    mixture = network(given.weights)
    kinds = mixture.configuration.kinds
    _, validation = banks(library, split(library, hidden), SEED)
    phantoms = Phantoms(validation, mixture.configuration, torch.device("cpu"))
    values: dict[str, list[np.ndarray]] = {"kind": [], "level": [], "pattern": []}
    quality: list[np.ndarray] = []
    with threads(1), torch.inference_mode():
        for number in range(given.batches):
            batch = phantoms.draw(VALIDATION_SEED + number, 2, 384)
            mixed = mixture(batch.image, batch.mask)
            opinion = mixed.opinion
            values["kind"].append(torch.stack([batch.kind, opinion.experts.argmax(1)]).numpy())
            values["level"].append(torch.stack([batch.level, opinion.level]).numpy())
            values["pattern"].append(torch.stack([batch.pattern, opinion.patterns.argmax(1)]).numpy())
            answers = [expert(batch.image, batch.mask)[0] for expert in mixture.experts]
            quality.append(torch.stack([psnr(each, batch.truth) for each in (*answers, mixed.image)]).numpy())
    kind, level, pattern = (np.concatenate(values[name], axis=1) for name in ("kind", "level", "pattern"))
    decibels = np.concatenate(quality, axis=1)
    print(f"{kind.shape[1]} images; kind right: {np.mean(kind[0] == kind[1]):.3f}; ", end="")
    print(f"what the detector sees right: {np.mean(kind[0] // 2 == kind[1] // 2):.3f}; ", end="")
    print(f"level off by {np.abs(level[0] - level[1]).mean():.2f} dB (mean)\n")
    print(f"| true level, dB | images | off by, dB | pattern of {len(PATTERNS)} right |\n|---|---|---|---|")
    for low, high in pairwise((ENDS[0], *LEVELS, ENDS[1])):
        own = (level[0] >= low) & (level[0] < high)
        said = own & (pattern[0] >= 0)
        right = np.mean(pattern[0][said] == pattern[1][said]) if said.any() else np.nan
        off = np.abs(level[0] - level[1])[own].mean()
        print(f"| {low:g} to {high:g} | {own.sum()} | {off:.2f} | {right:.2f} of {said.sum()} |")
    print(f"\n| PSNR, dB, of | {' | '.join(kinds)} |\n|---|{'---|' * len(kinds)}")
    for name, row in zip((*kinds, "mixture"), decibels, strict=True):
        means = [f"{row[kind[0] == index].mean():.2f}" for index in range(len(kinds))]
        print(f"| {name} | {' | '.join(means)} |")
    return 0


if __name__ == "__main__":
    sys.exit(main())
