"""Competitors that run in this process: classical filters, and AutoMat itself."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from scipy.ndimage import gaussian_filter
from skimage.restoration import denoise_nl_means
from threadpoolctl import threadpool_limits

from benchmarks.columns import projected_columns, tiled
from benchmarks.peers.runner import Answer, Kind
from benchmarks.peers.specimen import Specimen
from models.denoising import denoise
from reconstruction.reconstruct import reconstruct
from reconstruction.retrieval import retrieve

HALF_CONTRAST = float(np.sqrt(np.log(2) / 2) / np.pi)
"""Of a Gaussian filter, σ over the period whose contrast it halves. Smoothing is chosen so that the closest columns
keep half of their contrast, which is as far as a careful user would go."""

NLM = {"patch_size": 5, "patch_distance": 6, "fast_mode": True}
NLM_STRENGTH = 0.6
"""Settings of scikit-image's example for the fast mode with known noise; strength h in units of the noise."""


@dataclass(frozen=True)
class Local:
    """A competitor in this process.

    Attributes
    ----------
    name, kind
        As of a peer.
    answer
        Positions of columns or a denoised image, like those of peers.
    """

    name: str
    kind: Kind
    answer: Callable[[Specimen], np.ndarray]


def ask(competitor: Local, specimen: Specimen) -> Answer:
    """Answer one image with one thread, as peers do; what goes wrong is in the answer."""
    try:
        with threadpool_limits(limits=1):
            started = time.perf_counter()
            values = competitor.answer(specimen)
            return Answer(values, time.perf_counter() - started)
    except Exception as error:  # a benchmark counts every failure, whatever it is
        return Answer(None, problem=" ".join(f"{type(error).__name__}: {error}".split()))


def reconstructed_columns(specimen: Specimen) -> np.ndarray:
    """Columns of the best reconstruction, laid over the whole field of view: (x, y) in Å, shape (M, 2)."""
    micrograph = specimen.micrograph
    found = reconstruct(micrograph, retrieve(micrograph, specimen.library))
    cell, shift = found.candidate.cell, found.candidate.shift
    weights = np.array([site.specie.Z for site in found.structure], dtype=float)
    columns = projected_columns(found.structure.frac_coords[:, :2] @ cell + shift, weights, cell)
    height, width = micrograph.image.shape
    extent = ((width - 1) * specimen.pixel_size[1], (height - 1) * specimen.pixel_size[0])
    return tiled(columns, cell, extent).positions


def _recorded(specimen: Specimen) -> np.ndarray:
    return specimen.micrograph.image


def _gaussian(specimen: Specimen) -> np.ndarray:
    sigma = HALF_CONTRAST * specimen.separation
    return np.asarray(gaussian_filter(specimen.micrograph.image, [sigma / size for size in specimen.pixel_size]))


def _non_local_means(specimen: Specimen) -> np.ndarray:
    noise = specimen.noise
    return np.asarray(denoise_nl_means(specimen.micrograph.image, h=NLM_STRENGTH * noise, sigma=noise, **NLM))


def _denoised(specimen: Specimen) -> np.ndarray:
    return denoise(specimen.micrograph).image


LOCAL: tuple[Local, ...] = (
    Local("AutoMat", "columns", reconstructed_columns),
    Local("as recorded", "denoise", _recorded),
    Local("Gaussian", "denoise", _gaussian),
    Local("non-local means", "denoise", _non_local_means),
    Local("AutoMat", "denoise", _denoised),
)
