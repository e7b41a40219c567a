"""Image formation in full: abTEM multislice of one cell of a monolayer, kept as a periodic image.

The specimen is periodic, so one cell scanned at the Nyquist rate holds everything a noise-free image of any size,
rotation or pixel size can show: the signal of every detector has no spatial frequency beyond 2α/λ. The expensive
part is computed once per structure and optics; fields of view and noise are made from it in milliseconds.

abTEM needs a rectangular box. Instead of straining a cell until it fits and cutting atoms out of it, an integer
supercell that is rectangular (hexagonal, rectangular and centred lattices: exactly; oblique ones: to a fraction of a
percent, 3 % for the worst of 1,224) is filled by lattice translations, so no atom can be lost. The image is stored
over fractional coordinates, so no position is moved: what remains of the misfit is a shear of each atom's blur.
"""

from __future__ import annotations

import hashlib
import json
import warnings
import zipfile
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from ase.units import _e, _hplanck, _me
from jaxtyping import Float, Int
from pymatgen.core.structure import Structure
from scipy.fft import next_fast_len
from scipy.ndimage import map_coordinates, spline_filter

from microscopy.detector import SEGMENTED, harmonics, segment_masks
from microscopy.errors import SimulationError
from microscopy.files import replacing
from microscopy.linear import scattering
from microscopy.micrograph import Modality
from microscopy.optics import Optics
from microscopy.slab import plane_cell
from microscopy.supercell import boxed, rectangular

SAMPLING = 0.1
"""Å: default sampling of the potential."""
MAX_GPTS = 2048
"""Points per axis of the largest wave function: 32 MB each; beyond, a cell is refused."""
BATCH_POINTS = 2**21
"""Wave-function points propagated at once: 16 MB per array."""
LAST_ELEMENT = 103
"""The tables of Lobato and Van Dyck end at lawrencium."""
VOLT = _hplanck**2 / (2 * np.pi * _me * _e) * 1e20
"""V Å² per Å of electron scattering factor: h² / 2πme."""

_SLICE = 1.0  # Å, thickness of a slice; a bond is longer
_OVERSAMPLING = 4  # with quintic splines: interpolation error below 1e-6 of the contrast
_FORMAT = 3  # of the cached files; part of their key


@dataclass(frozen=True, eq=False)
class CellImage:
    """The signal of a detector over one cell of a monolayer.

    Attributes
    ----------
    fractions
        Fraction of the incident beam collected, shape (S, nb, na): S = 4 for quadrants (centred on +x, +y, -x and -y
        of the slab, turned by ``detector_rotation``) and 1 for an annular detector; sample [s, j, i] is at fractional
        coordinates (i/na, j/nb).
    cell
        Rows a, b as (x, y) in Å, slab frame.
    optics
        The optics used, source size included.
    detector_rotation
        Degrees from the slab's x axis to the centre of the first quadrant, towards y.
    """

    fractions: Float[np.ndarray, "S nb na"]
    cell: Float[np.ndarray, "2 2"]
    optics: Optics
    detector_rotation: float = 0.0

    @property
    def segmented(self) -> bool:
        """Whether the signal is that of four quadrants."""
        return len(self.fractions) > 1

    def blurred(self, sigma: float) -> CellImage:
        """Convolve with an isotropic Gaussian of standard deviation ``sigma`` in Å."""
        if sigma == 0:
            return self
        q2 = np.sum(self.frequencies**2, axis=-1)
        spectrum = np.fft.fft2(self.fractions) * np.exp(-2 * (np.pi * sigma) ** 2 * q2)
        return replace(self, fractions=np.fft.ifft2(spectrum).real)

    def sample(self, points: Float[np.ndarray, "... 2"]) -> Float[np.ndarray, "S ..."]:
        """Interpolate at any positions, periodically and to better than 1e-6 of the contrast.

        Parameters
        ----------
        points
            (x, y) in Å, slab frame, shape (..., 2).
        """
        frac = points @ np.linalg.inv(self.cell)
        _, rows, columns = self._splines.shape
        index = np.stack([frac[..., 1] * rows, frac[..., 0] * columns])
        return np.stack([map_coordinates(s, index, order=5, mode="grid-wrap", prefilter=False) for s in self._splines])

    @cached_property
    def _splines(self) -> np.ndarray:
        """Quintic spline coefficients of the Fourier-upsampled signal, shape (S, 4 nb, 4 na)."""
        count, rows, columns = self.fractions.shape
        spectrum = np.zeros((count, rows * _OVERSAMPLING, columns * _OVERSAMPLING), dtype=complex)
        j, i = harmonics(rows), harmonics(columns)
        spectrum[:, j[:, None], i[None, :]] = np.fft.fft2(self.fractions) * _OVERSAMPLING**2
        fine = np.fft.ifft2(spectrum).real
        return np.stack([spline_filter(f, order=5, mode="grid-wrap") for f in fine])

    @property
    def frequencies(self) -> np.ndarray:
        """Spatial frequency (x, y) in 1/Å of every Fourier coefficient, shape (nb, na, 2)."""
        _, rows, columns = self.fractions.shape
        h, k = np.meshgrid(harmonics(columns), harmonics(rows))
        return np.stack([h, k], axis=-1) @ np.linalg.inv(self.cell).T


def cell_images(
    structure: Structure, optics: Optics, sampling: float = SAMPLING, detector_rotation: float = 0.0
) -> CellImage:
    """Simulate the image of one cell by multislice.

    The lattice is static. The layer's mid-plane is in focus at ``defocus`` 0. A finite source is applied exactly, as a
    convolution of the detector signal.

    Parameters
    ----------
    structure
        A slab in the convention of ``microscopy.slab``.
    optics
        Probe and detector.
    sampling
        Largest sampling of the potential in Å; refined when the detector collects higher angles.
    detector_rotation
        Degrees by which the quadrants are turned from the slab's axes; annular detectors do not notice.

    Returns
    -------
    CellImage
        Deterministic: the same input gives the same bytes on one machine.

    Raises
    ------
    SimulationError
        When the cell is too large for the memory bound, or has no atoms.
    """
    cell = plane_cell(structure)
    box = box_of(structure, optics, sampling)
    rows, extent = box.rows, box.extent
    counts = [2 * int(np.floor((optics.cutoff + 1 / extent.min()) * np.linalg.norm(v))) + 1 for v in cell]
    j, i = np.meshgrid(np.arange(counts[1]), np.arange(counts[0]), indexing="ij")
    frac = np.stack([i / counts[0], j / counts[1]], axis=-1).reshape(-1, 2)
    # Fractional coordinates of the box, then Å in the box: for an oblique lattice this is where its shear goes.
    positions = (frac @ np.linalg.inv(rows)) % 1.0 * extent
    fractions = scan_box(box, box.atoms, optics, positions, detector_rotation)
    point = CellImage(
        fractions.reshape(-1, counts[1], counts[0]), cell, replace(optics, source_size=0.0), detector_rotation
    )
    return replace(point.blurred(optics.source_size), optics=optics)


@dataclass(frozen=True, eq=False)
class Box:
    """A rectangular supercell, as abTEM wants it.

    Attributes
    ----------
    rows
        Integer rows (A, B) of the supercell in cells of the slab.
    extent
        Å along its two sides.
    gpts
        Points of the wave function along them.
    angle
        From the slab's x axis to the box's, rad.
    atoms
        Atomic numbers, positions in the box in Å (of each repetition of the cell, site by site), and its height.
    """

    rows: Int[np.ndarray, "2 2"]
    extent: Float[np.ndarray, " 2"]
    gpts: tuple[int, int]
    angle: float
    atoms: tuple[np.ndarray, np.ndarray, float]


def box_of(structure: Structure, optics: Optics, sampling: float = SAMPLING) -> Box:
    """Box in which a slab is simulated.

    Raises
    ------
    SimulationError
        As `cell_images` does.
    """
    if len(structure) == 0:
        raise SimulationError("the structure has no atoms")
    cell = plane_cell(structure)
    name = structure.composition.reduced_formula
    heavy = sorted({site.specie.symbol for site in structure if site.specie.Z > LAST_ELEMENT})
    if heavy:
        raise SimulationError(f"{name}: no scattering factors are known for {', '.join(heavy)}")
    # Outer angle, or the bright-field disc: the wave must carry it below abTEM's anti-aliasing limit of 2/3 Nyquist.
    highest = max(optics.angles[1], optics.convergence_angle) * 1.05e-3 / optics.wavelength
    sampling = min(sampling, 1 / (3 * highest))
    rows = rectangular(cell, name)
    extent = np.linalg.norm(rows @ cell, axis=1)
    gpts_x, gpts_y = (next_fast_len(int(np.ceil(length / sampling))) for length in extent)
    gpts = (gpts_x, gpts_y)
    if max(gpts) > MAX_GPTS:
        raise SimulationError(
            f"{name}: a box of {extent[0]:.0f} × {extent[1]:.0f} Å needs {gpts[0]} × {gpts[1]} points, more than "
            f"{MAX_GPTS}, at {sampling:.3f} Å; give a smaller cell or a smaller outer angle"
        )
    angle = float(np.arctan2(*(rows @ cell)[0][::-1]))
    return Box(rows, extent, gpts, angle, boxed(structure, rows, extent))


def cached_cell_images(
    structure: Structure,
    optics: Optics,
    folder: str | Path,
    sampling: float = SAMPLING,
    detector_rotation: float = 0.0,
) -> CellImage:
    """``cell_images``, remembered in a folder under a hash of its input (npz, no pickle).

    A damaged or foreign file is computed again and replaced. The source size is applied after reading, so optics that
    differ only in it share one file.
    """
    point = replace(optics, source_size=0.0)
    path = Path(folder) / f"{_digest(structure, point, sampling, detector_rotation)}.npz"
    fractions = stored(path, lambda: cell_images(structure, point, sampling, detector_rotation).fractions)
    image = CellImage(fractions, plane_cell(structure), point, detector_rotation)
    return replace(image.blurred(optics.source_size), optics=optics)


def stored(path: Path, compute: Callable[[], np.ndarray]) -> np.ndarray:
    """Array kept in a file (npz, no pickle); computed and written when the file is missing, damaged or foreign."""
    try:
        with np.load(path, allow_pickle=False) as content:
            return np.asarray(content["fractions"])
    except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile):
        fractions = compute()
    path.parent.mkdir(parents=True, exist_ok=True)
    with replacing(path) as temporary, temporary.open("wb") as stream:
        np.savez(stream, fractions=fractions)
    return fractions


def _digest(structure: Structure, optics: Optics, sampling: float, detector_rotation: float) -> str:
    """Hash of everything the multislice reads, positions to 1e-6 Å."""
    content = {
        "format": _FORMAT,
        "lattice": np.round(structure.lattice.matrix, 6).tolist(),
        "sites": [(site.species_string, *np.round(site.coords, 6).tolist()) for site in structure],
        "optics": asdict(optics),
        "sampling": sampling,
        "detector_rotation": detector_rotation if optics.modality in SEGMENTED else 0.0,
    }
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()


def scan_box(
    box: Box,
    atoms: tuple[np.ndarray, np.ndarray, float],
    optics: Optics,
    positions: Float[np.ndarray, "P 2"],
    detector_rotation: float,
) -> Float[np.ndarray, "S P"]:
    """Fractions collected by each segment at probe positions (Å, box frame), with any atoms in the box."""
    import abtem

    extent, gpts = box.extent, box.gpts
    numbers, coordinates, height = atoms
    # FFTW chooses a plan by timing unless told to estimate: the last bit would vary, and with it a Poisson count.
    fftw = {"fft": "fftw", "fftw.planning_effort": "FFTW_ESTIMATE", "fftw.threads": 1}
    settings = {"device": "cpu", "precision": "float32", "diagnostics.progress_bar": False, **fftw}
    with abtem.config.set(settings), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # abTEM warns of thresholds that concern its own detectors
        thickness = height / np.ceil(height / _SLICE)
        slices = _projected_potential(numbers, coordinates, extent, gpts, thickness, height)
        potential = abtem.PotentialArray(slices, slice_thickness=thickness, extent=tuple(extent))
        probe = abtem.Probe(
            energy=optics.beam_energy,
            semiangle_cutoff=optics.convergence_angle,
            # abTEM focuses on the entrance surface; underfocus moves the focus down the beam.
            defocus=optics.defocus + height / 2,
            # abTEM's C₁₂ is largest where the beam is overfocused.
            astigmatism=-optics.astigmatism,
            astigmatism_angle=np.deg2rad(optics.astigmatism_angle) - box.angle,
            gpts=gpts,
            extent=tuple(extent),
        )
        masks = segment_masks(optics, extent, gpts, box.angle - np.deg2rad(detector_rotation))
        return _collect(probe, potential, positions, masks)


def _projected_potential(
    numbers: np.ndarray,
    positions: np.ndarray,
    extent: np.ndarray,
    gpts: tuple[int, int],
    thickness: float,
    height: float,
) -> np.ndarray:
    """Slices of the potential (V Å), each atom projected into the slice of its centre, shape (slices, gpts).

    Summed in Fourier space from the scattering factors of Lobato and Van Dyck, as abTEM has them. abTEM itself
    deposits atoms on the grid by bilinear interpolation, which at 0.1 Å changes an atom's contrast by several percent
    with its place between grid points: enough to make equivalent atoms look different.
    """
    kx, ky = (harmonics(n) / length for n, length in zip(gpts, extent, strict=True))
    k = np.hypot(kx[:, None], ky).ravel()
    area = float(np.prod(extent)) / (gpts[0] * gpts[1])
    factors = {z: VOLT * scattering(np.array([z]), k, Modality.IDPC).reshape(gpts) for z in np.unique(numbers)}
    slices = np.zeros((round(height / thickness), *gpts), dtype=np.float32)
    which = np.minimum((positions[:, 2] / thickness).astype(int), len(slices) - 1)
    for index in np.unique(which):
        spectrum = np.zeros(gpts, dtype=complex)
        for z, factor in factors.items():
            x, y, _ = positions[(which == index) & (numbers == z)].T
            phases = np.exp(-2j * np.pi * kx[:, None] * x) @ np.exp(-2j * np.pi * y[:, None] * ky)
            spectrum += factor * phases / area
        slices[index] = np.fft.ifft2(spectrum).real
    return slices


def _collect(probe: Any, potential: Any, positions: np.ndarray, masks: np.ndarray) -> np.ndarray:
    """Fractions of the incident intensity behind each mask, shape (S, P), in batches of bounded memory."""
    from abtem import CustomScan

    points = masks.shape[1]
    flat = masks.T.astype(np.float32)
    incident = float(np.sum(np.abs(np.fft.fft2(probe.build(lazy=False).array)) ** 2))
    batch = max(1, BATCH_POINTS // points)
    result = []
    for start in range(0, len(positions), batch):
        scan = CustomScan(positions[start : start + batch])
        waves = probe.multislice(potential, scan=scan, lazy=False).array
        patterns = np.abs(np.fft.fft2(waves)) ** 2
        result.append(patterns.reshape(-1, points) @ flat / incident)
    return np.concatenate(result).T.astype(np.float64)
