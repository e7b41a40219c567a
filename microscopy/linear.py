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
from ase.data import chemical_symbols
from jaxtyping import Complex, Float, Int
from pymatgen.core import Structure

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
    """Fourier coefficients of the linear image of a slab.

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
    q = np.linalg.norm(indices @ np.linalg.inv(cell).T, axis=1)
    phases = np.exp(-2j * np.pi * structure.frac_coords[:, :2] @ indices.T)
    numbers = np.array(structure.atomic_numbers)
    elements, which = np.unique(numbers, return_inverse=True)
    factors = scattering(elements, q, optics.modality)
    area = abs(float(np.linalg.det(cell)))
    return np.asarray((factors[which] * phases).sum(axis=0) * transfer(q, optics) / area)


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


def transfer(q: Float[np.ndarray, " K"], optics: Optics) -> Float[np.ndarray, " K"]:
    """Contrast transfer at spatial frequency q (1/Å): 1 at its maximum, 0 beyond the cut-off.

    Incoherent modalities and an ideal first-moment detector share the autocorrelation of the aperture,
    T = 2/π (arccos x − x √(1 − x²)), x = q / cut-off. A segmented annular detector is integrated numerically.
    """
    if optics.modality in INCOHERENT_EXPONENT:
        return _aperture_autocorrelation(np.asarray(q) / optics.cutoff)
    inner, outer = optics.angles
    x, values = _segmented_transfer(inner / optics.convergence_angle, outer / optics.convergence_angle)
    return np.interp(np.asarray(q) / optics.cutoff, x, values, right=0.0)


def _aperture_autocorrelation(x: np.ndarray) -> np.ndarray:
    x = np.clip(x, 0.0, 1.0)
    return np.asarray(2 / np.pi * (np.arccos(x) - x * np.sqrt(1 - x**2)))


@lru_cache(maxsize=16)
def _segmented_transfer(inner: float, outer: float) -> tuple[np.ndarray, np.ndarray]:
    """Radially averaged iDPC transfer of an annular quadrant detector; angles in units of the convergence angle.

    In the weak-phase limit a segment with weight W sees phase φ through
    i φ(q) ∫ W(k) A(k) [A(k−q) − A(k+q)] dk; iDPC divides the projection of that vector on q by 2πi q².
    """
    axis = np.linspace(-1.0, 1.0, 241)
    kx, ky = np.meshgrid(axis, axis)
    radius = np.hypot(kx, ky)
    aperture = radius <= 1.0
    seen = aperture & (radius >= inner) & (radius <= outer)
    kx, ky = kx[seen], ky[seen]
    x = np.linspace(0.01, 1.0, 100)
    values = np.zeros_like(x)
    angles = np.pi / 2 * (np.arange(4) + 0.5) / 4
    for angle in angles:
        cos, sin = np.cos(angle), np.sin(angle)
        for n, q in enumerate(2 * x):
            plus = np.hypot(kx - q * cos, ky - q * sin) <= 1.0
            minus = np.hypot(kx + q * cos, ky + q * sin) <= 1.0
            gain = plus.astype(float) - minus
            values[n] += (cos * (np.sign(kx) * gain).sum() + sin * (np.sign(ky) * gain).sum()) / q
    return np.append(0.0, x), np.append(values[0], values) / values.max()


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
