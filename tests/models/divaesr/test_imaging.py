from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from images import graphene, mos2
from pymatgen.core import Structure

from microscopy.linear import structure_factors
from microscopy.optics import Optics
from microscopy.simulation import simulate
from microscopy.simulation_records import SimulationOptions
from models.divaesr import imaging, specimens
from models.divaesr.bank import CrystalBank
from models.divaesr.configuration import BAND, LEVELS, Configuration
from models.divaesr.crystals import bank_of
from models.divaesr.grids import band_power
from models.divaesr.imaging import PIXEL, Phantoms

CPU = torch.device("cpu")
SIDE = 128


@pytest.fixture
def phantoms(bank: CrystalBank) -> Phantoms:
    return Phantoms(bank, Configuration(), CPU)


def ready(bank: CrystalBank, seed: int = 0) -> Phantoms:
    """Before the first draw the generator is not set."""
    made = Phantoms(bank, Configuration(), CPU)
    made._rng = torch.Generator(CPU).manual_seed(seed)
    return made


def test_the_same_seed_gives_the_same_batch(phantoms: Phantoms) -> None:
    one, other, another = phantoms.draw(5, 2, SIDE), phantoms.draw(5, 2, SIDE), phantoms.draw(6, 2, SIDE)
    for name in ("image", "mask", "truth", "weight", "floor", "kind", "pattern", "level"):
        torch.testing.assert_close(getattr(one, name), getattr(other, name), atol=0, rtol=0)
    assert float((one.image - another.image).abs().max()) > 0.1


def test_kinds_come_in_blocks_and_shapes_are_right(phantoms: Phantoms) -> None:
    batch = phantoms.draw(1, 3, SIDE)
    assert batch.kind.tolist() == [0] * 3 + [1] * 3 + [2] * 3 + [3] * 3
    assert batch.image.shape == batch.mask.shape == (12, 1, SIDE // 2, SIDE // 2)
    assert batch.truth.shape == batch.weight.shape == (12, 1, SIDE, SIDE)
    for name in ("image", "mask", "truth", "weight", "floor", "level"):
        assert bool(torch.isfinite(getattr(batch, name)).all()), name
    assert float(batch.image.square().mean()) == pytest.approx(1.0, abs=1.5)


def test_low_and_high_kinds_have_little_and_much_signal(phantoms: Phantoms) -> None:
    batch = phantoms.draw(2, 24, SIDE)
    low, high = (batch.level[(batch.kind % 2) == which] for which in (0, 1))
    worst, border, best = LEVELS
    assert float(low.median()) == pytest.approx((worst + border) / 2, abs=4)
    assert float(high.median()) == pytest.approx((border + best) / 2, abs=4)


def test_the_level_is_the_measured_ratio(phantoms: Phantoms, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(specimens, "SHARES", dict.fromkeys(specimens.SHARES, 0.0))
    monkeypatch.setattr(Phantoms, "_mask", lambda self, count, side: torch.ones(count, 1, side, side))
    monkeypatch.setattr(
        Phantoms,
        "_scanned",
        lambda self, clean: (clean, torch.zeros(clean.shape[:2])),
    )
    batch = phantoms.draw(3, 8, 256)
    working = Configuration().working_pixel
    truth = torch.nn.functional.avg_pool2d(batch.truth, 2)
    signal = band_power(truth[:, 0], working, BAND)
    noise = band_power((batch.image - truth)[:, 0], working, BAND)
    measured = 10 * torch.log10(signal / noise)
    usual = (batch.level > LEVELS[0]) & (batch.level < 12)  # averaging pixels is not exactly the coarser grid
    assert int(usual.sum()) > 16
    assert float((measured - batch.level)[usual].abs().median()) < 0.5
    assert float((measured - batch.level)[usual].abs().max()) < 2.0


def one_crystal(monkeypatch: pytest.MonkeyPatch, structure: Structure) -> tuple[Phantoms, specimens.Atoms]:
    """A crystal without defects under the default beam."""
    monkeypatch.setattr(specimens, "SHARES", dict.fromkeys(specimens.SHARES, 0.0))
    for name in ("DEFECTIVE", "SUBSTITUTED", "STRAINED", "SMALL_STRAIN"):
        monkeypatch.setattr(specimens, name, 0.0)
    monkeypatch.setattr(imaging, "BEAM_CHANCES", (0.0, 0.0, 0.0, 0.0, 0.0, 1.0, 0.0))
    made = ready(bank_of([structure], random=0, seed=0))
    return made, made.specimens.draw(4, 256 * PIXEL, made._rng)


def test_phase_images_are_those_of_the_linear_model(monkeypatch: pytest.MonkeyPatch) -> None:
    made, atoms = one_crystal(monkeypatch, mos2())
    monkeypatch.setattr(made, "_uniform", lambda shape, low, high: torch.zeros(shape))  # no blur, no rotation
    clean, alpha = made._clean(atoms.image, atoms.positions, atoms.numbers, torch.ones(4, dtype=torch.bool), 256)
    optics = Optics()
    assert float(alpha[0]) == pytest.approx(1e-3 * optics.convergence_angle / optics.wavelength, rel=1e-4)
    # The variance of a lattice image is that of its Fourier coefficients.
    indices = np.array([(i, j) for i in range(-5, 6) for j in range(-5, 6) if (i, j) != (0, 0)])
    factors = structure_factors(mos2(), indices, optics)
    mass = 1 + optics.beam_energy / 510998.95
    expected = (np.abs(factors * optics.wavelength * mass) ** 2).sum() ** 0.5
    np.testing.assert_allclose(clean.std(dim=(1, 2)), expected, rtol=0.1)


def test_phase_images_have_the_contrast_and_the_noise_of_a_simulation(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    structure = graphene()  # its multislice takes a second
    made, atoms = one_crystal(monkeypatch, structure)
    phase, dose = torch.ones(4, dtype=torch.bool), 2e4
    options = SimulationOptions(shape=(256, 256), pixel_size=(PIXEL, PIXEL), origin=(0.0, 0.0))
    still = simulate(structure, options, tmp_path).micrograph.image
    recorded = [replace(options, seed=seed, dose=dose) for seed in range(6)]
    monkeypatch.setattr(made, "_uniform", lambda shape, low, high: torch.zeros(shape))
    clean, alpha = made._clean(atoms.image, atoms.positions, atoms.numbers, phase, 256)
    assert float(clean.std(dim=(1, 2)).mean()) == pytest.approx(float(still.std()), rel=0.15)

    monkeypatch.setattr(imaging, "WORST_DOSE", dose)
    monkeypatch.setattr(imaging, "BEST_DOSE", dose)
    image, stated = made._counted(
        clean, torch.zeros(4, 256), phase, alpha, band_power(clean, PIXEL, BAND), torch.zeros(4)
    )
    noise = np.stack([simulate(structure, each, tmp_path).micrograph.image - still for each in recorded])
    power = float(band_power(torch.from_numpy(noise), PIXEL, BAND).mean())
    assert float(stated.mean()) == pytest.approx(power, rel=0.1)
    assert float(band_power(image - clean, PIXEL, BAND).mean()) == pytest.approx(power, rel=0.1)


def test_incoherent_images_count_electrons(monkeypatch: pytest.MonkeyPatch) -> None:
    made, atoms = one_crystal(monkeypatch, mos2())
    phase, dose = torch.zeros(4, dtype=torch.bool), 1e5
    clean, alpha = made._clean(atoms.image, atoms.positions, atoms.numbers, phase, 256)
    monkeypatch.setattr(imaging, "WORST_DOSE", dose)
    monkeypatch.setattr(imaging, "BEST_DOSE", dose)
    image, _ = made._counted(clean, torch.zeros(4, 256), phase, alpha, band_power(clean, PIXEL, BAND), torch.zeros(4))
    counts = image.double() * dose * PIXEL**2
    torch.testing.assert_close(counts, counts.round(), atol=1e-3, rtol=0)
    expected = clean.clamp_min(0).mean() / (dose * PIXEL**2)
    assert float((image - clean).var()) == pytest.approx(float(expected), rel=0.05)


def test_pixels_near_a_defect_count_more(monkeypatch: pytest.MonkeyPatch, bank: CrystalBank) -> None:
    monkeypatch.setattr(specimens, "DEFECTIVE", 1.0)
    monkeypatch.setattr(specimens, "DEFECT_RATES", (0.02, 0.05))
    drawn = []
    draw = specimens.Specimens.draw
    monkeypatch.setattr(specimens.Specimens, "draw", lambda self, *given: drawn.append(draw(self, *given)) or drawn[-1])
    batch = Phantoms(bank, Configuration(), CPU).draw(4, 3, SIDE)
    index, positions = drawn[0].defects
    places = (positions / PIXEL).round().long()
    seen = ((places >= 0) & (places < SIDE)).all(dim=1)
    assert int(seen.sum()) > 5
    found = batch.weight[index[seen], 0, places[seen, 1], places[seen, 0]]
    assert float(found.min()) > 5
    assert float(batch.weight.min()) > 0
    far = torch.zeros_like(batch.weight, dtype=torch.bool)
    far[..., 50:-50, 50:-50] = True  # defects just outside are seen at the opposite edge
    for image, (x, y) in zip(index.tolist(), places.tolist(), strict=True):
        far[image, 0, max(0, y - 25) : max(0, y + 26), max(0, x - 25) : max(0, x + 26)] = False
    assert float(batch.weight[far].max()) < 1.1


def test_dead_pixels_are_masked_and_filled(phantoms: Phantoms) -> None:
    batch = phantoms.draw(7, 16, SIDE)
    holes = (batch.mask == 0).flatten(1).any(dim=1)
    assert 0 < int(holes.sum()) < len(holes)
    assert float(batch.mask.max()) == 1.0
    assert float(batch.mask.mean()) > 0.9
