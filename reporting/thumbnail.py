"""Small pictures for a user interface that stores them as text."""

from __future__ import annotations

import base64
import io

import numpy as np
from jaxtyping import Float, UInt8
from PIL import Image

MAX_BYTES = 64 * 1024
"""What the workflow server accepts comfortably in one artifact, base64 included."""

CLIP = (0.5, 99.5)
"""Percentiles shown as black and white: single hot pixels must not set the contrast."""


def grey(image: Float[np.ndarray, "H W"]) -> UInt8[np.ndarray, "H W"]:
    """Stretch an image to 0..255 between its ``CLIP`` percentiles; a constant image is mid-grey."""
    low, high = np.percentile(image, CLIP)
    if not high > low:
        return np.full(image.shape, 128, dtype=np.uint8)
    return np.asarray(np.clip((image - low) / (high - low), 0.0, 1.0) * 255 + 0.5, dtype=np.uint8)


def png(picture: Image.Image) -> bytes:
    """Encode as PNG."""
    buffer = io.BytesIO()
    picture.save(buffer, format="PNG", optimize=True)
    return buffer.getvalue()


def data_uri(data: bytes, kind: str = "image/png") -> str:
    """Inline form of a file."""
    return f"data:{kind};base64,{base64.b64encode(data).decode()}"


def thumbnail(image: Float[np.ndarray, "H W"], side: int = 224) -> bytes:
    """PNG of an image, its data URI at most ``MAX_BYTES`` long.

    Parameters
    ----------
    image
        Shape (H, W), any unit.
    side
        Pixels along the longer side at most; fewer if noise makes the file too large.
    """
    picture = Image.fromarray(grey(image))
    while True:
        small = picture.copy()
        small.thumbnail((side, side), Image.Resampling.BOX)
        data = png(small)
        if len(data_uri(data)) <= MAX_BYTES:
            return data
        side = side * 3 // 4
