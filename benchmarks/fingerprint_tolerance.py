r"""What scale errors and shear cost the fingerprint search: the rank of the true template among a whole library.

    python -m benchmarks.fingerprint_tolerance --limit 60

Each template drawn is seen under the linear model in iDPC at ``DOSE``, its lattice scaled and sheared in a random
direction as a wrong pixel size and a distorted scan would do, and searched for as the pipeline does, with the strain
of a calibrated image and with that of the widened search.

A coefficient of the phase image carries noise of variance :math:`R^2 / (4 N q^2)`: N electrons, each of which adds to
the centre of mass the spread R/2 of a disk of radius R = α/λ, integrated.
"""

from __future__ import annotations

import argparse
import sys
from dataclasses import dataclass

import numpy as np
from ase.units import _c, _e, _me
from jaxtyping import Complex, Float, Int64
from pymatgen.core import Structure

from library.fingerprint import Q_MAX
from library.store import Library, open_libraries
from microscopy.linear import structure_factors
from microscopy.micrograph import Modality
from microscopy.optics import Optics
from microscopy.slab import plane_cell
from reconstruction.measurement import Measurement
from reconstruction.query import search
from reconstruction.records import ImageLattice

DOSE, FIELD = 1e4, 51.2
"""e/Å², and the side of the square field of view in Å: 512 pixels of 0.1 Å."""

SEARCHES = {"calibrated": (0.04, False), "widened": (0.2, False), "widened, elements given": (0.2, True)}
"""Strain that the search allows, as in the first attempt of the pipeline and after `widen_search`; whether only
templates of the right elements are searched."""

DISTORTIONS = (
    (0.0, 0.0), (0.01, 0.0), (0.02, 0.0), (0.05, 0.0), (-0.05, 0.0), (0.1, 0.0), (-0.1, 0.0),
    (0.0, 0.02), (0.0, 0.05), (0.0, 0.1), (0.02, 0.02), (0.1, 0.1), (-0.1, 0.1),
)  # fmt: skip
"""(relative error of scale, shear)."""

TIE = 1e-6
"""Templates whose scores differ by less are one structure under two names."""

KEEP = 300
"""Templates that the search passes on to registration."""


@dataclass(frozen=True, eq=False)
class LinearSpectrum:
    """What `Measurement` asks of the spectrum of an image, answered by the linear model with noise.

    Attributes
    ----------
    structure, optics
        Crystal and probe; coefficients are those of the undistorted crystal.
    vectors
        Rows a, b of its cell as the image shows them, Å.
    seed
        Of the noise.
    """

    structure: Structure
    optics: Optics
    vectors: Float[np.ndarray, "2 2"]
    seed: int

    def noise(self, q: Float[np.ndarray, " K"]) -> Float[np.ndarray, " K"]:
        """Variance of a coefficient in rad²."""
        spread = 1e-3 * self.optics.convergence_angle / self.optics.wavelength / 2
        return spread**2 / (DOSE * FIELD**2 * np.asarray(q) ** 2)

    def coefficients(self, g: Float[np.ndarray, "K 2"]) -> Complex[np.ndarray, " K"]:
        """Coefficients of the phase in rad at nodes g of the lattice."""
        indices = np.rint(g @ self.vectors.T).astype(int)
        relativistic = 1 + self.optics.beam_energy * _e / (_me * _c**2)
        phase = self.optics.wavelength * relativistic * structure_factors(self.structure, indices, self.optics)
        rng = np.random.default_rng(self.seed)
        sigma = np.sqrt(self.noise(np.linalg.norm(g, axis=1)) / 2)
        return phase + sigma * (rng.normal(size=len(g)) + 1j * rng.normal(size=len(g)))


def rank(
    library: Library, row: int, scale: float, shear: float, strain: float, rows: Int64[np.ndarray, " R"], seed: int
) -> int:
    """Place, from 1, of a template among rows when its distorted image is searched for."""
    structure, optics = library.template(row).structure, Optics(Modality.IDPC)
    rng = np.random.default_rng(seed)
    angle = rng.uniform(0, 2 * np.pi)
    turn = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    distortion = (1 + scale) * np.array([[1.0, shear], [0.0, 1.0]]) @ turn
    vectors = plane_cell(structure) @ distortion.T
    spectrum = LinearSpectrum(structure, optics, vectors, seed)
    lattice = ImageLattice(vectors, np.zeros((2, 2)), 100.0, 100)
    measurement = Measurement(spectrum, lattice, optics, Q_MAX)  # type: ignore[arg-type]
    found, scores = search(measurement, library, Modality.IDPC, strain, len(rows), rows)
    return int((scores > scores[found == row][0] + TIE).sum()) + 1


def table(library: Library, rows: list[int], seed: int) -> str:
    """Markdown: share of templates first, among ten and among those registered, for each distortion and search."""
    lines = [
        "| scale error | shear | " + " | ".join(f"{name}: first / top 10 / top {KEEP}" for name in SEARCHES) + " |",
        "|---|---|" + "---|" * len(SEARCHES),
    ]
    for scale, shear in DISTORTIONS:
        cells = []
        for strain, known in SEARCHES.values():
            ranks = np.array(
                [rank(library, row, scale, shear, strain, _searched(library, row, known), seed + row) for row in rows]
            )
            cells.append(" / ".join(f"{np.mean(ranks <= limit):.0%}" for limit in (1, 10, KEEP)))
        lines.append(f"| {scale:+.0%} | {shear:.0%} | " + " | ".join(cells) + " |")
        print(lines[-1], file=sys.stderr, flush=True)
    return "\n".join(lines)


def _searched(library: Library, row: int, known: bool) -> Int64[np.ndarray, " R"]:
    return library.rows(elements=library.template(row).structure.symbol_set if known else None)


def main(arguments: list[str] | None = None) -> int:
    """Print the table."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.fingerprint_tolerance", description=main.__doc__)
    parser.add_argument("--limit", type=int, default=60, help="templates drawn from the embedded library")
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args(arguments)
    library = open_libraries(None)
    rows = np.random.default_rng(options.seed).permutation(len(library))[: options.limit]
    print(table(library, rows.tolist(), options.seed))
    return 0


if __name__ == "__main__":
    sys.exit(main())
