r"""What is left of an image without its perfect crystal, compared with the images of single atoms.

The perfect crystal is taken from the image itself, as its coefficients at the nodes of the lattice, so that what the
image model gets wrong in every cell alike cancels. In what is left, the signal D of a defect stands out from noise of
power S(q) by the matched filter

.. math:: \langle D, r\rangle = \sum_q D^*(q)\, r(q) / S(q), \qquad \langle D, D\rangle = \sum_q |D(q)|^2 / S(q),

which whitens the noise: the slow background of iDPC, whose power grows as 1/q², hardly enters. D is linear in the
images of the atoms that come and go, so their projections are computed once per element.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import scipy.fft
from jaxtyping import Float, Float32, Int
from scipy.ndimage import map_coordinates

from library.fingerprint import Q_MAX, nodes
from microscopy.linear import scattering
from microscopy.micrograph import Micrograph
from microscopy.optics import Optics
from reconstruction.measurement import MODEL_FLOOR
from reconstruction.records import Candidate, Reconstruction
from reconstruction.registration import MODEL_ERROR, corrected_transfer
from reconstruction.spectrum import MAX_SIDE, Spectrum, highest_frequency, pixel_size, spectrum

REACH = 5.0
"""Å within which one atom's projection is felt at another's place."""

PADDING = 8.0
"""Å by which the image is mirrored at its border, so that no edge shows; more than the filter reaches."""

PASSES = 2
"""Coefficients of few cells leak into each other through the window; what is left after one pass is measured again."""


@dataclass(frozen=True, eq=False)
class Projections:
    """Images of single atoms in what is left of a micrograph.

    Attributes
    ----------
    values
        ⟨P_e, r⟩ of the atom image of each element at each place, shape (E, n).
    kernel
        ⟨P_e, P_e'⟩ of two atoms at a distance, on pixels about zero, shape (E, E, 2h + 1, 2w + 1).
    pixel_size
        Of the kernel, (y, x) in Å.
    """

    values: Float[np.ndarray, "E n"]
    kernel: Float[np.ndarray, "E E h w"]
    pixel_size: tuple[float, float]

    @property
    def power(self) -> Float[np.ndarray, "E E"]:
        """⟨P_e, P_e'⟩ at one place: the inverse variance of an amplitude."""
        _, _, h, w = self.kernel.shape
        return self.kernel[:, :, h // 2, w // 2]

    def spill(self, change: Float[np.ndarray, " E"], offsets: Float[np.ndarray, "n 2"]) -> Float[np.ndarray, "E n"]:
        """What ``change`` atoms of each element add to the projections at offsets (x, y) in Å from them."""
        combined = np.tensordot(self.kernel, change, axes=(1, 0))
        centre = np.array(combined.shape[1:]) // 2
        index = (offsets[:, ::-1] / self.pixel_size + centre).T
        return np.stack([map_coordinates(each, index, order=1) for each in combined])


@dataclass(frozen=True, eq=False)
class _AtomImage:
    """Fourier transform of the image of one atom at the origin; image units times Å²."""

    optics: Optics
    candidate: Candidate
    q_max: float
    amplitude: float = 1.0

    def shared(self, g: Float[np.ndarray, "K 2"]) -> Float[np.ndarray, " K"]:
        """Factor that all elements share at spatial frequencies (x, y) in 1/Å."""
        q = np.linalg.norm(g, axis=-1)
        fitted_to = min(Q_MAX, 0.95 * self.q_max)
        seen = corrected_transfer(
            g, self.optics, self.candidate.detector_rotation, self.candidate.transfer_terms, fitted_to
        )
        return self.amplitude * seen * np.exp(-self.candidate.damping * q**2) * (q < self.q_max)

    def of(self, numbers: Int[np.ndarray, " E"], q: Float[np.ndarray, " K"]) -> Float[np.ndarray, "E K"]:
        """Factor of each element, from a table: the scattering factors of millions of frequencies would not fit."""
        table = np.linspace(0.0, self.q_max, 1024)
        factors = scattering(numbers, table, self.optics.modality)
        return np.stack([np.interp(q, table, each) for each in factors])


def centred(micrograph: Micrograph) -> tuple[Micrograph, tuple[float, float]]:
    """Cut the middle that is analysed out of a large image; (x, y) in Å of its first pixel."""
    start = [max(0, (side - MAX_SIDE) // 2) for side in micrograph.image.shape]
    middle = tuple(slice(first, first + MAX_SIDE) for first in start)
    mask = None if micrograph.mask is None else micrograph.mask[middle]
    dy, dx = pixel_size(micrograph)
    return replace(micrograph, image=micrograph.image[middle], mask=mask), (start[1] * dx, start[0] * dy)


def project(
    micrograph: Micrograph,
    reconstruction: Reconstruction,
    shift: Float[np.ndarray, " 2"],
    numbers: Int[np.ndarray, " E"],
    places: Float[np.ndarray, "n 2"],
) -> Projections:
    """Project what is not the perfect crystal onto the images of atoms.

    Parameters
    ----------
    micrograph
        At most ``MAX_SIDE`` pixels along each side.
    reconstruction
        The perfect crystal.
    shift
        Position of its origin in this image, (x, y) in Å.
    numbers
        Atomic numbers.
    places
        (x, y) in Å of this image.
    """
    candidate = reconstruction.candidate
    size = pixel_size(micrograph)
    q_max = highest_frequency(micrograph)
    left, rest, g, c = _without_crystal(micrograph, candidate.cell, q_max)
    atom = _AtomImage(Optics.of(micrograph), candidate, q_max)
    atom = replace(atom, amplitude=_amplitude(atom, reconstruction, shift, g, c, rest))

    pad = [int(min(np.ceil(PADDING / step), side - 1)) for step, side in zip(size, left.shape, strict=True)]
    padded = np.pad(left, [(n, n) for n in pad], mode="reflect")
    fast = [scipy.fft.next_fast_len(n, real=True) for n in padded.shape]
    padded = np.pad(padded, [(0, n - m) for n, m in zip(fast, padded.shape, strict=True)], mode="reflect")
    transform = scipy.fft.rfft2(padded)
    inside, q, shared = _filter(atom, rest, padded.shape, size)
    index = (places[:, ::-1] / size + pad).T
    values = []
    for number in numbers:
        filtered = np.zeros_like(transform)
        filtered[inside] = transform[inside] * shared * atom.of(np.array([number]), q)[0]
        values.append(map_coordinates(scipy.fft.irfft2(filtered, padded.shape), index, order=3, mode="mirror"))
    return Projections(np.array(values), _kernel(atom, rest, size, numbers), size)


def _filter(
    atom: _AtomImage, rest: Spectrum, shape: tuple[int, ...], size: tuple[float, float]
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Where the filter of a half transform of that shape passes, q there, and the elements' common P/(S·pixel area)."""
    gy, gx = np.fft.fftfreq(shape[0], size[0]), np.fft.rfftfreq(shape[1], size[1])
    q = np.hypot(gx[None, :], gy[:, None])
    inside = (q > 0) & (q < atom.q_max)
    row, column = np.nonzero(inside)
    shared = atom.shared(np.column_stack([gx[column], gy[row]])) / rest.density(q[inside]) / (size[0] * size[1])
    return inside, q[inside], shared


def _kernel(atom: _AtomImage, rest: Spectrum, size: tuple[float, float], numbers: np.ndarray) -> np.ndarray:
    """Projections of atoms onto each other, from a box large enough not to wrap within ``REACH``."""
    reach = [int(np.ceil(REACH / step)) + 2 for step in size]
    shape = tuple(scipy.fft.next_fast_len(4 * n, real=True) for n in reach)
    inside, q, shared = _filter(atom, rest, shape, size)
    factors = atom.of(numbers, q)
    # shared holds one 1/S and one 1/area already; the other atom adds its transform over the area.
    common = shared**2 * rest.density(q)
    y, x = (np.arange(-n, n + 1) for n in reach)
    kernel = np.zeros((len(numbers), len(numbers), len(y), len(x)))
    for first in range(len(numbers)):
        for second in range(first, len(numbers)):
            product = np.zeros(inside.shape, dtype=complex)
            product[inside] = common * factors[first] * factors[second]
            found = scipy.fft.irfft2(product, shape)[np.ix_(y, x)]
            kernel[first, second] = kernel[second, first] = found
    return kernel


def _without_crystal(
    micrograph: Micrograph, cell: np.ndarray, q_max: float
) -> tuple[Float32[np.ndarray, "H W"], Spectrum, np.ndarray, np.ndarray]:
    """What is left of the image, masked pixels zero; its spectrum; frequencies and coefficients of the crystal."""
    indices = nodes(cell, q_max, 0.0)
    g = indices @ np.linalg.inv(cell).T
    believed = np.ones(micrograph.image.shape, dtype=bool) if micrograph.mask is None else micrograph.mask
    dy, dx = pixel_size(micrograph)
    rows = np.exp(-2j * np.pi * np.outer(g[:, 1], np.arange(believed.shape[0]) * dy)).astype(np.complex64)
    columns = np.exp(-2j * np.pi * np.outer(g[:, 0], np.arange(believed.shape[1]) * dx)).astype(np.complex64)
    left = np.where(believed, micrograph.image - np.mean(micrograph.image[believed]), 0.0).astype(np.float32)
    total = np.zeros(len(g), dtype=complex)
    for _ in range(PASSES):
        c = spectrum(replace(micrograph, image=left), q_max).coefficients(g)
        crystal = 2 * np.real((rows.conj().T * c.astype(np.complex64)) @ columns.conj())
        left = np.where(believed, left - crystal, 0.0).astype(np.float32)
        total += c
    return left, spectrum(replace(micrograph, image=left), q_max), g, total


def _amplitude(
    atom: _AtomImage, found: Reconstruction, shift: np.ndarray, g: np.ndarray, c: np.ndarray, rest: Spectrum
) -> float:
    """Scale of the image in units of the linear model, from the crystal's own coefficients."""
    q = np.linalg.norm(g, axis=1)
    numbers, which = np.unique(np.array(found.structure.atomic_numbers), return_inverse=True)
    cell = found.candidate.cell
    places = found.structure.frac_coords[:, :2] @ cell + shift
    waves = (atom.of(numbers, q)[which] * np.exp(-2j * np.pi * places @ g.T)).sum(axis=0)
    model = atom.shared(g) * waves / abs(float(np.linalg.det(cell)))
    size = np.abs(c)
    weights = 1 / (rest.noise(q) + (MODEL_ERROR * size) ** 2 + (MODEL_FLOOR * size.max()) ** 2)
    return float((weights * np.real(c * model.conj())).sum() / (weights * np.abs(model) ** 2).sum())
