"""Classical denoisers: pure functions (image, noise, strength) → image of the same shape and unit.

``noise`` is the standard deviation per pixel in the image's unit; ``strength`` scales what each
takes noise to be (1: as measured, 2: twice as strict).
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from jaxtyping import Bool, Float, Float32
from scipy import fft
from scipy.ndimage import uniform_filter

from models.denoising.spectrum import Spectrum, frequencies, spectrum

Image = Float32[np.ndarray, "H W"]
Gain = Float[np.ndarray, "H K"]
Mask = Bool[np.ndarray, "H W"]
Expert = Callable[[Image, float, float], Image]

MARGIN = 48
"""Pixels of continuation beyond the frame (24 on each side of the periodic plane): several unit cells."""

CONTINUATIONS = 6
"""Rounds of continuation: clean images gain from more, noisy ones lose a little to amplified border noise."""

GAUSSIAN_WIDTH = 1.2
"""Standard deviation in pixels at strength 1: 0.12 Å at the usual 0.1 Å/px, well below a column's width."""

OVERSUBTRACTION = 2.0
"""Noise power is subtracted this many times, so that chance maxima of the 3 × 3 local power do not survive."""

PATCH, REACH = 5, 6
"""Non-local means: patch side and search distance in pixels; one column and its nearest surroundings."""

NLM_CUTOFF = 0.8
"""Non-local means: decay length in units of the noise, the value of Buades et al. (2005) for known noise."""

TV_WEIGHT = 1.0
"""Total variation: Chambolle's weight in units of the noise."""

TV_STEPS = 50
"""Chambolle iterations at most; it stops earlier once the energy settles."""


def raw(image: Image, noise: float, strength: float) -> Image:
    """Return the image as it is."""
    return image


def gaussian(image: Image, noise: float, strength: float) -> Image:
    """Smooth with a Gaussian."""
    return filtered(image, gaussian_gain(image.shape, strength))


def wiener(image: Image, noise: float, strength: float) -> Image:
    """Wiener filter whose noise spectrum is measured on the image itself."""
    return filtered(image, wiener_gain(spectrum(image), strength))


def bragg(image: Image, noise: float, strength: float) -> Image:
    """Keep only reflections that noise cannot explain: an average over unit cells that needs no lattice.

    Reflections below the threshold are lost, and with them weak superstructures; pure noise becomes flat.
    """
    return filtered(image, bragg_gain(spectrum(image, strength)))


def nlm(image: Image, noise: float, strength: float) -> Image:
    """Non-local means (Buades, Coll and Morel 2005), the fast variant of scikit-image."""
    from skimage.restoration import denoise_nl_means

    # It assumes white noise: what is coloured stays in the image.
    result = denoise_nl_means(
        image, patch_size=PATCH, patch_distance=REACH, h=NLM_CUTOFF * noise * strength, sigma=noise, fast_mode=True
    )
    return np.asarray(result, dtype=np.float32)


def tv(image: Image, noise: float, strength: float) -> Image:
    """Total variation (Chambolle 2004)."""
    from skimage.restoration import denoise_tv_chambolle

    result = denoise_tv_chambolle(image / noise, weight=TV_WEIGHT * strength, eps=1e-4, max_num_iter=TV_STEPS)
    return np.asarray(result * noise, dtype=np.float32)


EXPERTS: dict[str, Expert] = {
    "raw": raw,
    "gaussian": gaussian,
    "wiener": wiener,
    "nlm": nlm,
    "tv": tv,
    "bragg": bragg,
}


def gaussian_gain(shape: tuple[int, ...], strength: float) -> Gain:
    """Transfer function of the Gaussian of ``GAUSSIAN_WIDTH``."""
    q = frequencies((shape[0], shape[1]))
    return np.asarray(np.exp(-2.0 * (np.pi * GAUSSIAN_WIDTH * strength * q) ** 2))


def wiener_gain(spectrum: Spectrum, strength: float) -> Gain:
    """Share of signal in the power around each frequency, between 0 and 1."""
    local = uniform_filter(spectrum.power, size=3, mode=("wrap", "nearest"))
    ratio = OVERSUBTRACTION * strength * spectrum.noise / np.maximum(local, np.finfo(float).tiny)
    return np.asarray(np.clip(1.0 - ratio, 0.0, 1.0))


def bragg_gain(spectrum: Spectrum) -> Gain:
    """One at the reflections, zero elsewhere."""
    return spectrum.reflections.astype(float)


def filtered(image: Image, gain: Gain, mask: Mask | None = None) -> Image:
    """Apply a transfer function, keeping the mean.

    Outside the frame, and where ``mask`` is False, the image is unknown: it is continued by what the filter
    itself predicts there (Papoulis 1975, Gerchberg 1974), so that neither border nor hole acts as an edge.

    Parameters
    ----------
    image
        Shape (H, W).
    gain
        Real transfer function on the ``rfft2`` grid of ``image``.
    mask
        True where a pixel is to be believed.
    """
    shape = tuple(fft.next_fast_len(side + MARGIN, real=True) for side in image.shape)
    inside = (slice(0, image.shape[0]), slice(0, image.shape[1]))
    rows = np.rint(fft.fftfreq(shape[0]) * image.shape[0]).astype(int)
    columns = np.rint(fft.rfftfreq(shape[1]) * image.shape[1]).astype(int)
    fine = gain[np.ix_(rows, np.minimum(columns, gain.shape[1] - 1))].astype(np.float32)
    fine[0, 0] = 1.0

    mean = np.float32(image.mean(dtype=float) if mask is None else image[mask].mean(dtype=float))
    known = np.zeros(shape, dtype=bool)
    known[inside] = True if mask is None else mask
    measured = np.zeros(shape, dtype=np.float32)
    measured[inside] = image - mean
    current = np.where(known, measured, np.float32(0))
    for _ in range(CONTINUATIONS):
        result = fft.irfft2(fft.rfft2(current) * fine, s=shape)
        current = np.where(known, measured, result)
    return np.asarray(result[inside] + mean, dtype=np.float32)
