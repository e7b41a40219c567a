from __future__ import annotations

import numpy as np
import pytest

from microscopy.integration import CURL_LIMIT, integrate_dpc

STEP = (0.3, 0.2)


def _potential(height: int = 60, width: int = 84) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Gaussian atoms away from the edges, with the exact gradient; +y down, in the unit of STEP."""
    y, x = (np.arange(n) * s for n, s in zip((height, width), STEP, strict=True))
    phi, gy, gx = (np.zeros((height, width)) for _ in range(3))
    for cy, cx in ((6.0, 4.5), (9.2, 11.0), (12.1, 6.3)):
        dy, dx = y[:, None] - cy, x[None, :] - cx
        atom = np.exp(-(dy**2 + dx**2) / 2)
        phi, gy, gx = phi + atom, gy - dy * atom, gx - dx * atom
    return phi - phi.mean(), gy, gx


def test_recovers_the_potential_in_its_own_unit_and_sign() -> None:
    phi, gy, gx = _potential()
    image, curl = integrate_dpc(gy, gx, STEP)
    np.testing.assert_allclose(image, phi, atol=2e-3)
    assert curl < 1e-4


def test_is_linear_and_blind_to_descan() -> None:
    phi, gy, gx = _potential()
    image, _ = integrate_dpc(3 * gy + 5.0, 3 * gx - 2.0, STEP)
    np.testing.assert_allclose(image, 3 * phi, atol=6e-3)


def test_transposing_the_scan_transposes_the_image() -> None:
    _, gy, gx = _potential()
    image, _ = integrate_dpc(gy, gx, STEP)
    transposed, _ = integrate_dpc(gx.T, gy.T, STEP[::-1])
    np.testing.assert_allclose(transposed.T, image, atol=1e-6)


def test_edges_need_not_match() -> None:
    """A slope across the whole image is a legitimate potential that a periodic solver would fold."""
    x = np.linspace(0, 1, 80)[None, :] * np.ones((50, 1))
    image, _ = integrate_dpc(np.zeros_like(x), 2 * x - 1, (1.0, 1.0))
    bowl = 79 * (x**2 - x)
    np.testing.assert_allclose(image, bowl - bowl.mean(), atol=0.2)


def test_turned_detector_axes_show_as_curl() -> None:
    _, gy, gx = _potential()
    assert integrate_dpc(gx, -gy, STEP)[1] > 0.95 > CURL_LIMIT
    rng = np.random.default_rng(0)
    assert integrate_dpc(*rng.normal(size=(2, 60, 84)))[1] == pytest.approx(0.5, abs=0.03)


def test_nothing_integrates_to_nothing() -> None:
    image, curl = integrate_dpc(np.zeros((20, 30)), np.zeros((20, 30)))
    assert not image.any()
    assert curl == 0.0
