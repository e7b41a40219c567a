from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from images import graphene, linear_image, mos2

from benchmarks.cases import Variant
from benchmarks.denoiser import __main__ as command
from benchmarks.denoiser import gate, quality, reconstruction
from benchmarks.denoiser.output import kept, with_error
from benchmarks.denoiser.request import Request
from benchmarks.denoiser.views import RECORDED, restored, view
from benchmarks.materials import Material
from microscopy.micrograph import Modality


def request(tmp_path: Path, **more) -> Request:
    return Request(None, None, 1, 1, tmp_path, tmp_path, **more)


def test_recorded_is_untouched_and_denoised_is_not() -> None:
    micrograph, _ = linear_image(mos2())
    assert restored(micrograph, RECORDED) is micrograph
    assert restored(micrograph, "gaussian").image.std() < micrograph.image.std()


def psnr_row(name: str, psnr: float, id: str = "a") -> dict:
    row = {"modality": "iDPC", "side": 512, "dose": 1e4, "id": id, "competitor": name, "problem": ""}
    return row | {"psnr": psnr, "ssim": 0.5, "structure_factor_error": 0.1, "seconds": 1.0}


def test_gain_is_paired_and_over_the_best_of_each_image() -> None:
    rows = [
        *(psnr_row("BM3D", value, id) for value, id in ((20.0, "a"), (26.0, "b"))),
        *(psnr_row("Gaussian", value, id) for value, id in ((22.0, "a"), (20.0, "b"))),
        *(psnr_row("denoiser moe", value, id) for value, id in ((24.0, "a"), (27.0, "b"))),
    ]
    rows += [psnr_row("band-pass", value, id) for value, id in ((25.0, "a"), (26.5, "b"))]
    used, informed = quality.tables(rows)[1].cells
    assert used[4:6] == ("as used", "BM3D")
    assert used[6].startswith("2.50")  # 4 and 1
    assert used[7].startswith("1.50")  # 2 and 1
    assert used[8] == "1.00"
    assert informed[4:6] == ("informed too", "band-pass")
    assert informed[8] == "-1.00"


def test_a_denoiser_named_like_a_filter_is_not_its_own_bar() -> None:
    rows = [psnr_row("as recorded", 10.0), psnr_row("denoiser Gaussian", 30.0)]
    assert quality.tables(rows)[1].cells[0][5] == "as recorded"


def test_gate_tables_name_the_kinds() -> None:
    weights = {"phase-low": 0.9, "phase-high": 0.1}
    own = {"kind": "phase-low", "level": -5.0, "id": "a", "dose": 1e3, "family": "square", "problem": ""}
    rows = [
        own | {"expert": "", "weights": weights, "pattern": "none", "psnr": 30.0},
        own | {"expert": "", "weights": weights, "pattern": "square", "psnr": 30.0, "id": "b"},
        own | {"expert": "phase-low", "weights": {"phase-low": 1.0}, "pattern": "square", "psnr": 31.0},
    ]
    confusion, families, experts = gate.tables(rows)
    assert confusion.cells[0][2] == "0.900 ± 0.000"
    assert confusion.cells[0][-1].startswith("100.0 %")
    assert confusion.cells[0][-2] == "2"
    square = next(row for row in families.cells if row[0] == "square")
    assert square[:-1] == ("square", "2", "0", "0", "1", "0", "1")
    assert square[-1].startswith("50.0 %")
    assert next(row for row in families.cells if row[0] == "-10 to 2 dB")[1:] == square[1:]
    assert sum(int(row[1]) for row in families.cells) == 4  # by family, and again by level
    assert experts.cells[0][-1] == "phase-low"


def test_every_image_is_asked_as_recorded_averaged_and_denoised(tmp_path) -> None:
    asked = request(tmp_path, denoisers=("auto",), sides=(128,), doses=(1e4,), regimes=("I",))
    asked.__dict__["materials"] = [Material("m", mos2())]
    (case,) = reconstruction.cases(asked)
    assert case.shape == (128, 128)
    assert [question.variant for question in case.questions] == [
        Variant(),
        Variant("unit-cell average", average=True),
        Variant("auto", denoiser="auto"),
    ]


def test_rows_are_on_disk_as_they_come(tmp_path) -> None:
    path = tmp_path / "rows.jsonl"
    rows = kept(({"n": n, "x": np.float32(0.5)} for n in range(3)), path)
    next(rows)
    assert json.loads(path.read_text()) == {"n": 0, "x": 0.5}


def test_mean_and_error_of_what_there_is() -> None:
    assert with_error([1.0, 3.0, None]) == "2.00 ± 1.00"
    assert with_error([None]) == "–"


def test_arguments(tmp_path) -> None:
    suite, asked = command.parsed(
        [
            "vacancies",
            "--out",
            str(tmp_path),
            "--doses",
            "10000,0",
            "--denoisers",
            "auto,moe:phase-low",
            "--sides",
            "64",
        ]
    )
    assert suite == "vacancies"
    assert asked.doses == (1e4, None)
    assert asked.denoisers == ("auto", "moe:phase-low")
    assert asked.sides == (64,)
    with pytest.raises(SystemExit):
        command.parsed(["quality", "--out", str(tmp_path), "--peers", "nobody"])


def test_the_view_is_the_same_at_every_dose(tmp_path) -> None:
    material = Material("m", graphene())
    seen = [view(material, Modality.IDPC, dose, 1, tmp_path, side=64).truth for dose in (1e3, None)]
    assert np.array_equal(seen[0].matrix, seen[1].matrix)
    assert np.array_equal(seen[0].origin, seen[1].origin)


def test_signal_to_noise_within_the_band() -> None:
    """A wave of variance a half in white noise, of whose power the share of the band's area counts."""
    y, x = np.mgrid[:256, :256] * 0.1
    clean = np.cos(2 * np.pi * (0.7 * x + 0.3 * y))
    noisy = clean + 0.5 * np.random.default_rng(0).normal(size=clean.shape)
    share = np.pi * 2.0**2 * 0.1**2
    assert gate.signal_to_noise(noisy, clean, (0.1, 0.1)) == pytest.approx(10 * np.log10(0.5 / 0.25 / share), abs=0.3)


def test_kinds_of_images() -> None:
    assert gate.kind(Modality.IDPC, 1.0) == "phase-low"
    assert gate.kind(Modality.HAADF, 3.0) == "incoherent-high"


def test_band_pass_keeps_the_lattice_and_drops_the_rest() -> None:
    micrograph, cell = linear_image(mos2(), noise=0.0)
    height, width = micrograph.image.shape
    slow = np.cos(2 * np.pi * np.mgrid[:height, :width][0] / height)
    dirty = replace(micrograph, image=(micrograph.image + 5 * micrograph.image.std() * slow).astype(np.float32))
    seen = SimpleNamespace(micrograph=dirty, pixel_size=dirty.pixel_size, truth=SimpleNamespace(cell=cell))
    before, after = (abs(np.vdot(slow, each)) for each in (dirty.image, quality.band_pass(seen)))
    assert after < 0.01 * before
    assert np.corrcoef(quality.band_pass(seen).ravel(), micrograph.image.ravel())[0, 1] > 0.97


@pytest.mark.parametrize("mean", [0.01, 1.0])
def test_the_noise_of_single_electrons_is_not_zero(mean) -> None:
    counts = np.random.default_rng(0).poisson(mean, size=(256, 256)).astype(np.float32)
    micrograph = replace(linear_image(mos2())[0], image=counts, pixel_size=(0.1, 0.1))
    assert quality.Counted("m", micrograph, counts, None, None).noise == pytest.approx(np.sqrt(mean), rel=0.05)
