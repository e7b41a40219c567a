from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from models.divaesr import weights
from models.divaesr.configuration import Configuration
from models.divaesr.expert import Expert
from models.divaesr.manifest import SHIPPED, WeightsError, digest, read_manifest
from models.divaesr.mixture import Mixture


@pytest.fixture
def folder(mixture: Mixture, tmp_path: Path) -> Path:
    weights.save(mixture, tmp_path / "weights", {"seed": 0}, torch.float32)
    return tmp_path / "weights"


def rewrite(folder: Path, **changes: object) -> None:
    path = folder / "manifest.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))


def test_a_network_survives_its_files(mixture: Mixture, folder: Path) -> None:
    image = torch.randn((2, 1, 24, 32), generator=torch.Generator().manual_seed(1))
    again = weights.load(folder)
    assert not again.training
    assert again.configuration == mixture.configuration
    with torch.no_grad():
        one, other = mixture(image, torch.ones_like(image)), again(image, torch.ones_like(image))
    torch.testing.assert_close(one.image, other.image, atol=0, rtol=0)
    torch.testing.assert_close(one.opinion.level, other.opinion.level, atol=0, rtol=0)


def test_half_precision_hardly_changes_the_answer(mixture: Mixture, tmp_path: Path) -> None:
    weights.save(mixture, tmp_path, {})
    image = torch.randn((1, 1, 24, 32), generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        one, other = (each(image, torch.ones_like(image), 4).image for each in (mixture, weights.load(tmp_path)))
    assert 0 < float((one - other).abs().max()) < 0.02 * float(one.std())


def test_one_file_for_the_gate_and_one_for_each_expert_and_no_pickle(mixture: Mixture, folder: Path) -> None:
    names = {"gate", *mixture.configuration.kinds}
    assert {path.name for path in folder.iterdir()} == {"manifest.json", *(f"{n}.safetensors" for n in names)}
    assert load_file(folder / "gate.safetensors")
    assert read_manifest(folder)["made"] == {"seed": 0}


def test_a_pickled_file_is_refused(mixture: Mixture, folder: Path) -> None:
    path = folder / "gate.safetensors"
    torch.save(mixture.gate.state_dict(), path)
    files = read_manifest(folder)["files"]
    rewrite(folder, files=files | {"gate": {"sha256": weights._digest(path)}})
    with pytest.raises(WeightsError, match=r"gate\.safetensors: cannot be read as weights of this network"):
        weights.load(folder)


def test_a_damaged_file_is_refused(folder: Path) -> None:
    path = folder / "phase-low.safetensors"
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)
    with pytest.raises(WeightsError, match=r"phase-low\.safetensors: damaged.*copy it again"):
        weights.load(folder)


def test_a_missing_file_is_refused(folder: Path) -> None:
    (folder / "incoherent-high.safetensors").unlink()
    with pytest.raises(WeightsError, match=r"incoherent-high\.safetensors: cannot be read"):
        weights.load(folder)


@pytest.mark.parametrize("change", [{"widths": [8, 8, 8, 16]}, {"blocks": 2}, {"gate_width": 6}])
def test_another_network_is_refused(folder: Path, change: dict[str, object]) -> None:
    rewrite(folder, configuration=read_manifest(folder)["configuration"] | change)
    with pytest.raises(WeightsError, match=r"of this network|of another network"):
        weights.load(folder)


def test_a_configuration_of_another_release_is_refused(folder: Path) -> None:
    rewrite(folder, configuration=read_manifest(folder)["configuration"] | {"unheard_of": 1})
    with pytest.raises(WeightsError, match="configuration"):
        weights.load(folder)


def test_a_folder_without_a_manifest_says_what_to_do(tmp_path: Path) -> None:
    with pytest.raises(WeightsError, match=r"no denoiser weights here.*automat train denoiser"):
        read_manifest(tmp_path)
    (tmp_path / "manifest.json").write_text("{")
    with pytest.raises(WeightsError, match="no denoiser weights here"):
        digest(tmp_path)


@pytest.mark.parametrize("content", [[], {"format": 99, "files": {}}, {}, {"format": 1}])
def test_another_format_is_refused(tmp_path: Path, content: object) -> None:
    (tmp_path / "manifest.json").write_text(json.dumps(content))
    with pytest.raises(WeightsError, match="another format"):
        read_manifest(tmp_path)


def test_the_digest_follows_the_weights(mixture: Mixture, folder: Path) -> None:
    before = digest(folder)
    weights.save(mixture, folder, {"seed": 1}, torch.float32)
    assert digest(folder) == before
    with torch.no_grad():
        mixture.gate.head.bias += 1
    weights.save(mixture, folder, {"seed": 1}, torch.float32)
    assert digest(folder) != before


def test_the_shipped_weights_are_those_of_their_manifest() -> None:
    network = weights.load(SHIPPED)
    assert len(network.experts) == 4
    assert sum(path.stat().st_size for path in SHIPPED.iterdir()) < 20e6


def test_training_goes_on_from_a_mixture_or_from_one_network(
    mixture: Mixture, folder: Path, tiny: Configuration, tmp_path: Path
) -> None:
    other = Mixture(tiny)
    weights.resume(other, folder)
    for one, two in zip(mixture.parameters(), other.parameters(), strict=True):
        torch.testing.assert_close(one, two, atol=0, rtol=0)
    weights.save_network(mixture.experts[2], tmp_path / "one.safetensors", torch.float32)
    weights.resume(other, tmp_path / "one.safetensors")
    for expert in other.experts:
        torch.testing.assert_close(expert.first.weight, mixture.experts[2].first.weight, atol=0, rtol=0)


def test_training_does_not_go_on_from_another_network(folder: Path, tmp_path: Path) -> None:
    wide = Configuration(widths=(16, 16, 16, 16), blocks=1, latent=4, spectral_width=4, gate_width=4)
    for start in (folder, folder / "gate.safetensors", tmp_path / "nothing"):
        with pytest.raises(WeightsError):
            weights.resume(Expert(wide) if start.is_file() else Mixture(wide), start)
