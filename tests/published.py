"""Structures written in the forms in which databases publish them."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np
from pymatgen.analysis.structure_matcher import StructureMatcher
from pymatgen.core import Structure

from library.cleaning import clean
from library.geometry import as_periodic
from library.sources import Entry, Refusal

SAME = StructureMatcher(ltol=0.01, stol=0.01, angle_tol=0.5, primitive_cell=False, scale=False)


def split(items: Iterable[Entry | Refusal]) -> tuple[list[Entry], list[Refusal]]:
    everything = list(items)
    return [i for i in everything if isinstance(i, Entry)], [i for i in everything if isinstance(i, Refusal)]


def assert_same(entry: Entry, layer: Structure) -> None:
    """The entry, cleaned, is the monolayer that was written."""
    found, expected = clean(entry.structure), clean(layer)
    assert SAME.fit(as_periodic(found), as_periodic(expected), skip_structure_reduction=True)


def pymatgen_record(structure: Structure) -> dict[str, Any]:
    """pymatgen's JSON form, as 2DMatPedia and the Materials Project publish it."""
    return as_periodic(structure).as_dict()


def twodmatpedia_document(id: str, structure: Structure) -> dict[str, Any]:
    """One line of 2DMatPedia's db.json."""
    composition = structure.composition
    return {
        "structure": pymatgen_record(structure),
        "material_id": id,
        "formula_pretty": composition.reduced_formula,
        "chemsys": composition.chemical_system,
        "elements": sorted(map(str, composition.elements)),
        "nelements": len(composition.elements),
        "source_id": "mp-2815",
        "creation_task_label": "mp-2815_sub-static",
        "discovery_process": "top-down",
        "energy_per_atom": -7.2,
        "bandgap": 1.6,
        "total_magnetization": 0.0,
        "decomposition_energy": 0.0,
        "exfoliation_energy_per_atom": 0.08,
    }


def jarvis_item(id: str, structure: Structure, cartesian: bool = False) -> dict[str, Any]:
    """One item of JARVIS-DFT's dft_2d; symbols carry the blanks of its files."""
    lattice = structure.lattice
    coords = structure.cart_coords if cartesian else structure.frac_coords
    return {
        "jid": id,
        "formula": structure.composition.reduced_formula,
        "spg_symbol": "P-6m2",
        "func": "OptB88vdW",
        "exfoliation_energy": "na",
        "optb88vdw_bandgap": 1.7,
        "atoms": {
            "lattice_mat": lattice.matrix.tolist(),
            "coords": coords.tolist(),
            "elements": [f"{site.specie.symbol} " for site in structure],
            "abc": list(lattice.abc),
            "angles": list(lattice.angles),
            "cartesian": cartesian,
            "props": [""] * len(structure),
        },
    }


def optimade_resource(id: str, structure: Structure, aperiodic: bool = False) -> dict[str, Any]:
    """One structure of an OPTIMADE response; ``aperiodic``: the axis across the layer has no vector."""
    symbols = sorted({site.specie.symbol for site in structure})
    vectors: list[Any] = structure.lattice.matrix.tolist()
    if aperiodic:
        vectors[2] = [None, None, None]
    counts = np.array([sum(site.specie.symbol == s for site in structure) for s in symbols])
    return {
        "id": id,
        "type": "structures",
        "attributes": {
            "elements": symbols,
            "nelements": len(symbols),
            "elements_ratios": (counts / counts.sum()).tolist(),
            "chemical_formula_reduced": structure.composition.reduced_formula,
            "dimension_types": [1, 1, 0],
            "nperiodic_dimensions": 2,
            "lattice_vectors": vectors,
            "cartesian_site_positions": structure.cart_coords.tolist(),
            "nsites": len(structure),
            "species": [{"name": s, "chemical_symbols": [s], "concentration": [1.0]} for s in symbols],
            "species_at_sites": [site.specie.symbol for site in structure],
            "structure_features": [],
            "last_modified": "2024-05-17T08:00:00Z",
        },
        "links": None,
    }
