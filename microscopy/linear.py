r"""The fast linear model of image formation: what a thin monolayer looks like, in microseconds.

A monolayer is a weak phase object, so an image is the projected scattering power, blurred by a transfer
function that depends on the probe and the detector only. In Fourier space, at a reciprocal lattice node G,

.. math:: F_G = \frac{T(q)}{A} \sum_j f_j(q)\, e^{-2\pi i\, G \cdot r_j}, \qquad q = |G|,

with A the cell area. iDPC measures the projected potential [1]_: f is the electron scattering factor
(Lobato and Van Dyck [2]_, the tables of abTEM). HAADF and ADF are incoherent: f = Z^1.7, screened by the
finite size of an atom's scattering; T is then the Fourier transform of the probe intensity [3]_. ABF is
taken as an inverted incoherent image with a weaker dependence on Z.

Thermal motion, source size and small aberrations damp F as a Gaussian, which is fitted where it matters.

References
----------
.. [1] Lazić, Bosch, Lazar, Ultramicroscopy 160 (2016) 265.
.. [2] Lobato, Van Dyck, Acta Cryst. A70 (2014) 636.
.. [3] Nellist, in Scanning Transmission Electron Microscopy (Springer, 2011), chapter 2.
"""

from __future__ import annotations

import importlib.util
import json
from functools import lru_cache
from pathlib import Path

import numpy as np
import scipy.fft
from ase.data import chemical_symbols
from jaxtyping import Complex, Float, Int
from pymatgen.core import Structure
from scipy.ndimage import map_coordinates

from microscopy.micrograph import Modality
from microscopy.optics import Optics
from microscopy.slab import plane_cell

INCOHERENT_EXPONENT = {Modality.HAADF: 1.7, Modality.ADF: 1.6, Modality.ABF: 0.7}
"""Power of Z that the intensity of a column follows (HAADF: Krivanek et al., Nature 464 (2010) 571)."""

INCOHERENT_WIDTH = 0.1
"""Å, standard deviation of the scattering of one atom into a high-angle detector (thermal motion included)."""


def structure_factors(
    structure: Structure, indices: Int[np.ndarray, "K 2"], optics: Optics
) -> Complex[np.ndarray, " K"]:
    """Fourier coefficients of the linear image of a slab, averaged over the orientation of the detector.

    Parameters
    ----------
    structure
        Slab (``microscopy.slab``).
    indices
        Reciprocal nodes as integer multiples of the slab's own reciprocal vectors.
    optics
        Probe and detector.

    Returns
    -------
    Coefficients c such that image(r) = Σ c exp(2πi G·r), in units of the scattering factor per Å².
    """
    cell = plane_cell(structure)
    g = indices @ np.linalg.inv(cell).T
    return projected_scattering(structure, indices, optics.modality) * transfer(g, optics)


def projected_scattering(
    structure: Structure,
    indices: Int[np.ndarray, "K 2"],
    modality: Modality,
    cell: Float[np.ndarray, "2 2"] | None = None,
) -> Complex[np.ndarray, " K"]:
    """Fourier coefficients of a slab's projected scattering power per Å², before any transfer function.

    ``cell``: rows a, b in Å to see the slab's fractions on instead of its own.
    """
    cell = plane_cell(structure) if cell is None else cell
    q = np.linalg.norm(indices @ np.linalg.inv(cell).T, axis=1)
    phases = plane_waves(structure.frac_coords[:, :2], indices)
    elements, which = np.unique(np.array(structure.atomic_numbers), return_inverse=True)
    factors = scattering(elements, q, modality)
    return np.asarray((factors[which] * phases).sum(axis=0) / abs(float(np.linalg.det(cell))))


def plane_waves(frac: Float[np.ndarray, "N 2"], indices: Int[np.ndarray, "K 2"]) -> Complex[np.ndarray, "N K"]:
    """exp(−2πi h·x) at nodes h for fractional positions x.

    A node's wave is the product of two along a and b, of which a grid of nodes has few: no exponential is taken twice.
    """
    along = []
    for axis in (0, 1):
        lowest, highest = int(indices[:, axis].min(initial=0)), int(indices[:, axis].max(initial=0))
        waves = np.exp(-2j * np.pi * frac[:, axis, None] * np.arange(lowest, highest + 1))
        along.append(waves[:, indices[:, axis] - lowest])
    return np.asarray(along[0] * along[1])


def scattering(
    numbers: Int[np.ndarray, " Z"], q: Float[np.ndarray, " K"], modality: Modality
) -> Float[np.ndarray, "Z K"]:
    """Scattering power of each element at spatial frequency q (1/Å) as the modality sees it."""
    if modality in INCOHERENT_EXPONENT:
        sign = -1.0 if modality is Modality.ABF else 1.0
        strength = sign * np.asarray(numbers, dtype=float) ** INCOHERENT_EXPONENT[modality]
        return strength[:, None] * np.exp(-2 * (np.pi * INCOHERENT_WIDTH * q) ** 2)
    amplitudes, widths = _lobato()
    a, b = amplitudes[numbers][:, :, None], widths[numbers][:, :, None]
    bq2 = b * q**2
    return np.asarray((a * (2 + bq2) / (1 + bq2) ** 2).sum(axis=1))


def transfer(g: Float[np.ndarray, "K 2"], optics: Optics, rotation: float | None = None) -> Float[np.ndarray, " K"]:
    """Contrast transfer at spatial frequencies g = (gx, gy) in 1/Å: at most about 1, 0 beyond the cut-off.

    Incoherent modalities share the autocorrelation of the aperture, T = 2/π (arccos x − x √(1 − x²)) with
    x = q / cut-off. An iDPC image made from four quadrants passes more along the axes of the detector than
    between them, by up to a fifth: ``rotation`` is the angle in degrees of a quadrant's centre from +x in the
    frame of g; None averages over it.
    """
    q = np.linalg.norm(g, axis=-1)
    if optics.modality in INCOHERENT_EXPONENT:
        return _aperture_autocorrelation(q / optics.cutoff)
    inner, outer = optics.angles
    table = quadrant_transfer(inner / optics.convergence_angle, outer / optics.convergence_angle)
    if rotation is None:
        angles, rings = np.zeros_like(q), table.mean(axis=0, keepdims=True).repeat(2, axis=0)
    else:
        # Four-fold and mirror symmetric: fold the azimuth into 0 to 45°.
        turn = (np.arctan2(g[..., 1], g[..., 0]) - np.deg2rad(rotation)) / (np.pi / 2)
        angles, rings = 2 * np.abs(turn - np.round(turn)), table
    position = np.stack([angles * (len(rings) - 1), q / optics.cutoff * (rings.shape[1] - 1)])
    return np.asarray(map_coordinates(rings, position, order=1, mode="nearest") * (q < optics.cutoff))


def _aperture_autocorrelation(x: np.ndarray) -> np.ndarray:
    x = np.clip(x, 0.0, 1.0)
    return np.asarray(2 / np.pi * (np.arccos(x) - x * np.sqrt(1 - x**2)))


@lru_cache(maxsize=16)
def quadrant_transfer(inner: float, outer: float) -> np.ndarray:
    """Transfer of a quadrant detector on a grid of azimuth (0 to 45°) and q / cut-off (0 to 1), maximum 1.

    ``inner`` and ``outer`` are in units of the convergence angle. In the weak-phase limit a segment with weight W
    sees phase φ through i φ(q) ∫ W(k) A(k) [A(k−q) − A(k+q)] dk; iDPC divides the projection of that vector on q
    by 2πi q².
    """
    half = 128  # points per aperture radius; shifts up to two radii need a grid of at least 4 × half
    axis = np.fft.fftfreq(6 * half, 1 / (6 * half)) / half
    kx, ky = np.meshgrid(axis, axis)
    radius = np.hypot(kx, ky)
    # Pixels on the edge count by the share inside, so that the overlap changes smoothly with the shift.
    aperture = np.clip((1.0 - radius) * half + 0.5, 0.0, 1.0)
    seen = aperture * (radius >= inner) * (radius <= outer)
    weights = np.where(np.abs(kx) >= np.abs(ky), np.sign(kx), 0.0) * seen
    # ∫ W(k) A(k−q) dk; W is odd, so the term with k+q doubles it. The y detector is the x detector transposed.
    overlap = np.real(scipy.fft.ifft2(scipy.fft.fft2(weights) * np.conj(scipy.fft.fft2(aperture))))
    azimuths, radii = np.linspace(0, np.pi / 4, 10), np.linspace(0.0, 1.0, 41)
    x, y = np.cos(azimuths)[:, None], np.sin(azimuths)[:, None]
    q = 2 * radii[None, :]
    along_x = map_coordinates(overlap, [y * q * half, x * q * half], order=1, mode="grid-wrap")
    along_y = map_coordinates(overlap, [x * q * half, y * q * half], order=1, mode="grid-wrap")
    table = (x * along_x + y * along_y) / np.maximum(q, 1e-9)
    table[:, 0] = table[:, 1:3].mean()  # the limit; no reflection lies there
    return np.asarray(table / table.max())


@lru_cache(maxsize=1)
def _lobato() -> tuple[np.ndarray, np.ndarray]:
    """Amplitudes and widths by atomic number, shape (Z + 1, 5), read from abTEM without importing it."""
    spec = importlib.util.find_spec("abtem")
    assert spec is not None
    assert spec.submodule_search_locations is not None
    path = Path(spec.submodule_search_locations[0], "parametrizations", "data", "lobato.json")
    table = json.loads(path.read_text())
    amplitudes, widths = np.zeros((len(chemical_symbols), 5)), np.ones((len(chemical_symbols), 5))
    for number, symbol in enumerate(chemical_symbols):
        if symbol in table:
            amplitudes[number], widths[number] = table[symbol]
    return amplitudes, widths
