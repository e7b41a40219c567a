"""Denoising behind one small interface: options and a micrograph in, a ``Denoised`` out.

``moe`` is the trained mixture of experts (``models.divaesr``), ``moe:<kind>`` one of its experts; ``classical`` blends
the linear experts by their estimated error. ``auto`` is the mixture where it can be used, which needs a pixel size it
was trained for, and the classical blend elsewhere; the result says which. The denoised image is for finding and showing
the lattice; likelihoods belong on the raw image, whose noise is known.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from scipy.ndimage import gaussian_filter

from microscopy.errors import DenoiseError
from microscopy.micrograph import Micrograph
from models.denoising.experts import (
    EXPERTS,
    bragg_gain,
    filtered,
    gaussian_gain,
    wiener_gain,
)
from models.denoising.spectrum import Spectrum, spectrum
from models.divaesr import manifest
from models.divaesr.configuration import KINDS
from models.records import Denoised

AUTO, CLASSICAL, MIXTURE = "auto", "classical", "moe"

TRAINED = (MIXTURE, *(f"{MIXTURE}:{kind}" for kind in KINDS))
"""Names of the trained denoisers: the mixture, and each of its experts alone."""

NAMES = (AUTO, CLASSICAL, *EXPERTS, *TRAINED)
"""Everything that ``DenoiseOptions.expert`` may be."""

VERSION = 2
"""Raise when any expert changes its output: caches are keyed by the digest."""

MIN_SIDE = 16
"""Pixels along the shorter side below which no noise spectrum can be measured."""

FILL_WIDTHS = (2.0, 8.0, 32.0)
"""Pixels over which masked regions are filled from their surroundings, nearest first."""


@dataclass(frozen=True)
class DenoiseOptions:
    """Which expert, and how strictly.

    Attributes
    ----------
    expert
        ``auto``, ``classical``, ``moe``, or one expert alone (`NAMES`).
    strength
        Scales what the expert takes noise to be; positive, 1 as measured.
    weights
        Folder of the mixture's weights, as ``automat train denoiser`` leaves it; those that ship when None. It must
        exist wherever images are denoised.
    """

    expert: str = AUTO
    strength: float = 1.0
    weights: Path | None = None

    @property
    def identity(self) -> list[str | float]:
        """What a cache key sees; which weights there are is told by `digest`."""
        return [self.expert, self.strength]


def digest(options: DenoiseOptions) -> str:
    """Identity of the code and the weights that ``options`` may select, for cache keys.

    Raises
    ------
    DenoiseError
        If the weights are asked for and cannot be used.
    """
    name = f"{options.expert}@{VERSION}"
    if options.expert != AUTO and options.expert not in TRAINED:
        return f"classical/{name}"
    try:
        return f"moe-divaesr/{name}/{manifest.digest(options.weights or manifest.SHIPPED)[:12]}"
    except manifest.WeightsError as error:
        if options.expert == AUTO and options.weights is None:
            return f"classical/{name}"
        raise DenoiseError(str(error)) from error


def denoise(micrograph: Micrograph, options: DenoiseOptions = DenoiseOptions(), device: str = "cpu") -> Denoised:
    """Denoise a micrograph.

    Parameters
    ----------
    micrograph
        Masked pixels are filled from their surroundings and not believed.
    options
        Expert and strength.
    device
        Torch device of the trained denoisers: ``"cpu"``, ``"cuda"``, or ``"auto"`` for a GPU where there is one.
        Results differ by the rounding of single precision, so `digest` does not tell where an image was denoised.

    Returns
    -------
    Denoised
        Same shape, unit and mean; ``scale`` is 1.

    Raises
    ------
    DenoiseError
        If the expert is unknown, the strength not positive, the image too small or wholly masked, or if a trained
        expert is asked for without its weights or without a pixel size.
    """
    _validate(micrograph, options)
    image = _filled(micrograph)
    mean, spread = float(image.mean(dtype=float)), float(image.std(dtype=float))
    if spread <= 1e-6 * abs(mean):  # constant to the precision of its type: nothing to tell apart
        return Denoised(image, {"raw": 1.0}, 0.0, 1.0, digest(options))
    # Experts see zero mean and unit variance, so that detector units of 1e-12 or 1e12 cannot matter.
    scaled = ((image - mean) / spread).astype(np.float32)
    seen = spectrum(scaled)
    noise = float(np.sqrt(seen.mean(seen.noise, image.shape[1])))
    if options.expert == AUTO or options.expert in TRAINED:
        try:
            return _by_mixture(micrograph, options, scaled, mean, spread, noise, device)
        except DenoiseError as error:
            chosen = options.weights is not None and isinstance(error.__cause__, manifest.WeightsError)
            if options.expert != AUTO or chosen:  # nothing else takes the place of what someone asked for
                raise
            note = f"denoised by classical filters: {error}"
    else:
        note = ""
    if options.expert in (AUTO, CLASSICAL):
        result, shares = _blend(scaled, micrograph.mask, seen, noise, options.strength)
    else:
        result, shares = EXPERTS[options.expert](scaled, noise, options.strength), {options.expert: 1.0}
    restored = (result * spread + mean).astype(np.float32)
    identity = f"classical/{options.expert}@{VERSION}"  # also where ``auto`` fell back on them
    return Denoised(restored, shares, noise * spread, 1.0, identity, note=note)


def _by_mixture(
    micrograph: Micrograph,
    options: DenoiseOptions,
    scaled: np.ndarray,
    mean: float,
    spread: float,
    noise: float,
    device: str,
) -> Denoised:
    """Denoise with the trained mixture, or one of its experts."""
    if micrograph.pixel_size is None:
        raise DenoiseError(f"{micrograph.source}: the trained denoiser needs the pixel size; give it in Å")
    from models.divaesr.inference import restore  # torch loads only where it is used

    _, _, expert = options.expert.partition(":")
    try:
        folder = options.weights or manifest.SHIPPED
        found = restore(
            scaled, micrograph.pixel_size, micrograph.mask, expert or None, options.strength, folder, device
        )
        identity = digest(options)
    except manifest.WeightsError as error:
        raise DenoiseError(str(error)) from error
    if options.expert == AUTO and found.outside:
        raise DenoiseError(found.note)
    return Denoised(
        (found.image * spread + mean).astype(np.float32),
        found.weights,
        noise * spread,
        1.0,
        identity,
        uncertainty=(found.spread * spread).astype(np.float32),
        level=found.level,
        pattern=found.pattern[0],
        note=found.note,
    )


def _blend(
    image: np.ndarray, mask: np.ndarray | None, seen: Spectrum, noise: float, strength: float
) -> tuple[np.ndarray, dict[str, float]]:
    """Blend experts with weights inverse to their estimated mean squared error.

    The error of a linear filter g is known without the truth (Stein 1981): with measured power P and
    noise power N it is the mean of (1 - g)² P + (2g - 1) N over the Fourier plane. Without a significant
    reflection nothing separates signal from noise in the spectrum, and plain smoothing is all that is honest.
    """
    width = image.shape[1]
    strict = seen if strength == 1.0 else spectrum(image, strength)
    gains = {"raw": np.ones_like(seen.power), "gaussian": gaussian_gain(image.shape, strength)}
    if strict.reflections.any():
        gains |= {"wiener": wiener_gain(seen, strength), "bragg": bragg_gain(strict)}
    else:
        gains.pop("raw")
    believed = seen.noise * strength
    floor = noise**2 * float(np.sqrt(2.0 / image.size))  # a variance from so many pixels is not known better
    risks = {
        name: max(seen.mean((1 - gain) ** 2 * seen.power + (2 * gain - 1) * believed, width), floor)
        for name, gain in gains.items()
    }
    total = sum(1.0 / risk for risk in risks.values())
    weights = {name: 1.0 / (risk * total) for name, risk in risks.items()}
    gain = sum(weight * gains[name] for name, weight in weights.items())
    return filtered(image, np.asarray(gain), mask), weights


def _validate(micrograph: Micrograph, options: DenoiseOptions) -> None:
    if options.expert not in NAMES:
        choices = ", ".join(NAMES)
        raise DenoiseError(f"denoiser {options.expert!r} is unknown; choose one of {choices}")
    if not (np.isfinite(options.strength) and options.strength > 0):
        raise DenoiseError(f"denoising strength {options.strength} is not positive; 1 is the measured noise")
    shape = micrograph.image.shape
    if len(shape) != 2 or min(shape) < MIN_SIDE:
        raise DenoiseError(
            f"{micrograph.source}: shape {shape} is too small to denoise; needs {MIN_SIDE} pixels a side"
        )
    if not np.isfinite(micrograph.image).all():
        raise DenoiseError(f"{micrograph.source}: the image holds NaN or infinite pixels; mask them while reading")
    if micrograph.mask is not None and not micrograph.mask.any():
        raise DenoiseError(f"{micrograph.source}: every pixel is masked")


def _filled(micrograph: Micrograph) -> np.ndarray:
    """Image with masked pixels replaced by the mean of their believed surroundings."""
    image, mask = micrograph.image, micrograph.mask
    if mask is None or mask.all():
        return image
    known = mask.astype(np.float32)
    believed = np.where(mask, image, np.float32(0))
    filled = np.where(mask, image, image[mask].mean(dtype=float)).astype(np.float32)
    todo = ~mask
    for width in FILL_WIDTHS:
        share = gaussian_filter(known, width)
        near = todo & (share > 1e-2)
        filled[near] = gaussian_filter(believed, width)[near] / share[near]
        todo &= ~near
    return filled


__all__ = ["AUTO", "CLASSICAL", "EXPERTS", "MIXTURE", "NAMES", "TRAINED", "DenoiseOptions", "denoise", "digest"]
