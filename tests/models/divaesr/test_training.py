from __future__ import annotations

import json
import warnings
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from models.divaesr import recipes, weights
from models.divaesr import train as training_run
from models.divaesr.bank import CrystalBank
from models.divaesr.configuration import SMALL
from models.divaesr.expert import Expert
from models.divaesr.mixture import Mixture
from models.divaesr.training import DenoiserTraining, PatternTraining, Schedule, Seeds, psnr

SCHEDULE = Schedule(steps=2, each=1, side=96)


@pytest.fixture
def seen(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Seeds of the images that were trained on."""
    seeds: list[int] = []
    images = DenoiserTraining.images

    def watched(self, which, seed, each):
        if which == "fit":
            seeds.append(seed)
        return images(self, which, seed, each)

    monkeypatch.setattr(DenoiserTraining, "images", watched)
    monkeypatch.setattr(training_run, "VALIDATION_STEPS", 1)
    return seeds


def train(bank: CrystalBank, out: Path, schedule: Schedule, network: str = "mixture", **more) -> dict[str, float]:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # Lightning's advice on workers
        return training_run.train(bank, bank, out, SMALL, schedule, network, progress=False, **more)


def test_a_training_writes_weights_and_says_how(bank: CrystalBank, tmp_path: Path, seen: list[int]) -> None:
    reached = train(bank, tmp_path, SCHEDULE, facts={"banks": "test"})
    assert seen == [0, 1]
    assert {"val_psnr", "val_gate_kind", "val_psnr_phase-low"} <= set(reached)
    made = json.loads((tmp_path / "weights" / "manifest.json").read_text())["made"]
    assert made["steps_done"] == 2
    assert made["banks"] == "test"
    assert made["schedule"]["side"] == 96
    assert made["reached"] == reached
    assert weights.load(tmp_path / "weights").configuration == SMALL


def test_a_training_that_was_stopped_goes_on_with_new_images(
    bank: CrystalBank, tmp_path: Path, seen: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    checkpoint = training_run.ModelCheckpoint
    often = {"every_n_train_steps": 1}
    monkeypatch.setattr(training_run, "ModelCheckpoint", lambda *given, **named: checkpoint(*given, **(named | often)))
    schedule = replace(SCHEDULE, steps=4, seed=1)
    with monkeypatch.context() as patch:
        step = DenoiserTraining.training_step

        def stopped(self, seed, index):
            if index == 2:
                raise RuntimeError("no more power")
            return step(self, seed, index)

        patch.setattr(DenoiserTraining, "training_step", stopped)
        with pytest.raises(RuntimeError, match="no more power"):
            train(bank, tmp_path, schedule)
    assert (tmp_path / "last.ckpt").exists()
    train(bank, tmp_path, schedule)
    assert seen == [10**8 + step for step in range(4)]
    assert json.loads((tmp_path / "weights" / "manifest.json").read_text())["made"]["steps_done"] == 4


def test_one_network_can_be_trained_to_compare_with(bank: CrystalBank, tmp_path: Path, seen: list[int]) -> None:
    reached = train(bank, tmp_path, replace(SCHEDULE, steps=1, seed=3), "single")
    assert seen == [3 * 10**8]
    assert (tmp_path / "network.safetensors").exists()
    assert "val_gate_kind" not in reached
    mixture = Mixture(SMALL)
    weights.resume(mixture, tmp_path / "network.safetensors")


@pytest.mark.parametrize("joint", [0.0, 1.0])
def test_every_part_of_the_mixture_learns(bank: CrystalBank, joint: float) -> None:
    torch.manual_seed(0)
    network = Mixture(SMALL)
    module = DenoiserTraining(network, SMALL, bank, bank, replace(SCHEDULE, joint=joint))
    module.log = lambda *args, **options: None
    loss = module.training_step(0, 0)
    loss.backward()
    assert bool(torch.isfinite(loss))
    asked = sum(any(p.grad is not None and p.grad.any() for p in e.parameters()) for e in network.experts)
    assert asked == 4 if joint == 0.0 else asked >= SMALL.top
    assert network.gate.head.weight.grad is not None
    assert bool(network.gate.head.weight.grad.any())


def test_families_are_learnt_and_nothing_else_changes(bank: CrystalBank, tmp_path: Path, seen: list[int]) -> None:
    torch.manual_seed(0)
    weights.save(Mixture(SMALL), tmp_path / "start", {})
    reached = train(bank, tmp_path, replace(SCHEDULE, seed=4), "patterns", start=tmp_path / "start")
    assert seen == [4 * 10**8, 4 * 10**8 + 1]
    assert set(reached) == {"val_gate_kind", "val_gate_pattern", "val_gate_level_dB"}
    one, other = (weights.load(tmp_path / name).state_dict() for name in ("start", "weights"))
    changed = {name for name in one if not torch.equal(one[name], other[name])}
    assert changed
    assert all(name.startswith("gate.families.") for name in changed)


def test_images_whose_family_is_not_to_be_said_teach_nothing(bank: CrystalBank) -> None:
    module = PatternTraining(Mixture(SMALL), SMALL, bank, bank, SCHEDULE)
    batch = module.images("fit", 0, 1)
    module.images = lambda *_: replace(batch, pattern=torch.full_like(batch.pattern, -1))
    assert module.training_step(0, 0) is None


def test_a_recipe_goes_on_after_the_stages_that_are_done(
    bank: CrystalBank, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    done: list[tuple[str, Path | None]] = []

    def watched(training, validation, folder, configuration, schedule, network, start, **_):
        done.append((network, start))
        (folder / "weights").mkdir(parents=True)
        return {"val_psnr": 1.0}

    monkeypatch.setattr(recipes, "train", watched)
    first = tmp_path / "1-single" / "network.safetensors"
    first.parent.mkdir()
    first.touch()
    assert recipes.cook(recipes.RECIPES["full"], bank, bank, tmp_path, {}) == {"val_psnr": 1.0}
    second, third = (tmp_path / f"{number}-mixture" / "weights" for number in (2, 3))
    assert done == [("mixture", first), ("mixture", second), ("patterns", third)]
    assert recipes.cook(recipes.RECIPES["full"], bank, bank, tmp_path, {}) == {}


def test_networks_to_compare_with_are_as_large_as_said() -> None:
    size = {
        name: sum(p.numel() for p in training_run.network_of(name, SMALL).parameters())
        for name in training_run.NETWORKS
    }
    experts = sum(p.numel() for p in Mixture(SMALL).experts.parameters())
    assert size["single"] == experts / 4
    assert size["wide"] == pytest.approx(experts, rel=0.1)
    assert isinstance(training_run.network_of("wide", SMALL), Expert)


def test_seeds_are_counted() -> None:
    assert list(Seeds(5, 3)) == [5, 6, 7]
    assert len(Seeds(5, 3)) == 3


def test_psnr_is_in_decibels_and_blind_to_the_mean() -> None:
    truth = torch.zeros(1, 1, 10, 10)
    truth[..., ::2, :] = 1
    error = 0.1 * torch.where(torch.arange(10) % 2 == 0, 1.0, -1.0).expand(1, 1, 10, 10)
    assert float(psnr(truth + error + 7, truth)) == pytest.approx(20.0, abs=1e-3)
