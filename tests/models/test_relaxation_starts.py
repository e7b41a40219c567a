from __future__ import annotations

import numpy as np
import pytest
from pymatgen.core import Lattice, Structure

from microscopy.slab import slab
from models.potentials import Potential
from models.relaxation import RelaxOptions, relax_in_plane
from models.relaxation.starts import DISTINCT, KEEP, difference, height_starts


def flat(a: float, b: float, gamma: float, species: list[str], xy: list[tuple[float, float]]) -> Structure:
    lattice = Lattice.from_parameters(a, b, 26, 90, 90, gamma, vesta=True, pbc=(True, True, False))
    return Structure(lattice, species, [(x, y, 0.5) for x, y in xy])


def silicene() -> Structure:
    return flat(3.87, 3.87, 120, ["Si", "Si"], [(1 / 3, 2 / 3), (2 / 3, 1 / 3)])


def disulphide() -> Structure:
    return flat(3.18, 3.18, 120, ["Mo", "S", "S"], [(1 / 3, 2 / 3), (2 / 3, 1 / 3), (2 / 3, 1 / 3)])


def phosphorene() -> Structure:
    return flat(3.30, 4.62, 90, ["P"] * 4, [(0.0, 0.08), (0.5, 0.42), (0.5, 0.58), (0.0, 0.92)])


ALL = pytest.mark.parametrize("structure", [silicene(), disulphide(), phosphorene()], ids=["Si", "MoS2", "P"])


@ALL
def test_starts_are_few_distinct_and_over_the_same_projection(structure: Structure) -> None:
    starts = height_starts(structure)
    assert 2 <= len(starts) <= KEEP + 1
    assert starts[0].structure == structure
    for number, start in enumerate(starts):
        assert start.structure.lattice == structure.lattice
        assert np.array_equal(start.structure.frac_coords[:, :2], structure.frac_coords[:, :2])
        z = start.structure.cart_coords[:, 2]
        for other in starts[:number]:
            assert difference(z, other.structure.cart_coords[:, 2]) > DISTINCT


@ALL
def test_the_same_structure_has_the_same_starts(structure: Structure) -> None:
    first, second = height_starts(structure), height_starts(structure.copy())
    assert [start.name for start in first] == [start.name for start in second]
    assert all(a.structure == b.structure for a, b in zip(first, second, strict=True))


def test_either_side_up_is_the_same_arrangement() -> None:
    z = np.array([1.0, 0.2, -1.5])
    assert difference(z, -z + 7.0) == pytest.approx(0)
    assert difference(z, z + 7.0) == pytest.approx(0)
    assert difference(z, np.array([1.0, -0.2, -1.5])) == pytest.approx(0.4)


def test_a_sandwich_has_the_metal_inside_and_the_anions_on_either_side() -> None:
    best = height_starts(disulphide())[1]
    z = best.structure.cart_coords[:, 2]
    assert best.name == "Mo inside S"
    assert z[0] == pytest.approx((z[1] + z[2]) / 2)
    assert 2.8 < abs(z[1] - z[2]) < 4.2


def test_many_sites_are_no_explosion() -> None:
    big = silicene().make_supercell([4, 4, 1], in_place=False)
    assert 2 <= len(height_starts(big)) <= KEEP + 1


def test_many_elements_are_no_explosion() -> None:
    species = ["Mo", "W", "S", "Se", "Te", "O"]
    xy = [(0.1, 0.1), (0.5, 0.5), (0.3, 0.8), (0.8, 0.3), (0.1, 0.6), (0.6, 0.1)]
    assert 1 <= len(height_starts(flat(6.5, 6.5, 90, species, xy))) <= KEEP + 1


def test_heights_are_kept_unless_asked(sevennet: Potential) -> None:
    kept = relax_in_plane(silicene(), sevennet)
    assert np.ptp(kept.structure.cart_coords[:, 2]) == pytest.approx(0, abs=1e-6)
    assert (kept.starts, kept.chosen, kept.runner_up_energy_per_atom) == (1, "as given", None)


def test_flat_silicene_buckles(sevennet: Potential) -> None:
    # 0.44 Å in LDA: Cahangirov et al., Phys. Rev. Lett. 102, 236804 (2009); the potential has a little more.
    kept, tried = (relax_in_plane(silicene(), sevennet, RelaxOptions(heights=each)) for each in ("kept", "tried"))
    assert np.ptp(tried.structure.cart_coords[:, 2]) == pytest.approx(0.5, abs=0.12)
    assert tried.energy_per_atom < kept.energy_per_atom - 0.01
    assert tried.chosen == "buckled"
    assert tried.starts > 1
    assert tried.runner_up_energy_per_atom == pytest.approx(kept.energy_per_atom, abs=0.005)


def test_heights_that_are_right_are_kept(sevennet: Potential) -> None:
    known = relax_in_plane(silicene(), sevennet, RelaxOptions(heights="tried"))
    again = relax_in_plane(known.structure, sevennet, RelaxOptions(heights="tried"))
    assert again.chosen == "as given"
    assert again.energy_per_atom == pytest.approx(known.energy_per_atom, abs=1e-3)
    assert again.displacements.max() < 0.01


def test_a_flattened_sandwich_is_found_again(sevennet: Potential) -> None:
    z = 1.56 / 26
    true = disulphide()
    true.translate_sites([1], [0, 0, z])
    true.translate_sites([2], [0, 0, -z])
    reference = relax_in_plane(slab(true), sevennet)
    found = relax_in_plane(disulphide(), sevennet, RelaxOptions(heights="tried"))
    assert found.converged
    assert found.chosen == "Mo inside S"
    assert found.energy_per_atom == pytest.approx(reference.energy_per_atom, abs=0.005)


def test_no_time_is_a_result_that_says_so(sevennet: Potential) -> None:
    result = relax_in_plane(silicene(), sevennet, RelaxOptions(heights="tried", max_seconds=0.0))
    assert not result.converged
    assert "stopped after 0 s" in result.note
