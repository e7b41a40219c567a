from __future__ import annotations

import json
from pathlib import Path

import pytest
from ase import Atoms

from microscopy.errors import PotentialError
from models import elements
from models.elements import SHIPPED, all_elements, elemental_references, ground_state, write_references
from models.potentials import Potential, load_potential
from models.relaxation import Minimum, RelaxOptions

pytestmark = pytest.mark.usefixtures("cache_folder")


@pytest.mark.parametrize(("name", "worst"), [("sevennet-0", 0.21), ("sevennet-l3i5", 0.11)])
def test_shipped_references_belong_to_the_embedded_weights(name: str, worst: float) -> None:
    potential = load_potential(name)
    (path,) = SHIPPED.glob(f"{name}-*.json")
    content = json.loads(path.read_text())
    assert content["manifest"]["checkpoint"] == potential.checkpoint
    assert content["manifest"]["scale"] == potential.scale
    assert content["manifest"]["command"].startswith(f"automat references build --potential {name}")
    assert len(content["references"]) == 88
    assert content["missing"].keys() == {"Yb"}
    for element, values in content["references"].items():
        assert values["converged"]
        assert values["max_force"] < content["manifest"]["max_force"]
        state = ground_state(element)
        assert state is not None
        assert 0 <= values["dft_energy_per_atom"] - state[1] < elements.DEGENERATE
        # Worst for W (SevenNet-0) and Cr (l3i5); more would mean another structure or another scale.
        assert abs(values["energy_per_atom"] - state[1]) < worst, element


def test_shipped_references_are_reproduced(sevennet: Potential, monkeypatch: pytest.MonkeyPatch) -> None:
    shipped = elemental_references(["Cu", "C"], sevennet).found
    monkeypatch.setattr(elements, "SHIPPED", Path("absent"))
    elements._shipped.cache_clear()
    try:
        computed = elemental_references(["Cu", "C"], sevennet).found
    finally:
        elements._shipped.cache_clear()
    for element, value in computed.items():
        assert value.energy_per_atom == pytest.approx(shipped[element].energy_per_atom, abs=1e-3)


def test_the_cache_is_used_and_belongs_to_a_checkpoint(tiny: Potential, cache_folder: Path) -> None:
    first = elemental_references(["Al"], tiny).found["Al"]
    (file,) = cache_folder.rglob("Al.json")
    assert tiny.checkpoint in str(file)
    assert elemental_references(["Al"], tiny).found["Al"] == first

    content = json.loads(file.read_text())
    file.write_text(json.dumps({**content, "energy_per_atom": 1.5}))
    assert elemental_references(["Al"], tiny).found["Al"].energy_per_atom == 1.5
    for damage in (json.dumps({**content, "checkpoint": "0" * 64, "energy_per_atom": 1.5}), "{", "[]", ""):
        file.write_text(damage)
        assert elemental_references(["Al"], tiny).found["Al"] == first


def test_an_unwritable_cache_costs_only_time(tiny: Potential, cache_folder: Path) -> None:
    cache_folder.write_text("a file where the folder should be")
    assert elemental_references(["Al"], tiny).found.keys() == {"Al"}


def test_what_did_not_converge_is_missing_and_not_cached(tiny: Potential, cache_folder: Path) -> None:
    references = elemental_references(["Sb"], tiny, RelaxOptions(max_force=1e-6, max_steps=1))
    assert not references.found
    assert "not converged" in references.missing["Sb"]
    assert not list(cache_folder.rglob("*.json"))


def test_a_structure_that_turns_into_another_is_passed_over(tiny: Potential, monkeypatch: pytest.MonkeyPatch) -> None:
    first, second = elements._states("O")[:2]
    collapsing = [first[2]]

    def minimise(atoms: Atoms, cell: object, options: object) -> Minimum:
        energy = float(atoms.get_potential_energy())
        drop = 1.0 if state_of(atoms) in collapsing else 0.0
        return Minimum(energy - drop * len(atoms), 9, True, 0.0, path=None)

    def state_of(atoms: Atoms) -> str:
        volumes = {state[2]: state[0].volume for state in elements._states("O")}
        return min(volumes, key=lambda name: abs(volumes[name] - atoms.get_volume()))

    monkeypatch.setattr(elements, "minimise", minimise)
    assert elemental_references(["O"], tiny).found["O"].structure_id == second[2]

    collapsing.extend(state[2] for state in elements._states("N"))
    monkeypatch.setattr(elements, "_states", lambda element: [first])
    assert "falls into a hole" in elemental_references(["N"], tiny).missing["N"]


def test_progress_counts_the_elements(tiny: Potential) -> None:
    told: list[tuple[str, int, int | None]] = []
    elemental_references(["Po", "Al"], tiny, progress=lambda *each: told.append(each))
    assert told == [("Al", 0, 2), ("Po", 1, 2)]


def test_all_elements_are_those_of_the_potential_and_of_the_source(tiny: Potential) -> None:
    assert all_elements(tiny) >= tiny.elements
    assert len(all_elements(tiny)) == 89


def test_references_are_written_with_a_manifest(tiny: Potential, tmp_path: Path) -> None:
    out = tmp_path / "references"
    path = write_references(tiny, elemental_references(["Al", "Po", "Yb"], tiny), out)
    content = json.loads(path.read_text())
    assert path.name == f"mattersim-tiny-{tiny.checkpoint[:8]}.json"
    assert content["manifest"]["checkpoint"] == tiny.checkpoint
    assert content["manifest"]["precision"] == "float32"
    assert content["references"].keys() == {"Al"}
    assert content["missing"].keys() == {"Po", "Yb"}

    out.with_name("file").write_text("")
    with pytest.raises(PotentialError, match="cannot write"):
        write_references(tiny, elemental_references(["Al"], tiny), out.with_name("file"))
