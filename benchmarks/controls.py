"""Images that must never be accepted: noise, amorphous films, two grains; and how often each is.

    python -m benchmarks.controls --tries 200 --seed 5 --library DIR

Images are made, not simulated: white noise, noise that grows towards low frequencies as iDPC's does, an amorphous film
(atoms at random no closer than a bond, seen through the transfer function of the microscope, at a random dose), and two
grains of one honeycomb side by side. Half of the tries name elements. Each runs through the product's own planner.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from collections import Counter
from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np
import scipy.fft
from jaxtyping import Float32

from benchmarks.measuring import threads
from benchmarks.pipeline import PlainJournal
from flows.reconstruct import explain
from flows.settings import Settings
from microscopy.linear import transfer
from microscopy.optics import Optics
from microscopy.readers import ReadOptions
from microscopy.writers import write_tiff
from models.denoising.spectrum import frequencies
from planning.records import Status
from tasks.resources import source_file
from tasks.store import load, records_in

SHAPE, PIXEL = (512, 512), 0.1
BOND = 1.4
"""Å, shortest distance between atoms of the amorphous film."""

DENSITY = 0.4
"""Atoms per Å² of the film: a few layers of carbon."""

ELEMENTS = (("C",), ("B", "N"), ("Mo", "S"), ("W", "Se"), ("Sn", "S"), ("Ga", "O"))


def white(rng: np.random.Generator) -> Float32[np.ndarray, "H W"]:
    """Nothing but counting noise."""
    return rng.normal(size=SHAPE).astype(np.float32)


def coloured(rng: np.random.Generator) -> Float32[np.ndarray, "H W"]:
    """Counting noise integrated: its amplitude falls with frequency."""
    q = _frequencies()
    return _filtered(rng.normal(size=SHAPE), 1 / np.maximum(q, 0.05))


def amorphous(rng: np.random.Generator) -> Float32[np.ndarray, "H W"]:
    """A film of atoms at random, with noise from a tenth to ten times its contrast."""
    points: list[np.ndarray] = []
    side = SHAPE[0] * PIXEL
    image = np.zeros(SHAPE)
    occupied = np.zeros(SHAPE, dtype=bool)
    reach = int(BOND / PIXEL / 2)
    for x, y in rng.uniform(0, side, size=(int(4 * DENSITY * side**2), 2)):
        i, j = int(y / PIXEL), int(x / PIXEL)
        if occupied[i, j] or len(points) >= DENSITY * side**2:
            continue
        points.append(np.array([x, y]))
        occupied[max(0, i - reach) : i + reach + 1, max(0, j - reach) : j + reach + 1] = True
        image[i, j] += 1
    q = _frequencies()
    seen = _filtered(image, transfer(np.stack([q, np.zeros_like(q)], axis=-1), Optics()))
    return (seen / seen.std() + rng.normal(size=SHAPE) * 10 ** rng.uniform(-1, 1)).astype(np.float32)


def bicrystal(rng: np.random.Generator) -> Float32[np.ndarray, "H W"]:
    """Two honeycombs turned by 8 to 22 degrees, side by side."""
    y, x = np.mgrid[: SHAPE[0], : SHAPE[1]] * PIXEL
    grains = [_honeycomb(x, y, rng.uniform(2.5, 3.4), angle) for angle in (0.0, np.deg2rad(rng.uniform(8, 22)))]
    image = np.where(x < x.max() * rng.uniform(0.35, 0.65), *grains)
    return (image / image.std() + rng.normal(size=SHAPE) * rng.uniform(0.2, 2)).astype(np.float32)


KINDS: Mapping[str, Callable[[np.random.Generator], np.ndarray]] = {
    "white noise": white,
    "integrated noise": coloured,
    "amorphous film": amorphous,
    "two grains": bicrystal,
}


def status(image: Float32[np.ndarray, "H W"], elements: tuple[str, ...] | None, library: tuple[Path, ...]) -> Status:
    """What the product says of an image, with the pixel size ``PIXEL``."""
    with tempfile.TemporaryDirectory(prefix="automat-bench-") as folder, records_in(Path(folder)):
        path = Path(folder) / "image.tif"
        write_tiff(path, image, (PIXEL, PIXEL), {})
        settings = Settings(read=ReadOptions(elements=elements), library=library, relaxation=False)
        found: Status = load(explain(source_file(path), settings, PlainJournal()).best.verdict).status
        return found


def _frequencies() -> np.ndarray:
    return frequencies(SHAPE, (PIXEL, PIXEL))


def _filtered(image: np.ndarray, response: np.ndarray) -> np.ndarray:
    return np.asarray(scipy.fft.irfft2(scipy.fft.rfft2(image) * response, SHAPE), dtype=np.float32)


def _honeycomb(x: np.ndarray, y: np.ndarray, a: float, angle: float) -> np.ndarray:
    turned = [(np.cos(t), np.sin(t)) for t in angle + np.deg2rad([0, 60, 120])]
    waves = [2 * np.pi * (c * x + s * y) * 2 / (np.sqrt(3) * a) for c, s in turned]
    return np.asarray(np.cos(waves[0]) + np.cos(waves[1] + 0.9) + np.cos(waves[2] - 0.4))


def main(arguments: list[str] | None = None) -> int:
    """Print how often each kind was rejected, called ambiguous, and accepted."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.controls", description=__doc__.split("\n")[0])
    parser.add_argument("--tries", type=int, default=200, help="images of each kind")
    parser.add_argument("--seed", type=int, default=5)
    parser.add_argument("--library", type=Path, action="append", default=[], help="folder; the embedded one if none")
    options = parser.parse_args(arguments)
    accepted = 0
    with threads(1):
        for name, make in KINDS.items():
            counts: Counter[Status] = Counter()
            for number in range(options.tries):
                rng = np.random.default_rng([options.seed, number])
                elements = ELEMENTS[number % len(ELEMENTS)] if number % 2 else None
                counts[status(make(rng), elements, tuple(options.library))] += 1
            accepted += counts[Status.ACCEPTED]
            print(f"{name}: {', '.join(f'{count} {found}' for found, count in sorted(counts.items()))}", flush=True)
    return 1 if accepted else 0


if __name__ == "__main__":
    sys.exit(main())
