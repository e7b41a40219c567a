from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest
from images import linear_image, mos2
from scipy.ndimage import gaussian_filter1d

from benchmarks.denoiser import heldout
from benchmarks.denoiser.heldout import blinded, smoothed
from microscopy.micrograph import Micrograph, Modality


def noisy(decay: float = 0.0) -> tuple[Micrograph, np.ndarray]:
    """HAADF-like image whose noise reaches some pixels along the lines, and the image without it."""
    micrograph, _ = linear_image(mos2(), shape=(192, 192), noise=0.0)
    clean = np.asarray(micrograph.image, dtype=float)
    noise = np.random.default_rng(3).normal(size=clean.shape)
    if decay:
        noise = gaussian_filter1d(noise, decay, axis=1)
    recorded = clean + 2.0 * clean.std() * noise / noise.std()
    return replace(micrograph, image=recorded.astype(np.float32), modality=Modality.HAADF), clean


def unseen(micrograph: Micrograph, run: int, width: float) -> float:
    """Mean squared error of a Gaussian of some width at pixels it does not see."""
    errors = []
    for seed in range(4):
        blind = blinded(micrograph, seed, run)
        image = np.asarray(blind.micrograph.image, dtype=float)
        errors.append(blind.errors(smoothed(image, blind.believed, width)))
    return float(np.concatenate(errors).mean())


def test_what_is_hidden_cannot_be_read_anywhere() -> None:
    micrograph, _ = noisy()
    blind = blinded(micrograph, 1, run=5)
    changed = np.where(blind.believed, micrograph.image, 1e6).astype(np.float32)
    again = blinded(replace(micrograph, image=changed), 1, run=5)
    assert np.array_equal(blind.micrograph.image, again.micrograph.image)
    assert not np.array_equal(blind.recorded, again.recorded)
    for step in range(-2, 3):
        assert not blind.believed[blind.rows, blind.columns + step].any()


def test_pixels_that_were_not_believed_never_count() -> None:
    micrograph, _ = noisy()
    mask = np.ones(micrograph.image.shape, dtype=bool)
    mask[:100] = False
    blind = blinded(replace(micrograph, mask=mask), 1)
    assert blind.rows.min() >= 100
    assert not blind.believed[:100].any()


def test_error_at_unseen_pixels_is_the_true_one_and_the_variance_of_the_noise() -> None:
    micrograph, clean = noisy()
    blinds = [blinded(micrograph, seed, run=1) for seed in range(8)]
    noise = float(np.var(micrograph.image - clean))
    seen, true = [], []
    for blind in blinds:
        image = smoothed(np.asarray(blind.micrograph.image, dtype=float), blind.believed, 2.0)
        seen.append(blind.errors(image))
        true.append(replace(blind, recorded=clean[blind.rows, blind.columns]).errors(image))
    assert np.concatenate(seen).mean() == pytest.approx(np.concatenate(true).mean() + noise, rel=0.05)


def test_noise_that_is_carried_along_the_lines_is_not_taken_for_signal() -> None:
    micrograph, _ = noisy(decay=1.5)
    assert unseen(micrograph, 1, 1.0) < 0.8 * unseen(micrograph, 1, 3.0)  # the noise of the neighbours tells it
    assert unseen(micrograph, 15, 1.0) > unseen(micrograph, 15, 3.0)


def row(name: str, errors: list[float], setting: int = 0, problem: str = "") -> heldout.Row:
    return {"id": "a.tif", "number": 0, "by": name, "setting": setting, "errors": errors, "problem": problem}


def test_table_takes_the_best_setting_and_compares_pixel_by_pixel() -> None:
    found = [
        row("mean of the image", [1.0, 3.0]),
        row("Gaussian", [2.0, 2.0]),
        row("Gaussian", [1.0, 1.0], setting=1),
        row("moe", [0.4, 0.6]),
        row("BM3D", [], problem="not run: no wheel"),
    ]
    cells = heldout.table(found, noise=0.4).cells
    assert cells[0] == ("mean of the image", "0.0", "75.0 ± 45.0")
    assert cells[1] == ("Gaussian", "50.0", "25.0 ± 5.0")
    assert cells[2] == ("moe", "75.0", "")
    assert cells[3] == ("BM3D", "–", "not run: no wheel")


def test_command_measures_a_file(tmp_path, capsys) -> None:
    micrograph, _ = noisy()
    np.save(tmp_path / "a.npy", micrograph.image)
    asked = [str(tmp_path / "a.npy"), "--out", str(tmp_path / "out"), "--denoisers", "wiener", "--times", "1"]
    assert heldout.main([*asked, "--modality", "HAADF"]) == 1
    assert "--pixel-size" in capsys.readouterr().err
    assert heldout.main([*asked, "--pixel-size", "0.1", "--modality", "iDPC"]) == 1
    assert "whole image" in capsys.readouterr().err
    assert heldout.main([*asked, "--pixel-size", "0.1", "--modality", "HAADF"]) == 0
    written = [json.loads(line) for line in (tmp_path / "out" / "heldout.jsonl").read_text().splitlines()]
    assert {each["by"] for each in written} == {"mean of the image", "Gaussian", "non-local means", "wiener"}
    assert "| wiener |" in (tmp_path / "out" / "heldout.md").read_text()
