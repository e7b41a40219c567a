"""Drift within a frame, from the phase of the lattice.

The specimen drifts while the frame is scanned row by row, so what row y shows is displaced by u(y), a smooth function:
a sum of Legendre polynomials. Its linear part shears and stretches the lattice and cannot be told from one that is
sheared; the rest smears every reflection. It is found by sharpening all of them (``reconstruction.row_phases``).

Orders beyond those of a drift are fitted once, linearly: how much more they scatter than counting noise allows is the
jitter of the scan lines and whatever else disturbs them, and widens the errors.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from jaxtyping import Float
from scipy import ndimage
from scipy.signal import windows

from library.fingerprint import nodes
from microscopy.micrograph import Micrograph
from reconstruction.lattice import ONE_LATTICE, find_lattice
from reconstruction.records import ImageLattice
from reconstruction.row_phases import demodulated
from reconstruction.spectrum import highest_frequency, pixel_size, spectrum

ORDER = 6
"""Highest Legendre order of a drift: it is smooth over the frame."""

PROBED = 20
"""Highest order of the polynomials that show how rows scatter about a smooth drift."""

PENALTY = 8.0
"""By how much χ² must rise for one more order, two parameters (the Bayesian criterion at some 50 independent data)."""

SIGNIFICANT = 6.0
"""Standard deviations from which a drift is believed."""

LEAST = 0.06
"""Å, peak to peak: less damps the finest reflections (0.6 Å) by less than 5 % and is not worth resampling."""

BELIEVED = 0.99
"""Share of believed pixels around a position from which its interpolation is believed."""

ALIKE = 0.35
"""How far the left and the right half of an image may disagree about its drift, relative to it: the scan moves whole
rows, while grains that are turned, or a bent crystal, seem to move otherwise on either side."""

ROUNDS, SETTLED = 2, 0.01
"""Estimates: the second from the lattice of the straightened image, which is straightened again if that moves rows by
more than this many Å rms."""

MEASURABLE = 2.0
"""Standard errors from which line jitter is believed."""

SPLINE = 5
"""Order of the interpolation: passes four fifths of the Nyquist frequency unharmed."""


@dataclass(frozen=True, eq=False)
class Drift:
    """Displacement of each image row beyond a constant velocity.

    Attributes
    ----------
    displacement
        u(y): where the crystal appears in row y, less where it would without drift; (x, y) in Å, shape (H, 2).
    standard_error
        Of ``displacement``, Å, shape (H, 2).
    chi2, freedom
        χ² of the fitted polynomials against no drift, and their number.
    line_jitter, line_jitter_error
        Å rms by which single rows are displaced along x beyond the drift, and its standard error. Rows are taken for
        independent.
    """

    displacement: Float[np.ndarray, "H 2"]
    standard_error: Float[np.ndarray, "H 2"]
    chi2: float
    freedom: int
    line_jitter: float
    line_jitter_error: float

    @property
    def amplitude(self) -> float:
        """Peak to peak, along the direction of the largest, Å."""
        u = self.displacement - self.displacement.mean(axis=0)
        direction = np.linalg.svd(u, full_matrices=False)[2][0]
        return float(np.ptp(u @ direction))

    @property
    def rms(self) -> float:
        """Root mean square over the rows, Å."""
        return _rms(self.displacement)

    @property
    def significance(self) -> float:
        """Standard deviations by which χ² exceeds that of no drift (Fisher's approximation)."""
        return float(np.sqrt(2 * self.chi2) - np.sqrt(2 * self.freedom - 1)) if self.freedom else 0.0

    @property
    def matters(self) -> bool:
        """Whether there is a drift that is worth taking out."""
        return self.significance > SIGNIFICANT and self.amplitude > LEAST


def undrifted(
    micrograph: Micrograph, lattice: ImageLattice, q_max: float
) -> tuple[Micrograph, ImageLattice, Drift | None]:
    """Take out the drift within a frame, if there is any.

    Parameters
    ----------
    micrograph
        The image as measured, with a pixel size.
    lattice
        As ``find_lattice`` finds it.
    q_max
        Highest spatial frequency the optics pass, 1/Å.

    Returns
    -------
    The straightened image, its lattice and the drift; or what was given and None, when no drift is significant, the
    image holds more than one lattice, or taking the drift out does not sharpen it. Where lines jitter measurably, the
    errors of the lattice are widened, see ``with_jitter``.
    """
    if lattice.share < ONE_LATTICE:
        return micrograph, lattice, None
    straight, straight_lattice, drift = micrograph, lattice, None
    height = micrograph.image.shape[0] * pixel_size(micrograph)[0]
    for _ in range(ROUNDS):
        estimate = estimate_drift(micrograph, straight_lattice, q_max, drift)
        if not estimate.matters or (drift is None and not _whole_rows(micrograph, lattice, q_max, estimate)):
            break
        if drift is not None and _rms(estimate.displacement - drift.displacement) < SETTLED:
            break
        corrected = straightened(micrograph, estimate)
        found = find_lattice(corrected, q_max)
        if found is None:
            break
        straight, straight_lattice, drift = corrected, found, estimate
    if drift is None or _sharpness(straight, straight_lattice, q_max) <= _sharpness(micrograph, lattice, q_max):
        return micrograph, with_jitter(lattice, estimate, height), None
    return straight, with_jitter(straight_lattice, estimate, height), drift


def undrifted_micrograph(micrograph: Micrograph) -> Micrograph:
    """Take out the drift within a frame, if there is a lattice that shows any."""
    q_max = highest_frequency(micrograph)
    lattice = find_lattice(micrograph, q_max)
    return micrograph if lattice is None else undrifted(micrograph, lattice, q_max)[0]


def find_lattice_with_jitter(micrograph: Micrograph, q_max: float) -> ImageLattice | None:
    """Find the lattice of an image, see ``find_lattice``, with errors that count the jitter of its lines."""
    lattice = find_lattice(micrograph, q_max)
    if lattice is None or lattice.share < ONE_LATTICE:
        return lattice
    height = micrograph.image.shape[0] * pixel_size(micrograph)[0]
    return with_jitter(lattice, estimate_drift(micrograph, lattice, q_max), height)


def with_jitter(lattice: ImageLattice, drift: Drift, height: float) -> ImageLattice:
    """Widen a lattice's errors by what line jitter shears the image at random.

    Every reflection is moved alike, so their scatter, from which the errors come, does not show it.

    Parameters
    ----------
    lattice, drift
        As found in one image.
    height
        Of the image, Å.
    """
    if drift.line_jitter < MEASURABLE * drift.line_jitter_error:
        return lattice
    # Slope of x against y through independent rows, in the window that finds reflections.
    t = np.linspace(-0.5, 0.5, len(drift.displacement))
    window = windows.blackman(len(t))
    shear = drift.line_jitter / height * np.sqrt((window**2 * t**2).sum()) / (window * t**2).sum()
    moved = np.column_stack([shear * lattice.vectors[:, 1], np.zeros(2)])
    return replace(lattice, standard_errors=np.hypot(lattice.standard_errors, moved))


def estimate_drift(micrograph: Micrograph, lattice: ImageLattice, q_max: float, start: Drift | None = None) -> Drift:
    """Measure the drift within a frame from the phases of its lattice.

    Parameters
    ----------
    micrograph, lattice, q_max
        See ``undrifted``.
    start
        An earlier estimate, when the lattice is that of the image it straightens.

    Raises
    ------
    ReconstructionError
        If the micrograph has no pixel size.
    """
    height = micrograph.image.shape[0]
    begun = np.zeros((height, 2)) if start is None else start.displacement
    rows = demodulated(micrograph, lattice, q_max, begun)
    if np.linalg.matrix_rank(rows.g, tol=1e-6) < 2:
        return Drift(begun * 0, np.full((height, 2), np.inf), 0.0, 0, 0.0, np.inf)
    basis = np.polynomial.legendre.legvander(np.linspace(-1, 1, height), PROBED)[:, 1:]
    seed = np.linalg.lstsq(basis[:, :ORDER], begun, rcond=None)[0]
    theta = rows.climb(basis[:, :ORDER], seed)
    scatter, jitter, jitter_error = rows.scatter(basis, theta)
    order = _order(theta, rows.covariance(basis[:, :ORDER]), scatter)
    smooth = basis[:, :order]
    theta = rows.climb(smooth, theta[:order])
    curved, covariance = smooth[:, 1:], rows.covariance(smooth)[1:, 1:]
    variance = np.einsum("yp,pq,yq->y", curved, covariance, curved)
    return Drift(
        displacement=curved @ theta[1:],
        standard_error=np.sqrt(np.outer(variance, np.diag(scatter))),
        chi2=_chi2(theta[1:], covariance, scatter),
        freedom=theta[1:].size,
        line_jitter=jitter,
        line_jitter_error=jitter_error,
    )


def straightened(micrograph: Micrograph, drift: Drift) -> Micrograph:
    """Put the rows back: what is at r + u in the image is at r in the straightened one; what was not seen is masked."""
    image = micrograph.image
    size = pixel_size(micrograph)
    row = np.arange(image.shape[0], dtype=float)
    move = drift.displacement / size[::-1]
    # The row that shows what belongs into row y is y + u_y there: a contraction, as u changes slowly.
    source = row
    for _ in range(4):
        source = row + np.interp(source, row, move[:, 1])
    columns = np.arange(image.shape[1]) + np.interp(source, row, move[:, 0])[:, None]
    position = np.stack([np.broadcast_to(source[:, None], image.shape), columns])
    limits = np.array(image.shape)[:, None, None] - 1
    known = np.all((position >= 0) & (position <= limits), axis=0)
    if micrograph.mask is not None:
        believed = micrograph.mask.astype(np.float32)
        known = known & (ndimage.map_coordinates(believed, position, order=1, mode="nearest") > BELIEVED)
    notice = (
        f"drift of {drift.amplitude:.2g} Å within the frame, beyond a constant velocity, was measured from the phase "
        "of the lattice and taken out"
    )
    return replace(
        micrograph,
        image=ndimage.map_coordinates(image, position, order=SPLINE, mode="nearest"),
        mask=None if known.all() else known,
        notices=(*micrograph.notices, notice),
    )


def _whole_rows(micrograph: Micrograph, lattice: ImageLattice, q_max: float, drift: Drift) -> bool:
    """Whether both halves of the rows moved alike."""
    half = micrograph.image.shape[1] // 2
    left, right = (
        estimate_drift(
            replace(
                micrograph,
                image=micrograph.image[:, part],
                mask=None if micrograph.mask is None else micrograph.mask[:, part],
            ),
            lattice,
            q_max,
            drift,
        )
        for part in (slice(0, half), slice(half, None))
    )
    return _rms(left.displacement - right.displacement) < ALIKE * drift.rms


def _rms(displacement: np.ndarray) -> float:
    return float(np.sqrt((displacement**2).sum(axis=1).mean()))


def _order(theta: np.ndarray, covariance: np.ndarray, scatter: np.ndarray) -> int:
    """Lowest order without which nothing significant is lost; at least 1."""
    costs = [
        _chi2(theta[n:], covariance[n:, n:], scatter) + PENALTY * n if n < len(theta) else PENALTY * n
        for n in range(1, len(theta) + 1)
    ]
    return 1 + int(np.argmin(costs))


def _chi2(theta: np.ndarray, covariance: np.ndarray, scatter: np.ndarray) -> float:
    """χ² of coefficients of both axes, shape (P, 2), against zero."""
    return float(np.trace(np.linalg.solve(scatter, theta.T) @ np.linalg.solve(covariance, theta)))


def _sharpness(micrograph: Micrograph, lattice: ImageLattice, q_max: float) -> float:
    """Power of an image in its reflections, each relative to the noise around it."""
    view = spectrum(micrograph, q_max)
    g = nodes(lattice.vectors, q_max, 0.0) @ np.linalg.inv(lattice.vectors).T
    return float((np.abs(view.coefficients(g)) ** 2 / view.noise(np.linalg.norm(g, axis=1))).sum())
