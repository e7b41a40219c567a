from __future__ import annotations

import importlib.util
from dataclasses import replace
from pathlib import Path

import pytest
from ase.build import bulk

from microscopy.errors import PotentialError
from models.potentials import MP_ELEMENTS, inventory, load_potential, potential_names, registry, weights


@pytest.fixture
def home(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """A machine without MatterSim's weights; the value is its folder for them."""
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.delenv("AUTOMAT_MATTERSIM_CHECKPOINT", raising=False)
    return tmp_path / ".local" / "mattersim" / "pretrained_models"


@pytest.mark.parametrize("name", ["sevennet-0", "sevennet-l3i5"])
def test_elements_are_those_of_the_checkpoint(name: str) -> None:
    from ase.data import chemical_symbols

    with load_potential(name).network() as network:
        assert {chemical_symbols[z] for z in network.type_map} == MP_ELEMENTS


def test_default_without_mattersim_is_embedded_and_says_so(home: Path) -> None:
    potential = load_potential()
    assert (potential.name, potential.scale) == ("sevennet-l3i5", "PBE")
    assert "MatterSim" in potential.fallback
    assert "SevenNet-l3i5" in potential.fallback
    assert load_potential("sevennet-0").fallback == ""


def publish(path: Path, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Make a file the published content of a name."""
    blob = weights.git_blob(path)
    known = tuple(replace(each, git_blob=blob) if each.name == name else each for each in registry.KNOWN)
    monkeypatch.setattr(registry, "KNOWN", known)


def test_default_with_mattersim_in_its_folder(
    home: Path, tiny_mattersim: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    publish(tiny_mattersim, "mattersim-v1.0.0-5m", monkeypatch)
    home.mkdir(parents=True)
    (home / "mattersim-v1.0.0-5M.pth").write_bytes(tiny_mattersim.read_bytes())
    for name in (None, "mattersim", "MatterSim-5M", "mattersim-v1.0.0-5m"):
        potential = load_potential(name)
        assert (potential.name, potential.fallback) == ("mattersim-v1.0.0-5m", "")
        assert potential.scale.startswith("PBE")
    with pytest.raises(PotentialError, match=r"mattersim-v1\.0\.0-1M\.pth into"):
        load_potential("mattersim-1m")


def test_a_published_name_on_other_content_is_said(home: Path, tiny_mattersim: Path) -> None:
    home.mkdir(parents=True)
    (home / "mattersim-v1.0.0-5M.pth").write_bytes(tiny_mattersim.read_bytes())
    potential = load_potential("mattersim-5m")
    assert (potential.name, potential.scale) == ("mattersim:mattersim-v1.0.0-5M", "unknown")
    assert "not the published" in potential.fallback


def test_published_content_is_known_under_any_name(tiny_mattersim: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    publish(tiny_mattersim, "mattersim-v1.0.0-1m", monkeypatch)
    assert load_potential(str(tiny_mattersim)).name == "mattersim-v1.0.0-1m"


def test_default_with_mattersim_in_the_variable(
    home: Path, tiny_mattersim: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AUTOMAT_MATTERSIM_CHECKPOINT", str(tiny_mattersim))
    for name in (None, "mattersim"):
        potential = load_potential(name)
        assert (potential.name, potential.scale, potential.fallback) == ("mattersim:tiny", "unknown", "")
    monkeypatch.setenv("AUTOMAT_MATTERSIM_CHECKPOINT", str(tiny_mattersim.with_name("absent.pth")))
    with pytest.raises(PotentialError, match="AUTOMAT_MATTERSIM_CHECKPOINT"):
        load_potential()


@pytest.mark.parametrize(
    ("name", "says"),
    [
        ("mattersim", "not on this machine"),
        ("mattersim-v1.0.0-5m", "mattersim-v1.0.0-5M.pth"),
        ("mace-mp-0", "choose one of sevennet-0"),
        ("absent/weights.pth", "cannot read"),
    ],
)
def test_refuses_in_one_line(name: str, says: str, home: Path) -> None:
    with pytest.raises(PotentialError, match=says) as caught:
        load_potential(name)
    assert "\n" not in str(caught.value)


def test_refuses_files_that_are_no_checkpoint(tiny_mattersim: Path, tmp_path: Path) -> None:
    import torch

    text, cut, foreign, short = (tmp_path / f"{name}.pth" for name in ("text", "cut", "foreign", "short"))
    text.write_text("not weights")
    cut.write_bytes(tiny_mattersim.read_bytes()[:2000])
    torch.save({"weights": torch.zeros(3)}, foreign)
    content = torch.load(tiny_mattersim, weights_only=True)
    content["model"].pop(next(iter(content["model"])))
    torch.save(content, short)
    for path in (text, cut, foreign, short):
        with pytest.raises(PotentialError, match=path.name) as caught:
            load_potential(str(path)).calculator()
        assert "\n" not in str(caught.value)


def test_refuses_an_absent_device() -> None:
    with pytest.raises(PotentialError, match="cuda:99"):
        load_potential("sevennet-0", device="cuda:99")


def test_replaced_weights_have_another_digest(tiny_mattersim: Path, tmp_path: Path) -> None:
    path = tmp_path / "weights.pth"
    path.write_bytes(tiny_mattersim.read_bytes())
    first = load_potential(str(path))
    path.write_bytes(tiny_mattersim.read_bytes() + b"\0")
    assert load_potential(str(path)).checkpoint != first.checkpoint


def test_loading_prints_nothing(tiny_mattersim: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "quiet.pth"
    path.write_bytes(tiny_mattersim.read_bytes())
    for name in (str(path), "sevennet-0"):
        atoms = bulk("Al")
        atoms.calc = load_potential(name).calculator()
        atoms.get_potential_energy()
    assert capfd.readouterr() == ("", "")


def test_the_inventory_has_every_name_or_says_why_not(home: Path, cache: Path) -> None:
    found = dict(inventory())
    assert tuple(found) == potential_names()
    for name, each in found.items():
        if isinstance(each, str):
            assert name in each
            assert "\n" not in each
        else:
            assert each == load_potential(name)
            assert each.name == name
    assert isinstance(found["mattersim-v1.0.0-5m"], str)
    assert "automat potentials fetch mattersim-v1.0.0-5m" in found["mattersim-v1.0.0-5m"]


def test_an_absent_optional_family_says_how_to_install_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(PotentialError, match=r"pip install -c constraints.txt chgnet"):
        load_potential("chgnet")


def test_corrected_energies_are_labelled() -> None:
    assert registry.published("chgnet-0.3.0").scale == "PBE, MP2020-corrected"
