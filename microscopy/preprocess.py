"""From stored numbers to an image fit for analysis: one channel, finite, without a burnt-in scale bar."""

from __future__ import annotations

import numpy as np
from jaxtyping import Bool, Float, Float32, Num
from scipy import ndimage

from microscopy.errors import ReadError

MIN_SIDE = 64
"""Pixels: fewer hold too few unit cells to average, or too few pixels per column."""

MAX_PIXELS = 8192**2
"""Pixels: the largest image taken in whole, about 0.5 GB as float64 while it is read."""

MAX_BAD = 0.05
"""Share of non-finite pixels that neighbours may stand in for."""

LUMA = np.array([0.299, 0.587, 0.114])
"""Weights of red, green and blue in grey (ITU-R BT.601)."""

_LAPLACIAN = np.array([[1.0, -2.0, 1.0], [-2.0, 4.0, -2.0], [1.0, -2.0, 1.0]])
_MAD_TO_SIGMA = 0.6744897501960817
"""Median of |x| for a standard normal x."""


def flatten_colour(pixels: Num[np.ndarray, "H W C"]) -> tuple[Float[np.ndarray, "H W"], str]:
    """Grey image of an RGB(A) or grey-alpha one, shape (H, W), and a sentence on what was done."""
    channels = pixels.shape[2]
    alpha = ", transparency ignored" if channels in (2, 4) else ""
    if channels < 3:
        return pixels[:, :, 0].astype(np.float64), f"grey channel taken{alpha}"
    if np.array_equal(pixels[:, :, 0], pixels[:, :, 1]) and np.array_equal(pixels[:, :, 0], pixels[:, :, 2]):
        return pixels[:, :, 0].astype(np.float64), f"three equal colour channels read as one{alpha}"
    grey = pixels[:, :, :3].astype(np.float64) @ LUMA
    return grey, f"colour flattened to luminance{alpha}; a colour map or a coloured label is not a detector signal"


def repair(
    image: Num[np.ndarray, "H W"], name: str = "image"
) -> tuple[Float[np.ndarray, "H W"], Bool[np.ndarray, "H W"] | None, str | None]:
    """Replace the few non-finite pixels by their nearest finite neighbour.

    Returns
    -------
    image
        Finite everywhere, shape (H, W).
    mask
        True where a pixel was measured; None when all were.
    notice
        A sentence on what was replaced, or None.

    Raises
    ------
    ReadError
        If more than ``MAX_BAD`` of the pixels are not finite.
    """
    good = np.isfinite(image)
    bad = int(good.size - np.count_nonzero(good))
    if bad == 0:
        return image, None, None
    if bad > MAX_BAD * good.size:
        raise ReadError(
            f"{name}: {bad / good.size:.1%} of the pixels are NaN or infinite (limit {MAX_BAD:.0%}); crop it"
        )
    nearest = tuple(ndimage.distance_transform_edt(~good, return_distances=False, return_indices=True))
    notice = f"{bad} NaN or infinite pixels replaced by their neighbours and masked"
    return np.asarray(image[nearest]), good, notice


def normalise(image: Num[np.ndarray, "H W"], mask: Bool[np.ndarray, "H W"] | None = None) -> Float32[np.ndarray, "H W"]:
    """Zero mean and unit variance over the believed pixels; masked pixels become 0. A constant image becomes 0."""
    values = np.asarray(image, dtype=np.float64)
    believed = values if mask is None else values[mask]
    centred = values - believed.mean()
    spread = float(believed.std())
    # Rounding of the mean leaves a spread of a few ulp in a constant image.
    if spread <= 1e-12 * max(1.0, float(np.abs(believed).max())):
        return np.zeros(values.shape, dtype=np.float32)
    out: np.ndarray = (centred / spread).astype(np.float32)
    if mask is not None:
        out[~mask] = 0.0
    return out


def estimate_noise(image: Num[np.ndarray, "H W"]) -> float:
    """Estimate the standard deviation of the pixel-to-pixel (white) noise, in the unit of the image.

    The 3 × 3 difference of two Laplacians cancels anything that varies linearly over three pixels, which leaves
    noise when columns are several pixels wide (Immerkær, Comput. Vis. Image Underst. 64, 300 (1996)); the median makes
    it robust against edges. Noise that is correlated between pixels (an image resampled, smoothed or
    integrated, such as iDPC) is underestimated: this is the white part only.
    """
    response = np.abs(ndimage.convolve(np.asarray(image, dtype=np.float64), _LAPLACIAN, mode="reflect")[1:-1, 1:-1])
    if response.size == 0:
        return 0.0
    gain = float(np.linalg.norm(_LAPLACIAN))
    median = float(np.median(response)) / (_MAD_TO_SIGMA * gain)
    # Coarsely quantised or nearly empty images have a zero median; the mean still sees their noise.
    return median if median > 0 else float(np.sqrt(np.pi / 2) * response.mean() / gain)


def crop_scale_bar(image: Num[np.ndarray, "H W"]) -> tuple[Num[np.ndarray, "H W"], str]:
    """Cut off the rows that hold a burnt-in scale bar or data banner at the top or bottom.

    A banner is a run of rows reaching the edge, most of whose pixels share one value. A bar is a solid, wide
    rectangle of the brightest or darkest value in the outer third, cut together with its label of the same value.

    Returns
    -------
    image
        The remaining rows, all columns.
    notice
        A sentence on what was cut; it says so when nothing was found.
    """
    height = image.shape[0]
    span = _banner(image) or _bar(image)
    if span is None:
        return image, "no burnt-in scale bar was found; nothing was cropped"
    top, bottom = (span[1], height) if span[0] == 0 else (0, span[0])
    return image[top:bottom], f"burnt-in scale bar cropped: rows {top} to {bottom - 1} of {height} kept"


_BANNER_SHARE = 0.6
"""Share of equal pixels that makes a row a banner's: text covers less than 40 % of a line."""
_MAX_CUT = 0.35
"""Share of the height that a banner or a bar may take; more is the specimen (a hole, vacuum)."""
_MIN_BAR = 0.05
"""Length of a scale bar as a share of the image width."""
_LABEL = 0.08
"""Distance between bar and label, letters included, as a share of the image height."""
_SOFT = 2
"""Rows over which anti-aliased letters fade out."""


def _banner(image: np.ndarray) -> tuple[int, int] | None:
    """Rows [start, stop) of a banner that reaches the upper or lower edge."""
    height, width = image.shape
    share = np.array([np.unique(row, return_counts=True)[1].max() / width for row in image])
    flat = share > _BANNER_SHARE
    for reverse in (True, False):
        run = flat[::-1] if reverse else flat
        # A frame line or a dense line of text may interrupt the banner; two flat rows of three carry on.
        length = 0
        for row in range(height):
            if run[row]:
                length = row + 1
            elif row - length >= 2:
                break
        if 2 <= length <= _MAX_CUT * height:
            return (height - length, height) if reverse else (0, length)
    return None


def _bar(image: np.ndarray) -> tuple[int, int] | None:
    """Rows [start, stop) from the edge to the far side of a scale bar and its label."""
    height, width = image.shape
    for value in (image.max(), image.min()):
        labels, count = ndimage.label(image == value)
        if count == 0:
            continue
        boxes = ndimage.find_objects(labels)
        areas = np.bincount(labels.ravel())[1:]
        for index in np.argsort(areas)[::-1][:20]:
            rows, columns = boxes[index]
            tall, wide = rows.stop - rows.start, columns.stop - columns.start
            solid = areas[index] >= 0.9 * tall * wide
            if not (solid and tall >= 2 and wide >= max(_MIN_BAR * width, 3 * tall)):
                continue
            # The label: pixels of the same value close to the bar, and a margin for the soft edges of letters.
            reach = int(_LABEL * height) + 3 * tall
            above, left = max(0, rows.start - reach), max(0, columns.start - wide // 2)
            window = image[above : rows.stop + reach, left : columns.stop + wide // 2] == value
            drawn = above + np.flatnonzero(window.any(axis=1))
            start, stop = max(0, int(drawn[0]) - _SOFT), min(height, int(drawn[-1]) + 1 + _SOFT)
            if height - start <= _MAX_CUT * height:
                return start, height
            if stop <= _MAX_CUT * height:
                return 0, stop
    return None
