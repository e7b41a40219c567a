r"""The smallest position error that the counted electrons allow: the Cramér–Rao bound of a perfect crystal's image.

The image's coefficient at a reciprocal node is

.. math:: c_G = s\, T(G)\, \frac1A \sum_j f_j(q)\, e^{-2\pi i G\cdot r_j},

known with a circular complex Gaussian error of variance σ²(G). The Fisher information of the positions and of the
amplitude s is then :math:`F_{ab} = \sum_G 2\,\mathrm{Re}(\partial_a c_G^*\,\partial_b c_G)/σ²(G)` over one half of the
nodes, and no unbiased estimate has a covariance below its inverse. In iDPC the shot noise of the gradient is white, and
integration divides its power by :math:`(2\pi q)^2`. See ``docs/cramer-rao.md``. (Dark-field images are not
treated here: their noise follows the signal, so that it is not white.)
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Complex, Float, Int
from pymatgen.core.structure import Structure

from benchmarks.materials import BenchmarkError
from library.fingerprint import nodes
from library.store import open_libraries
from microscopy.detector import phase_gradient
from microscopy.linear import scattering, transfer
from microscopy.multislice import CellImage, cell_images
from microscopy.noise import poisson_counts
from microscopy.optics import Optics
from microscopy.slab import plane_cell

MERGED = 0.1
"""Å: sites nearer than this in projection are one column, which moves as one."""

KNOWN = ("C2", "BN", "MoS2", "WSe2", "SnSe", "CrI3")
"""Formulas of the embedded library whose bounds are printed."""


@dataclass(frozen=True, eq=False)
class PositionBound:
    """Smallest standard errors of a crystal's positions.

    Attributes
    ----------
    sites
        Of one component of each site, in Å, origin known, shape (N,); infinite where the image says nothing.
    rmsd
        Å; the root mean square two-dimensional distance of all sites after the best common origin, which is what the
        benchmark's RMSD measures. Zero for a crystal of one column.
    """

    sites: Float[np.ndarray, " N"]
    rmsd: float


@dataclass(frozen=True, eq=False)
class _Model:
    """Coefficients of the image at the nodes of one Friedel half, their noise, and what each column adds to them."""

    g: Float[np.ndarray, "K 2"]
    indices: Int[np.ndarray, "K 2"]
    variance: Float[np.ndarray, " K"]
    columns: Complex[np.ndarray, "M K"]
    column_of: Int[np.ndarray, " N"]

    @property
    def derivatives(self) -> Complex[np.ndarray, "P K"]:
        """By the (x, y) of every column in Å, and by the relative amplitude."""
        by_site = -2j * np.pi * self.columns[:, None, :] * self.g.T[None, :, :]
        return np.concatenate([by_site.reshape(-1, len(self.g)), self.columns.sum(axis=0)[None, :]])

    @property
    def information(self) -> Float[np.ndarray, "P P"]:
        weighted = self.derivatives / np.sqrt(self.variance)
        return np.asarray(2 * np.real(weighted.conj() @ weighted.T))


def position_bound(cell: CellImage, structure: Structure, dose: float, area: float) -> PositionBound:
    """Bound the errors of a crystal's in-plane positions.

    Parameters
    ----------
    cell
        Noise-free multislice image of one cell of the structure.
    structure
        The slab that it shows.
    dose
        Electrons per Å².
    area
        Å² scanned.

    Returns
    -------
    PositionBound
        For positions of which nothing else is known, amplitude unknown, lattice and optics known.

    Raises
    ------
    BenchmarkError
        If the image is not one of quadrants.
    """
    if not cell.segmented:
        raise BenchmarkError(f"{cell.optics.modality}: the bound is that of iDPC, recorded by quadrants")
    model = _model(cell, structure, dose, area)
    covariance = _covariance(model)
    share = np.bincount(model.column_of)
    count = len(share)
    variances = np.diag(covariance).reshape(count, 2).mean(axis=1)
    # Take the best common origin out of the columns' errors, each column counting with its sites.
    relative = np.kron(np.eye(count) - np.ones((count, 1)) * share / share.sum(), np.eye(2))
    moved = relative @ covariance @ relative.T
    mean_square = float((np.diag(moved).reshape(count, 2).sum(axis=1) * share).sum() / share.sum())
    return PositionBound(np.sqrt(variances)[model.column_of], float(np.sqrt(max(mean_square, 0.0))))


def _covariance(model: _Model) -> np.ndarray:
    """Covariance of the columns' positions, Å²; infinite on the diagonal where the image says nothing."""
    information = model.information
    values, vectors = np.linalg.eigh(information)
    known = values > 1e-12 * values.max()
    inverse = (vectors[:, known] / values[known]) @ vectors[:, known].T
    silent = (vectors[:, ~known] ** 2).sum(axis=1) > 1e-6
    inverse[silent, silent] = np.inf
    count = len(information) - 1
    return np.asarray(inverse[:count, :count])


def _model(cell: CellImage, structure: Structure, dose: float, area: float) -> _Model:
    optics = cell.optics
    rows = plane_cell(structure)
    indices = nodes(rows, optics.cutoff, 0.0)
    measured = coefficients(cell.fractions, indices, cell)
    inside = np.abs(measured) > 0
    indices, measured = indices[inside], measured[inside]
    g = indices @ np.linalg.inv(rows).T
    q = np.linalg.norm(g, axis=1)
    numbers = np.array(structure.atomic_numbers)
    elements, which = np.unique(numbers, return_inverse=True)
    seen = scattering(elements, q, optics.modality)[which] * transfer(g, optics, cell.detector_rotation)
    waves = seen * np.exp(-2j * np.pi * structure.frac_coords[:, :2] @ indices.T)
    total = waves.sum(axis=0)
    amplitude = float(np.real(np.vdot(total, measured)) / np.real(np.vdot(total, total)))
    column_of = projected_columns(structure)
    columns = np.zeros((column_of.max() + 1, len(q)), dtype=complex)
    np.add.at(columns, column_of, amplitude * waves)
    return _Model(g, indices, noise_variance(cell, q, dose, area), columns, column_of)


def coefficients(
    fractions: Float[np.ndarray, "S H W"], indices: Int[np.ndarray, "K 2"], cell: CellImage
) -> Complex[np.ndarray, " K"]:
    """Fourier coefficients of the recorded image at nodes of a cell, from the fractions sampled over whole cells.

    ``fractions`` are those of the quadrants over fractional coordinates, as in `CellImage`; they are integrated.
    """
    _, height, width = fractions.shape
    spectra = np.fft.fft2(fractions) / (height * width)
    reach = (np.abs(indices[:, 0]) < width / 2) & (np.abs(indices[:, 1]) < height / 2)
    at = spectra[:, indices[:, 1] % height, indices[:, 0] % width] * reach
    g = _turned(indices @ np.linalg.inv(cell.cell).T, -cell.detector_rotation)
    along_x, along_y = phase_gradient(at, cell.optics)
    return np.asarray((g[:, 0] * along_x + g[:, 1] * along_y) / (2j * np.pi * (g**2).sum(axis=1)))


def noise_variance(cell: CellImage, q: Float[np.ndarray, " K"], dose: float, area: float) -> Float[np.ndarray, " K"]:
    """Variance of a coefficient (E|δc|²) at spatial frequency q in 1/Å."""
    mean = cell.fractions.mean(axis=(1, 2))
    unit, _ = phase_gradient(np.array([1.0, 0.0, 0.0, 0.0]), cell.optics)
    gradient = float(unit) ** 2 * float(mean.sum()) / 2 / (dose * area)
    return np.asarray(gradient / (2 * np.pi * q) ** 2)


def projected_columns(structure: Structure) -> Int[np.ndarray, " N"]:
    """Number of the projected column of each site."""
    cell, frac = plane_cell(structure), structure.frac_coords[:, :2]
    found: list[np.ndarray] = []
    numbers = []
    for point in frac:
        near = [k for k, other in enumerate(found) if _distance(point - other, cell) < MERGED]
        numbers.append(near[0] if near else len(found))
        if not near:
            found.append(point)
    return np.array(numbers)


def _distance(delta: np.ndarray, cell: np.ndarray) -> float:
    return float(np.linalg.norm((delta - np.round(delta)) @ cell))


def _turned(vectors: np.ndarray, degrees: float) -> np.ndarray:
    angle = np.deg2rad(degrees)
    turn = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    return np.asarray(vectors @ turn.T)


def monte_carlo(
    cell: CellImage, structure: Structure, dose: float, repeats: Sequence[int], draws: int, seed: int = 0
) -> tuple[float, float]:
    """Root mean square error of maximum-likelihood positions over many noisy images, and its bound, both in Å.

    Parameters
    ----------
    cell, structure, dose
        As in `position_bound`.
    repeats
        Cells along a and b in each image.
    draws
        Images.
    seed
        Of their noise.

    Returns
    -------
    tuple
        (error, bound) of one component of a column, root mean square over columns.
    """
    na, nb = repeats
    _, height, width = cell.fractions.shape
    area = na * nb * float(abs(np.linalg.det(cell.cell)))
    model = _model(cell, structure, dose, area)
    derivatives = model.derivatives
    step = np.linalg.solve(model.information, 2 * (derivatives.conj() / model.variance).real)
    other = np.linalg.solve(model.information, -2 * (derivatives.conj() / model.variance).imag)
    rng = np.random.default_rng(seed)
    clean = coefficients(cell.fractions, model.indices, cell)
    pixel = area / (na * nb * height * width)
    errors = []
    for _ in range(draws):
        tiled = np.tile(cell.fractions, (1, nb, na))
        noisy = poisson_counts(tiled, dose, pixel, rng) / (dose * pixel)
        folded = noisy.reshape(len(noisy), nb, height, na, width).mean(axis=(1, 3))
        residual = coefficients(folded, model.indices, cell) - clean
        errors.append((step @ residual.real + other @ residual.imag)[:-1])
    covariance = _covariance(model)
    return float(np.sqrt(np.mean(np.square(errors)))), float(np.sqrt(np.diag(covariance).mean()))


def main(arguments: list[str] | None = None) -> int:
    """Print the tables of ``docs/cramer-rao.md``."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.cramer_rao", description=main.__doc__)
    parser.add_argument("--draws", type=int, default=400, help="noisy images of the Monte Carlo check")
    draws = parser.parse_args(arguments).draws
    library = open_libraries(None)
    print("| monolayer | error of Monte Carlo, Å | bound, Å | ratio | RMSD bound at 10³, 10⁴, 6·10⁴ e/Å², Å |")
    print("|" + "---|" * 5)
    for formula in KNOWN:
        structure = library.template(int(library.rows(formula=formula)[0])).structure
        cell = cell_images(structure, Optics())
        error, bound = monte_carlo(cell, structure, 1e4, (4, 3), draws)
        field = [position_bound(cell, structure, dose, 51.2**2).rmsd for dose in (1e3, 1e4, 6e4)]
        texts = ", ".join(f"{value:.4f}" for value in field)
        print(
            f"| {structure.composition.reduced_formula} | {error:.5f} | {bound:.5f} | {error / bound:.3f} | {texts} |"
        )
    return 0


if __name__ == "__main__":
    sys.exit(main())
