"""The benchmark runs the product's own steps, and tells them only what the regime allows."""

import gc
import mmap
from dataclasses import replace
from pathlib import Path

import fake_run
import numpy as np
import pytest
from canned import Science
from monolayers import MONOLAYERS

from benchmarks.cases import DEFAULT, Question, Variant
from benchmarks.materials import Material
from benchmarks.measuring import peak_mib, reset_peak, threads
from benchmarks.pipeline import answer, averaged, prepared, write_image
from library.store import open_libraries
from microscopy.cache import cache_folder
from microscopy.readers import read_micrograph

MATERIAL = Material("MoS2", MONOLAYERS["MoS2 1H"][0])


@pytest.fixture
def ask(science: Science, cache: Path, tmp_path: Path):
    image = tmp_path / "image.npy"
    np.save(image, np.ones((16, 24), np.float32))
    library = open_libraries(None)

    def asking(regime, variant=DEFAULT, same=frozenset(), relax=False):
        return answer(image, Question(regime, relax, variant), MATERIAL, (), library, set(same))

    return asking


def test_every_step_is_run_once_and_measured(ask, science):
    said = ask("I")
    assert said.reconstruction is not None
    assert {"ingest", "denoise", "retrieve", "reconstruct", "verify", "plan"} <= set(said.seconds)
    assert science.calls["retrieve"] == 1
    assert science.calls["relax"] == 0
    assert ask("I", relax=True).relaxation is not None


def test_records_leave_no_trace(ask):
    ask("I")
    assert not (cache_folder() / "records").exists()


def test_a_withheld_material_is_excluded_and_a_hint_excludes_all_else(ask, science):
    library = open_libraries(None)
    same = {library.ids[0]}
    ask("III", same=same)
    assert science.searches[-1].exclude == tuple(same)
    ask("I", Variant("hint", hint=True), same)
    assert set(science.searches[-1].exclude) == set(library.ids) - same
    ask("I", same=same)
    assert science.searches[-1].exclude == ()
    ask("I", Variant("single", single=True))
    assert science.searches[-1].shortlist == 1


def test_an_image_is_written_as_its_instrument_would(tmp_path):
    noisy = fake_run.micrograph()
    write_image(noisy, 0, tmp_path / "float.tif")
    again = read_micrograph(tmp_path / "float.tif")
    assert np.allclose(again.image, noisy.image)
    assert again.pixel_size == pytest.approx(noisy.pixel_size, rel=1e-6)
    levels = replace(noisy, image=np.round(noisy.image % 255).astype(np.float32))
    write_image(levels, 8, tmp_path / "byte.tif")
    assert (tmp_path / "byte.tif").stat().st_size < 0.4 * (tmp_path / "float.tif").stat().st_size
    assert np.array_equal(read_micrograph(tmp_path / "byte.tif").image, levels.image)


def test_the_default_measures_the_image_as_recorded():
    noisy = fake_run.micrograph()
    assert prepared(noisy, DEFAULT) is noisy
    assert not np.array_equal(prepared(noisy, Variant("d", denoiser="gaussian")).image, noisy.image)


def test_averaging_over_cells_removes_noise_and_keeps_the_crystal():
    noisy = fake_run.micrograph()
    clean = fake_run.columns_image(fake_run.candidate(fake_run.monolayer(), "mos2-1h", 0.9))

    def error(image):
        return float(np.std((image - clean)[10:-10, 10:-10]))

    assert error(averaged(noisy)) < 0.5 * error(noisy.image)


def test_peak_memory_sees_what_a_stage_allocates():
    gc.collect()  # what other tests left must not go meanwhile
    if not reset_peak():
        pytest.skip("this system cannot reset the peak of resident memory")
    before = peak_mib()
    with mmap.mmap(-1, 64 * 2**20) as pages:  # an array would get memory that other tests gave back
        for _ in range(64):
            pages.write(bytes(2**20))
        assert peak_mib() - before == pytest.approx(64, abs=20)


def test_threads_are_bounded_within_the_context_only():
    import torch

    before = torch.get_num_threads()
    with threads(1):
        assert torch.get_num_threads() == 1
    assert torch.get_num_threads() == before
