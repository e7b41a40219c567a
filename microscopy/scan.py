"""Scan geometry: where on the specimen the probe stands when a pixel is recorded.

Two frames: the image frame, nominal coordinates (x, y) in Å of a pixel, (column, row) times the pixel size; and the
slab frame of the crystal. A crystal point s appears at r = A s + o: A holds rotation, mirror and the linear distortion
of the scan, o is where the slab's origin appears. Drift and jitter move the probe off the nominal raster.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float

SETTLING = 1.0
"""Frame time over the time constant of drift: a stage settles exponentially after a move."""


@dataclass(frozen=True, eq=False)
class View:
    """The linear map from crystal to image.

    Attributes
    ----------
    matrix
        A, shape (2, 2), acts on columns (x, y).
    origin
        o, (x, y) in Å from the centre of the first pixel.
    """

    matrix: Float[np.ndarray, "2 2"]
    origin: Float[np.ndarray, " 2"]

    def to_image(self, points: Float[np.ndarray, "... 2"]) -> Float[np.ndarray, "... 2"]:
        """Where crystal points appear, Å."""
        return np.asarray(points @ self.matrix.T + self.origin)

    def to_slab(self, points: Float[np.ndarray, "... 2"]) -> Float[np.ndarray, "... 2"]:
        """Which crystal points appear at image points, Å."""
        return np.asarray((points - self.origin) @ np.linalg.inv(self.matrix).T)

    def drifted(self, drift: Float[np.ndarray, " 2"], frame_height: float) -> View:
        """Fit the map of a specimen that drifts by ``drift`` (x, y) Å while ``frame_height`` Å are scanned."""
        t = np.linspace(0, 1, 1001)
        rate, start = np.polynomial.polynomial.polyfit(t * frame_height, drifted(t), 1)[::-1]
        # r = A s + o + drift (start + rate r_y), solved for r.
        solve = np.linalg.inv(np.eye(2) - np.outer(drift * rate, [0.0, 1.0]))
        return View(solve @ self.matrix, solve @ (self.origin + drift * start))


def orthogonal_part(rotation: float, mirror: bool) -> Float[np.ndarray, "2 2"]:
    """Rotation by ``rotation`` degrees from +x (columns) towards +y (rows), after a mirror x → -x if asked for."""
    angle = np.deg2rad(rotation)
    turn = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    return turn @ np.diag([-1.0 if mirror else 1.0, 1.0])


def drifted(t: Float[np.ndarray, " ..."]) -> Float[np.ndarray, " ..."]:
    """Share of the frame's total drift that has happened at time ``t``, in units of the frame time."""
    return np.asarray(np.expm1(-SETTLING * t) / np.expm1(-SETTLING))


def raster(shape: tuple[int, int], pixel_size: tuple[float, float]) -> Float[np.ndarray, "H W 2"]:
    """Nominal (x, y) of every pixel centre in Å."""
    y, x = np.meshgrid(np.arange(shape[0]) * pixel_size[0], np.arange(shape[1]) * pixel_size[1], indexing="ij")
    return np.stack([x, y], axis=-1)


def probe_positions(
    shape: tuple[int, int],
    pixel_size: tuple[float, float],
    drift: Float[np.ndarray, " 2"],
    line_jitter: float,
    rng: np.random.Generator,
) -> Float[np.ndarray, "H W 2"]:
    """Where the probe really is, relative to a specimen that drifts, in image-frame Å.

    Parameters
    ----------
    shape, pixel_size
        (H, W), and (y, x) in Å.
    drift
        How far the specimen moves during the frame, (x, y) in Å.
    line_jitter
        Standard deviation in Å of the start of each scan line along x.
    rng
        Source of the jitter.
    """
    points = raster(shape, pixel_size)
    height, width = shape
    time = (np.arange(height)[:, None] + np.arange(width)[None, :] / width) / height
    points -= drifted(time)[..., None] * drift
    points[..., 0] += line_jitter * rng.standard_normal(height)[:, None]
    return points
