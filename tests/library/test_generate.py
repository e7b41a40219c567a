import json
import re
from pathlib import Path

import numpy as np
import pytest
from ase.calculators.calculator import Calculator, all_changes

from library import generate as module
from library.decoration import decorations
from library.generate import all_decorations, generate, generate_library, work_file
from library.prototype_files import read_prototypes
from library.relaxing import best_scale, relax_decoration, unphysical
from library.store import Library
from library.work_file import read_generated
from microscopy.errors import LibraryError, PotentialError

BOND = 1.5
"""Å; rest length of the springs below."""


class Springs(Calculator):
    """Harmonic springs between in-plane neighbours of a fixed list: a potential with a known answer."""

    implemented_properties = ["energy", "forces", "stress"]  # noqa: RUF012 (as in ASE)

    def calculate(self, atoms=None, properties=None, system_changes=tuple(all_changes)):
        super().calculate(atoms, properties, system_changes)
        from ase.neighborlist import neighbor_list

        i, distance, vector = neighbor_list("idD", atoms, 1.3 * BOND)
        pull = (distance - BOND)[:, None] * vector / distance[:, None]
        forces = np.zeros((len(atoms), 3))
        np.add.at(forces, i, 2 * pull)
        virial = np.einsum("ia,ib->ab", pull, vector) / atoms.get_volume()
        self.results = {
            "energy": 0.5 * float(((distance - BOND) ** 2).sum()),
            "free_energy": 0.5 * float(((distance - BOND) ** 2).sum()),
            "forces": forces,
            "stress": virial.flat[[0, 4, 8, 5, 2, 1]],
        }


class SpringPotential:
    name, checkpoint, scale, fallback = "springs", "0" * 64, "none", ""

    def calculator(self) -> Calculator:
        return Springs()


@pytest.fixture
def graphene():
    return next(decorations(next(p for p in read_prototypes() if p.name == "graphene")))


def test_a_decoration_relaxes_to_the_potentials_bond_length(graphene):
    start = graphene.structure()
    start.apply_strain([0.03, 0.03, 0])
    scaled = best_scale(start, SpringPotential())
    item = relax_decoration(graphene, scaled, "key", SpringPotential())
    assert item.refusal == ""
    assert item.structure.lattice.a == pytest.approx(BOND * np.sqrt(3), rel=0.005)


def test_best_scale_walks_to_a_minimum_outside_the_first_guesses(mos2):
    class Well(Calculator):
        implemented_properties = ["energy"]  # noqa: RUF012 (as in ASE)

        def calculate(self, atoms=None, properties=None, system_changes=tuple(all_changes)):
            super().calculate(atoms, properties, system_changes)
            self.results = {"energy": (atoms.cell.lengths()[0] - 3.7) ** 2}

    class WellPotential(SpringPotential):
        def calculator(self) -> Calculator:
            return Well()

    scaled = best_scale(mos2, WellPotential())
    assert scaled.lattice.a == pytest.approx(3.7, rel=1e-6)
    # Heights scale with the cell.
    assert np.ptp(scaled.cart_coords[:, 2]) == pytest.approx(3.12 * 3.7 / 3.16, rel=1e-6)


def test_what_is_unphysical_is_named(mos2):
    assert unphysical(mos2, mos2) == ""
    wide = mos2.copy()
    wide.apply_strain([0.35, 0.35, 0])
    assert unphysical(mos2, wide)
    squeezed = mos2.copy()
    squeezed.translate_sites([1], [0, 0, -0.9 / mos2.lattice.c])
    squeezed.translate_sites([2], [0, 0, 0.9 / mos2.lattice.c])
    assert "thickness" in unphysical(mos2, squeezed) or "overlap" in unphysical(mos2, squeezed)
    apart = mos2.copy()
    apart.translate_sites([1], [0, 0, 3.0 / mos2.lattice.c])
    assert "one connected layer" in unphysical(mos2, apart)


def test_a_stopped_run_continues_where_it_was(tmp_path, graphene, monkeypatch):
    work = tmp_path / "work.jsonl"
    monkeypatch.setattr(module, "load_potential", lambda name: SpringPotential())
    first = list(generate([graphene], work))
    with work.open("a") as stream:
        stream.write('{"id": "half a li')
    calls = []
    monkeypatch.setattr(module, "relax_decoration", lambda *arguments: calls.append(arguments))
    second = list(generate([graphene], work))
    assert not calls
    assert [i.id for i in first] == [i.id for i in second] == ["graphene:C"]
    assert first[0].refusal == second[0].refusal
    assert len(work.read_text().splitlines()) == 1


def test_a_foreign_work_file_is_refused(tmp_path):
    work = tmp_path / "work.jsonl"
    work.write_text(json.dumps({"something": "else"}) + "\n")
    with pytest.raises(LibraryError, match="not a work file"):
        read_generated(work)


DOCUMENT = Path(__file__).parents[2] / "docs" / "prototypes.md"


@pytest.fixture
def example(tmp_path):
    """The file that docs/prototypes.md shows, in a folder of the user's."""
    path = tmp_path / "mine" / "biphenylene.toml"
    path.parent.mkdir()
    path.write_text(re.search(r"```toml\n(.*?)```", DOCUMENT.read_text(), re.DOTALL)[1])
    return path


def test_one_small_file_becomes_templates(tmp_path, example, monkeypatch):
    monkeypatch.setattr(module, "load_potential", lambda name: SpringPotential())
    told = []
    manifest = generate_library(
        read_prototypes([example]), tmp_path / "out", elements=["C"], progress=lambda *update: told.append(update)
    )
    library = Library.open(tmp_path / "out")
    assert library.ids == ("biphenylene:C",)
    template = library.template(0)
    assert (template.prototype, len(template.structure)) == ("biphenylene", 6)
    bonds = template.structure.distance_matrix
    assert np.sort(bonds, axis=1)[:, 1:3] == pytest.approx(BOND, rel=0.02)
    assert manifest["parameters"]["prototypes"] == ["biphenylene"]
    assert told[0] == ("biphenylene:C", 1, 1)
    assert len(read_generated(work_file(tmp_path / "out"))) == 1


@pytest.mark.slow
def test_the_documented_example_relaxes_near_its_published_lattice(tmp_path, example):
    prototypes = read_prototypes([example.parent])
    generate_library(prototypes, tmp_path / "out", elements=["C"])
    lattice = Library.open(tmp_path / "out").template(0).structure.lattice
    known = prototypes[0].known[0]
    assert sorted(lattice.abc[:2]) == pytest.approx(sorted([known.a, known.b]), rel=0.02)


def test_what_cannot_be_generated_is_said_before_anything_is_relaxed(tmp_path, example, monkeypatch):
    monkeypatch.setattr(module, "relax_decoration", lambda *arguments: pytest.fail("relaxed"))
    prototypes = read_prototypes([example])
    with pytest.raises(LibraryError, match="no decoration of Mo"):
        generate_library(prototypes, tmp_path / "out", elements=["Mo"])
    with pytest.raises(LibraryError, match="not a template library"):
        generate_library(prototypes, example.parent)
    with pytest.raises(PotentialError, match="unknown potential"):
        generate_library(prototypes, tmp_path / "out", potential="nonsense")
    assert not (tmp_path / "out").exists()
    assert not work_file(tmp_path / "out").exists()


def test_refusals_are_reasons_that_can_be_counted(tmp_path, graphene):
    class Failing(Calculator):
        implemented_properties = ["energy"]  # noqa: RUF012 (as in ASE)

        def calculate(self, atoms=None, properties=None, system_changes=tuple(all_changes)):
            raise PotentialError(f"{atoms.symbols}: the relaxation collapsed ({len(atoms)} eV/Å left); stop")

    class FailingPotential(SpringPotential):
        def calculator(self) -> Calculator:
            return Failing()

    item = relax_decoration(graphene, graphene.structure(), "key", FailingPotential())
    assert item.refusal == "potential: the relaxation collapsed"


def test_published_members_come_first():
    order = all_decorations(read_prototypes())
    sizes = [len(d.prototype.sites) for d in order]
    first_other = next(k for k, d in enumerate(order) if d.id == "A7-binary:Si-O")
    assert "graphene:C" in [d.id for d in order[:first_other]]
    assert sizes[first_other:] == sorted(sizes[first_other:])
