r"""How far a relaxation moves what was measured, in units of what measurement and potential leave open.

Let :math:`x_k` be the free in-plane coordinates of the sites, Å: along the directions that site symmetry leaves open,
one set for each orbit of sites, the mean over the orbit. Let :math:`e_l` be the invariant components of the in-plane
strain. Then

.. math:: \chi^2 = \min_t \sum_k \frac{(x_k - t_k)^2}{\sigma_k^2 + \phi^2}
          + e^T (C + \phi_s^2)^{-1} e,

with t a rigid translation that the symmetry allows, :math:`\sigma_k` and C the standard errors of the measurement in
those coordinates, and :math:`\phi, \phi_s` what a correct structure moves anyway (`POSITION_FLOOR`, `STRAIN_FLOOR`).
Divided by the number of coordinates it is about one for a right hypothesis: far above, the relaxation leaves the
measured positions, which speaks against the hypothesis (or against the potential for it).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from ase.spacegroup.symmetrize import prep_symmetry
from jaxtyping import Float
from pymatgen.core import Structure

from models.relaxation.descent import SYMMETRY_TOLERANCE
from models.relaxation.slabs import shifts, strain, to_atoms

POSITION_FLOOR = 0.05
"""Å, what 68 % of the free coordinates of DFT structures (optB88) move less than with SevenNet-0; half move less than
0.013 Å, but one in twenty more than 0.2 Å. Measured by ``python -m benchmarks.relax_floor``."""

STRAIN_FLOOR = 0.02
"""The same of free strains; half are below 0.008, one in twenty above 0.07."""


@dataclass(frozen=True, eq=False)
class Moved:
    """What a relaxation moved, against measured values.

    Attributes
    ----------
    displacements
        In-plane displacement (x, y) of each site in Å, frame of the relaxed slab, cell strain and mean taken out.
    scores
        Its length over the root of (twice, for two coordinates) squared standard error and floor, shape (N,).
    strain, strain_scores
        Relative change of a and b and change of gamma in degrees, and each over the root of squared error and floor.
    coordinates, strains
        x_k − t_k in Å and e_l: what symmetry leaves free, shapes (K,) and (L,).
    free
        Number of independent ones: the coordinates less the rigid translations, and the strains.
    chi2
        As in the module's equation.
    """

    displacements: Float[np.ndarray, "N 2"]
    scores: Float[np.ndarray, " N"]
    strain: Float[np.ndarray, " 3"]
    strain_scores: Float[np.ndarray, " 3"]
    coordinates: Float[np.ndarray, " K"]
    strains: Float[np.ndarray, " L"]
    free: int
    chi2: float

    @property
    def chi2_per_coordinate(self) -> float:
        """χ² over the number of free coordinates: about one for a right hypothesis, more is evidence against it.

        Zero where nothing is free.
        """
        return self.chi2 / self.free if self.free else 0.0


def moved(
    before: Structure,
    after: Structure,
    position_errors: Float[np.ndarray, " N"] | Float[np.ndarray, "N 2"],
    lattice_errors: Float[np.ndarray, " 3"],
    floor: float = POSITION_FLOOR,
    strain_floor: float = STRAIN_FLOOR,
) -> Moved:
    """Compare a relaxed slab with the measured one that it was relaxed from.

    Parameters
    ----------
    before, after
        Measured (or symmetrised) and relaxed slab, the same sites in the same order, cells of one orientation. The
        symmetry of ``before`` (`SYMMETRY_TOLERANCE`) says which coordinates are free.
    position_errors
        Standard error of each site, Å, per coordinate: one for both, or (x, y).
    lattice_errors
        Standard errors of a and b in Å and of gamma in degrees; with the error of the pixel size, when that is open.
    floor, strain_floor
        Standard deviation that is added for the potential, Å and relative.
    """
    errors = np.asarray(position_errors, dtype=float)
    errors = np.broadcast_to(errors[:, None] if errors.ndim == 1 else errors, (len(before), 2))
    displacement = shifts(before, after)
    symmetry = _Symmetry(before)
    x, variance, along = symmetry.coordinates(displacement, errors)
    variance = variance + floor**2
    weight = 1 / np.sqrt(variance)
    shift, *_ = np.linalg.lstsq(along * weight[:, None], x * weight, rcond=None)
    x = x - along @ shift
    translations = int(np.linalg.matrix_rank(along, tol=1e-6)) if len(x) else 0
    change, relative = strain(before, after), _relative(before, np.asarray(lattice_errors, dtype=float))
    e, covariance = symmetry.strains(before, change, relative)
    covariance = covariance + strain_floor**2 * np.eye(len(e))
    of_positions = float((x**2 / variance).sum())
    of_strain = float(e @ np.linalg.solve(covariance, e))
    spread = np.sqrt(relative**2 + strain_floor**2)
    per_site = np.linalg.norm(displacement, axis=1) / np.sqrt((errors**2).sum(axis=1) + 2 * floor**2)
    return Moved(
        displacements=displacement,
        scores=per_site,
        strain=change,
        strain_scores=np.abs(_in_radians(change)) / spread,
        coordinates=x,
        strains=e,
        free=len(x) - translations + len(e),
        chi2=of_positions + of_strain,
    )


def _relative(structure: Structure, errors: np.ndarray) -> np.ndarray:
    """Errors of a and b relative to them, and of gamma in radians."""
    return np.array([errors[0] / structure.lattice.a, errors[1] / structure.lattice.b, np.radians(errors[2])])


def _in_radians(change: np.ndarray) -> np.ndarray:
    return np.array([change[0], change[1], np.radians(change[2])])


class _Symmetry:
    """Operations of a slab in its plane."""

    def __init__(self, structure: Structure) -> None:
        atoms = to_atoms(structure)
        rotations, _, images = prep_symmetry(atoms, SYMMETRY_TOLERANCE)
        basis = np.array(atoms.cell).T
        self.turns = np.array([(basis @ turn @ np.linalg.inv(basis))[:2, :2] for turn in rotations])
        self.images = np.array(images)  # images[g, i] is the site that operation g takes site i to

    def coordinates(self, displacement: np.ndarray, errors: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """x_k, their measured variances, and how a translation along x and y changes them, shapes (K,), (K,), (K, 2).

        The displacements of an orbit, turned back to its first site, are averaged and projected on what is free there.
        """
        x, variances, along = [], [], []
        for first in np.unique(self.images.min(axis=0)):
            to = self.images[:, first]
            free, size = self.turns[to == first].mean(axis=0), len(set(to))
            back = np.swapaxes(self.turns, 1, 2)
            mean = np.einsum("gij,gj->i", back, displacement[to]) / len(to)
            spread = np.einsum("gij,gj->i", back**2, errors[to] ** 2) / len(to) / size
            translated = back.mean(axis=0)
            values, vectors = np.linalg.eigh((free + free.T) / 2)
            for value, direction in zip(values, vectors.T, strict=True):
                if value > 0.5:
                    x.append(direction @ mean)
                    variances.append(direction**2 @ spread)
                    along.append(direction @ translated)
        return np.array(x), np.array(variances), np.array(along).reshape(-1, 2)

    def strains(self, before: Structure, change: np.ndarray, errors: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return e_l and the covariance C, from the change of a, b and gamma and their relative errors."""
        lattice = before.lattice
        unit = lattice.matrix[:2, :2] / np.array(lattice.abc[:2])[:, None]
        a, b = unit
        cos, sin = a @ b, abs(float(np.linalg.det(unit)))
        # In components xx, yy, √2 xy of ε: d ln a = aεa, d ln b = bεb, d gamma = ((aεa + bεb) cos − 2 aεb) / sin.
        rows = np.array([_quadratic(a, a), _quadratic(b, b), _quadratic(a, b)])
        rows[2] = ((rows[0] + rows[1]) * cos - 2 * rows[2]) / sin
        inverse = np.linalg.inv(rows)
        tensors = _TENSORS
        turned = np.einsum("gij,tjk,glk->gtil", self.turns, tensors, self.turns).mean(axis=0)
        projector = np.einsum("til,sil->st", turned, tensors)
        values, vectors = np.linalg.eigh((projector + projector.T) / 2)
        free = vectors[:, values > 0.5]
        onto = free.T @ inverse
        return onto @ _in_radians(change), onto @ np.diag(errors**2) @ onto.T


_TENSORS = (
    np.array([[[1, 0], [0, 0]], [[0, 0], [0, 1]], [[0, 1], [1, 0]]]) / np.array([1, 1, np.sqrt(2)])[:, None, None]
)
"""Orthonormal basis of symmetric tensors: xx, yy, √2 xy."""


def _quadratic(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """Components of `first` ε `second` in the basis `_TENSORS`."""
    return np.einsum("i,tij,j->t", first, _TENSORS, second)
