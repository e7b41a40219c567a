"""What reconstruction returns. Frame: x = column, y = row (down), lengths in Å, fractions of the cell named."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Float32
from pymatgen.core import Structure


@dataclass(frozen=True, eq=False)
class ImageLattice:
    """The lattice of the projected image, which may be finer than the crystal's.

    Attributes
    ----------
    vectors
        Rows a, b as (x, y) in Å of the image frame, Gauss-reduced, positive determinant.
    standard_errors
        Of each component of ``vectors``, Å.
    significance
        Signal-to-noise ratio of the periodic part of the image: reflection power over its standard
        deviation if there were no lattice; below about 5 there is no lattice.
    reflections
        Number of reflections that were indexed.
    share
        Share of the reflected power that this lattice explains; the rest is another grain or distortion.
    warnings
        Sentences about a second lattice, drift, too few cells.
    """

    vectors: Float[np.ndarray, "2 2"]
    standard_errors: Float[np.ndarray, "2 2"]
    significance: float
    reflections: int
    share: float = 1.0
    warnings: tuple[str, ...] = ()

    @property
    def relative_error(self) -> float:
        """Largest standard error of a vector over its length."""
        lengths = np.linalg.norm(self.vectors, axis=1)
        return float((np.linalg.norm(self.standard_errors, axis=1) / lengths).max())


@dataclass(frozen=True, eq=False)
class Candidate:
    """One hypothesis: this structure, registered onto the image in this way.

    Attributes
    ----------
    template, source
        Identity in the library and the library's source; ``template`` is empty for a template-free model.
    structure
        The hypothesis as a slab (the template's own cell and cell choice).
    origin
        ``"template"``, ``"substitution"`` or ``"free"``.
    cell
        Rows a, b of the structure's cell as they lie in the image, (x, y) in Å, shape (2, 2).
        A negative determinant means that the structure is seen from its other side.
    crystal
        The same with the distortion of the scan taken out, see ``reconstruction.distortion``.
    shift
        Position of the cell's fractional origin in the image, (x, y) in Å.
    score
        Cosine similarity of the rotation- and translation-invariant fingerprints.
    log_likelihood
        Log likelihood of the image's Fourier coefficients over that of pure noise, phases included.
    log_prior
        Log prior of the hypothesis over that of a perfect match: how far its cell lies from the image's and, for one
        that no library holds, how plausible its chemistry is.
    correlation
        Weighted correlation of measured and predicted coefficients at the lattice nodes, 0 to 1.
    strain
        Largest relative difference of the cell in the image from the template's cell.
    scan_off
        Probability that the scan or the stated pixel size, not the crystal, is what differs.
    probability
        Posterior over the candidates kept.
    amplitude, damping, detector_rotation, transfer_terms
        The image is ``amplitude`` (negative: inverted contrast) times the linear model, damped by exp(−``damping`` q²)
        in Å², seen by a quadrant detector turned by ``detector_rotation`` degrees (None: averaged), its transfer
        corrected by ``transfer_terms`` (see ``registration.transfer_basis``).
    """

    template: str
    source: str
    structure: Structure
    origin: str
    cell: Float[np.ndarray, "2 2"]
    crystal: Float[np.ndarray, "2 2"]
    shift: Float[np.ndarray, " 2"]
    score: float
    log_likelihood: float
    log_prior: float
    correlation: float
    strain: float
    scan_off: float
    probability: float
    amplitude: float = 1.0
    damping: float = 0.0
    detector_rotation: float | None = None
    transfer_terms: tuple[float, ...] = ()

    @property
    def scan_distorted(self) -> bool:
        """Whether the scan, rather than the crystal, is likelier to be what differs from the hypothesis."""
        return self.scan_off > 0.5


@dataclass(frozen=True, eq=False)
class Candidates:
    """Ranked hypotheses, best first, and the lattice they explain.

    ``margin`` is the log odds of the best over the next *different* structure;
    ``searched`` the number of templates compared.
    """

    items: tuple[Candidate, ...]
    lattice: ImageLattice | None
    margin: float
    searched: int

    @property
    def likeness(self) -> float:
        """Best correlation of a known structure that is seen through a distorted scan; zero without one."""
        known = (each.correlation for each in self.items if each.origin == "template" and each.scan_distorted)
        return max(known, default=0.0)


@dataclass(frozen=True)
class PointDefect:
    """One atom that is missing or replaced.

    Attributes
    ----------
    kind
        ``"vacancy"`` or ``"substitution"``.
    element, replaced_by
        What stands there in the perfect crystal, and what stands there instead; None when nothing does.
    position
        (x, y) in Å, image frame.
    cell, site
        Lattice translation of the cell it is in, and index of the atom in the structure; of several atoms of that
        element in one column, which the image cannot tell apart, the first.
    strength
        What is missing (negative) or too much, in units of what the atom itself contributes: a vacancy has -1.
    probability
        Of this defect rather than the perfect column or any other defect.
    """

    kind: str
    element: str
    replaced_by: str | None
    position: tuple[float, float]
    cell: tuple[int, int]
    site: int
    strength: float
    probability: float


@dataclass(frozen=True)
class PointDefects:
    """Deviations from the perfect crystal, atomic column by atomic column.

    Attributes
    ----------
    sites
        Number of columns that were examined.
    detectable
        By element, how many standard errors one missing atom of it amounts to.
    found
        The defects, most probable first.
    note
        Sentences: what could be seen and what could not.
    """

    sites: int
    detectable: Mapping[str, float]
    found: tuple[PointDefect, ...]
    note: str


@dataclass(frozen=True)
class ElementEvidence:
    """How sure an image is of one element of a crystal, the others held.

    Attributes
    ----------
    symbol
        The element.
    alike
        Other elements that explain the image as well, or better, by atomic number.
    unseen
        Whether the image is explained as well without it: it is there because the hypothesis has it.
    """

    symbol: str
    alike: tuple[str, ...]
    unseen: bool = False


@dataclass(frozen=True, eq=False)
class Reconstruction:
    """A crystal and how well the image supports it.

    Attributes
    ----------
    structure
        The crystal as measured: slab, image-fitted in-plane cell and positions, z from the template (P1).
    symmetrised
        The same crystal with the symmetry of ``layer_group`` imposed.
    candidate
        The hypothesis it refines.
    a, b, gamma, lattice_errors
        In-plane cell in Å and degrees, standard errors shape (3,).
    position_errors
        In-plane standard error of each site, Å, shape (N,).
    layer_group, layer_group_symbol, symmetry_tolerance
        Layer group number (1 to 80), Hermann-Mauguin symbol and the tolerance in Å it holds at.
    symmetry_plateau
        Least and greatest tolerance in Å of the sweep around it at which that group is found.
    scale, shear
        Size of the image's cell over the template's (isotropic part) and the shear that remains: calibration.
    cell_average, cell_model, cell_residual
        Unit-cell average of the image, the simulated image of the model on the same grid and scale, and the
        difference over its standard error; shape (h, w), row ~ b, column ~ a, fractional steps.
    columns
        Fractional (u, v) of atomic columns found in the cell average without the model, shape (M, 2).
    chi2
        Weighted misfit per Fourier coefficient after refinement: about one when the model explains the image.
    z_source
        Where z comes from: ``"template"``, ``"bond lengths"`` or ``"relaxation"``; never measured.
    defects
        Point defects; None when nobody looked for them.
    superstructure
        −log₁₀ of the probability that the image has no larger cell than this one; ``reconstruction.superstructure``.
    elements
        How sure the image is of each element.
    """

    structure: Structure
    symmetrised: Structure
    candidate: Candidate
    a: float
    b: float
    gamma: float
    lattice_errors: Float[np.ndarray, " 3"]
    position_errors: Float[np.ndarray, " N"]
    layer_group: int
    layer_group_symbol: str
    symmetry_tolerance: float
    scale: float
    shear: float
    cell_average: Float32[np.ndarray, "h w"]
    cell_model: Float32[np.ndarray, "h w"]
    cell_residual: Float32[np.ndarray, "h w"]
    columns: Float[np.ndarray, "M 2"]
    z_source: str
    warnings: tuple[str, ...] = ()
    chi2: float = 1.0
    defects: PointDefects | None = None
    superstructure: float = 0.0
    elements: tuple[ElementEvidence, ...] = ()
    symmetry_plateau: tuple[float, float] | None = None
