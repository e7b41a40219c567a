"""CIF files of slabs: written with ten decimals, and released only when two readers give the slab back.

A CIF knows no aperiodic axis. The slab is written in its vacuum, and its layer group stands in the audit block.
With symmetry, cell and origin are a tabulated setting of a space group with exactly the operations that are written,
so that readers who trust the symbol, the number or the operations all build the same crystal.
"""

from __future__ import annotations

import io
import math
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from functools import cache
from typing import Any

import numpy as np
import spglib
from jaxtyping import Float, Int
from pymatgen.analysis.structure_matcher import StructureMatcher
from pymatgen.core.lattice import Lattice
from pymatgen.core.structure import Structure

from microscopy.errors import ReconstructionError
from microscopy.slab import slab
from reconstruction.operations import EXACT, exact_translations, layer_dataset, quiet_spglib

DECIMALS = 10
"""Of fractional coordinates: 1/3 to 1e-9 Å; six decimals already merge or split sites in some readers."""
RELEASE_TOLERANCE = 1e-6
"""Å. A site read back lies within this distance of the site written."""
MIN_DISTANCE = 0.5
"""Å. Shorter than any bond (H-H is 0.74): sites this near are one site written twice."""
HALL_NUMBERS = 530
"""Settings of the 230 space groups in the International Tables."""
ORIGINS = (0.0, 0.25, 0.5, 0.75)
"""The origins of a layer group and of its space group differ by quarters of the cell, where they differ."""
DENOMINATOR = 24
"""Translations of layer and space groups about a standard origin are multiples of 1/24 at finest."""


def cif_text(
    structure: Structure, comments: Sequence[str] = (), *, symmetric: bool = False, tolerance: float | None = None
) -> str:
    """Write a slab as CIF.

    Parameters
    ----------
    structure
        A slab. For ``symmetric``, one whose symmetry has been made exact (``LayerSymmetry.symmetrised``).
    comments
        Lines for the head of the file.
    symmetric
        Write one site of each orbit and the symmetry operations, in the standard setting with as many sites; else
        every site in P 1, in the slab's own cell.
    tolerance
        Å; the tolerance at which the symmetry was found, recorded in the audit block.

    Returns
    -------
    str
        ASCII text.

    Raises
    ------
    ReconstructionError
        If ``symmetric`` and the symmetry is not exact, or no tabulated setting has as many sites as the slab (the
        primitive cell of a centred group): some readers would apply other operations than those written.
    """
    return _text(_standard(slab(structure)) if symmetric else _p1(slab(structure)), comments, tolerance)


def checked_cif(
    structure: Structure, comments: Sequence[str] = (), *, symmetric: bool = False, tolerance: float | None = None
) -> str:
    """Write a slab as CIF and make sure that pymatgen and ASE both read the same crystal from it.

    Parameters and the text are those of ``cif_text``.

    Raises
    ------
    ReconstructionError
        As ``cif_text``; or if sites overlap, or a reader returns other sites, another cell or another composition.
    """
    structure = slab(structure)
    name = structure.composition.reduced_formula
    nearest = _nearest_distance(structure)
    if nearest < MIN_DISTANCE:
        raise ReconstructionError(f"{name}: two sites are {nearest:.3f} Å apart; the structure cannot be released")
    setting = _standard(structure) if symmetric else _p1(structure)
    text = _text(setting, comments, tolerance)
    for reader, read in (("pymatgen", _read_pymatgen), ("ASE", _read_ase)):
        try:
            back = read(text)
        except Exception as error:
            raise ReconstructionError(f"{name}: {reader} cannot read the CIF that was written: {error}") from error
        _compare(setting.structure, back, f"{name}: {reader} reads the CIF that was written with")
    if symmetric and not StructureMatcher(ltol=1e-4, stol=1e-3, angle_tol=0.01, scale=False).fit(
        _periodic(structure), _periodic(setting.structure)
    ):
        raise ReconstructionError(f"{name}: the standard setting is not the same crystal; write it in P 1")
    return text


def structure_cif(structure: Structure, comments: Sequence[str] = (), tolerance: float | None = None) -> str:
    """Write a symmetrised slab with its symmetry operations; in P 1, with the reason, where ``checked_cif`` refuses."""
    try:
        return checked_cif(structure, comments, symmetric=True, tolerance=tolerance)
    except ReconstructionError as error:
        return checked_cif(structure, (*comments, f"all sites written, in P 1: {error}"), tolerance=tolerance)


@dataclass(frozen=True, eq=False)
class _Setting:
    """What a file says: a slab, its space group, the operations, and which sites stand for an orbit."""

    structure: Structure
    space_group: tuple[int, str, str]
    operations: tuple[str, ...]
    sites: tuple[int, ...]
    multiplicity: tuple[int, ...]
    remark: str


def _p1(structure: Structure) -> _Setting:
    count = len(structure)
    group = (1, "P 1", "P 1")
    remark = "every site is written; no symmetry is imposed by this file"
    return _Setting(structure, group, ("x,y,z",), tuple(range(count)), (1,) * count, remark)


def _standard(structure: Structure) -> _Setting:
    """Take a symmetrised slab to the standard cell and origin in the plane, with rational operations."""
    name = structure.composition.reduced_formula
    dataset = layer_dataset(structure, EXACT)
    steps = None if dataset is None else exact_translations(structure, dataset)
    if dataset is None or steps is None:
        raise ReconstructionError(f"{name}: no exact layer symmetry; symmetrise the structure or write it in P 1")
    # x_standard = P x + p. Refused where P is not unimodular, so that the sites stay as many.
    change = np.round(dataset.transformation_matrix)
    if np.abs(change - dataset.transformation_matrix).max() > EXACT or round(float(np.linalg.det(change))) != 1:
        raise ReconstructionError(f"{name}: the standard cell of {dataset.international} holds more or fewer sites")
    # Only the plane is moved: the slab stays centred at c / 2, as good an origin as 0 in a periodic file.
    shift = np.array([*dataset.origin_shift[:2], 1.0 if change[2, 2] < 0 else 0.0])
    rotations = np.round(change @ dataset.rotations @ np.linalg.inv(change)).astype(int)
    space_group, translations, shift = _space_group(rotations, steps @ change.T, shift, name)
    lattice = Lattice(np.linalg.inv(change).T @ structure.lattice.matrix)
    frac = structure.frac_coords @ change.T + shift
    frac = np.array([_special(point, rotations, translations, lattice) for point in frac])
    # Fractions stay as they are when the cell is turned into the convention.
    turned = slab(Structure(lattice, structure.species, frac), vacuum=_vacuum(structure)).lattice
    standard = Structure(turned, structure.species, frac)
    orbits = np.asarray(dataset.crystallographic_orbits)
    _, first = np.unique(orbits, return_index=True)
    sites = tuple(int(i) for i in np.sort(first))
    return _Setting(
        standard,
        space_group,
        tuple(_xyz(rotation, translation) for rotation, translation in zip(rotations, translations, strict=True)),
        sites,
        tuple(int(np.sum(orbits == orbits[i])) for i in sites),
        f"layer group {dataset.number} {dataset.international}",
    )


def _special(
    point: Float[np.ndarray, " 3"], rotations: np.ndarray, translations: np.ndarray, lattice: Lattice
) -> Float[np.ndarray, " 3"]:
    """Put a site exactly onto its special position: the mean of its images under its stabiliser."""
    delta = rotations @ point + translations - point
    delta -= np.round(delta)
    fixed = np.linalg.norm(delta @ lattice.matrix, axis=1) < 10 * EXACT
    return np.asarray(point + delta[fixed].mean(axis=0))


def _space_group(
    rotations: Int[np.ndarray, "G 3 3"],
    translations: Float[np.ndarray, "G 3"],
    shift: Float[np.ndarray, " 3"],
    name: str,
) -> tuple[tuple[int, str, str], Float[np.ndarray, "G 3"], Float[np.ndarray, " 3"]]:
    """Find the tabulated setting of a space group with exactly these operations about an origin near ``shift``.

    Returns its number, Hermann-Mauguin and Hall symbol; its rational translations; and the origin shift it takes.
    """
    turns = frozenset(map(bytes, rotations.astype(np.int8)))
    settings = [hall for hall in range(1, HALL_NUMBERS + 1) if _tabulated(hall)[0] == turns]
    identity = np.eye(3)
    for du in ORIGINS:
        for dv in ORIGINS:
            trial = shift + np.array((du, dv, 0.0))
            moved = translations + trial - rotations @ trial
            rational = np.round(moved * DENOMINATOR) / DENOMINATOR
            if np.abs(moved - rational).max() > EXACT:
                continue
            # spglib's origin is good to its tolerance; the operations say where the origin is to round-off.
            moves = np.concatenate(identity - rotations)
            trial = trial + np.linalg.lstsq(moves, (rational - moved).ravel(), rcond=None)[0]
            operations = _operation_set(rotations, rational)
            for hall in settings:
                if _tabulated(hall)[1] == operations:
                    with quiet_spglib():
                        kind: Any = spglib.get_spacegroup_type(hall)
                    symbol = kind.international.split("=")[-1].strip().replace("_", "")
                    return (int(kind.number), symbol, str(kind.hall_symbol)), rational % 1.0, trial
    raise ReconstructionError(f"{name}: the cell is no tabulated setting of its space group; write it in P 1")


def _operation_set(rotations: np.ndarray, translations: np.ndarray) -> frozenset[tuple[int, ...]]:
    steps = np.round(translations * DENOMINATOR).astype(int) % DENOMINATOR
    return frozenset(tuple(int(n) for n in row) for row in np.hstack([rotations.reshape(-1, 9), steps]))


@cache
def _tabulated(hall: int) -> tuple[frozenset[bytes], frozenset[tuple[int, ...]]]:
    """Rotations, and whole operations, of a tabulated setting."""
    with quiet_spglib():
        operations: Any = spglib.get_symmetry_from_database(hall)
    rotations = np.asarray(operations["rotations"])
    turns = frozenset(map(bytes, rotations.astype(np.int8)))
    return turns, _operation_set(rotations, operations["translations"])


def _text(setting: _Setting, comments: Sequence[str], tolerance: float | None) -> str:
    structure = setting.structure
    formula = structure.composition.reduced_formula
    units = math.gcd(*(round(n) for n in structure.composition.get_el_amt_dict().values()))
    number, symbol, hall = setting.space_group
    remarks = [setting.remark]
    if tolerance is not None:
        remarks.append(f"symmetry found at a tolerance of {tolerance:.4g} Angstrom and imposed exactly")
    remarks.append(
        "monolayer: periodic along a and b only; c is no period of the crystal but holds "
        f"{_vacuum(structure):.3f} Angstrom of vacuum"
    )
    lines = [f"# {line}" for comment in comments for line in _ascii(comment).splitlines()]
    lines += [f"data_{formula}", "_audit_creation_method 'AutoMat'", "_audit_creation_details", ";", *remarks, ";"]
    lines += [
        f"_chemical_formula_structural '{formula}'",
        f"_chemical_formula_sum '{_formula_sum(structure)}'",
        f"_cell_formula_units_Z {units}",
    ]
    lines += [f"_cell_length_{n} {x:.8f}" for n, x in zip("abc", structure.lattice.abc, strict=True)]
    names = ("alpha", "beta", "gamma")
    lines += [f"_cell_angle_{n} {x:.8f}" for n, x in zip(names, structure.lattice.angles, strict=True)]
    lines += [
        f"_space_group_IT_number {number}",
        f"_space_group_name_H-M_alt '{symbol}'",
        f"_space_group_name_Hall '{hall}'",
        "loop_",
        "  _space_group_symop_id",
        "  _space_group_symop_operation_xyz",
    ]
    lines += [f"  {i} '{operation}'" for i, operation in enumerate(setting.operations, 1)]
    columns = ("label", "type_symbol", "symmetry_multiplicity", "fract_x", "fract_y", "fract_z", "occupancy")
    lines += ["loop_", *(f"  _atom_site_{column}" for column in columns)]
    for i, (site, multiplicity) in enumerate(zip(setting.sites, setting.multiplicity, strict=True), 1):
        element = structure[site].specie.symbol
        x, y, z = (f"{value:.{DECIMALS}f}" for value in np.round(structure.frac_coords[site], DECIMALS) % 1.0)
        lines.append(f"  {element}{i} {element} {multiplicity} {x} {y} {z} 1")
    return "\n".join(lines) + "\n"


def _xyz(rotation: Int[np.ndarray, "3 3"], translation: Float[np.ndarray, " 3"]) -> str:
    """Operation in the notation of CIF."""
    parts = []
    for row, step in zip(rotation, translation % 1.0, strict=True):
        text = "".join(
            f"{'-' if factor < 0 else '+'}{axis}" for factor, axis in zip(row, "xyz", strict=True) if factor != 0
        ).removeprefix("+")
        fraction = Fraction(float(step)).limit_denominator(DENOMINATOR) % 1
        parts.append(text + (f"+{fraction}" if fraction else ""))
    return ",".join(parts)


def _read_pymatgen(text: str) -> Structure:
    from pymatgen.io.cif import CifParser

    with warnings.catch_warnings():
        # Notes about rounding to special positions; what matters is compared below.
        warnings.simplefilter("ignore")
        # Its default moves fractions within 1e-4 of 1/3 or 2/3 onto them.
        parser = CifParser.from_str(text, occupancy_tolerance=1.0, frac_tolerance=0.0)
        return parser.parse_structures(primitive=False, check_occu=True)[0]


def _read_ase(text: str) -> Structure:
    from ase.io import read

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        atoms: Any = read(io.BytesIO(text.encode("ascii")), format="cif")
    return Structure(Lattice(atoms.cell.array), atoms.get_chemical_symbols(), atoms.get_scaled_positions())


def _compare(structure: Structure, back: Structure, prefix: str) -> None:
    """Raise unless ``back`` has the cell and, in any order, the sites of ``structure``."""
    if back.composition != structure.composition:
        raise ReconstructionError(
            f"{prefix} {back.composition.formula} in the cell instead of {structure.composition.formula}"
        )
    strain = np.abs(np.subtract(back.lattice.abc, structure.lattice.abc)).max()
    turn = np.abs(np.subtract(back.lattice.angles, structure.lattice.angles)).max()
    if strain > RELEASE_TOLERANCE or turn > RELEASE_TOLERANCE:
        raise ReconstructionError(f"{prefix} another cell: {back.lattice.parameters}")
    delta = structure.frac_coords[:, None, :] - back.frac_coords[None, :, :]
    distance = np.linalg.norm((delta - np.round(delta)) @ structure.lattice.matrix, axis=-1)
    numbers, others = (np.array([site.specie.Z for site in sites]) for sites in (structure, back))
    distance[numbers[:, None] != others[None, :]] = np.inf
    worst = float(distance.min(axis=1).max())
    if len(set(distance.argmin(axis=1))) != len(structure) or worst > RELEASE_TOLERANCE:
        raise ReconstructionError(f"{prefix} a site {worst:.2g} Å from where it was")


def releasable(structure: Structure) -> bool:
    """Whether no two sites are in one place; such a structure is no crystal, and no file of it is written."""
    return _nearest_distance(structure) >= MIN_DISTANCE


def _nearest_distance(structure: Structure) -> float:
    distances = structure.distance_matrix[np.triu_indices(len(structure), 1)]
    return float(min([*distances, *structure.lattice.abc[:2]]))


def _vacuum(structure: Structure) -> float:
    return float(structure.lattice.c - np.ptp(structure.cart_coords[:, 2]))


def _periodic(structure: Structure) -> Structure:
    """Make a slab periodic along c as well: what a CIF says and what the matcher compares."""
    return Structure(structure.lattice.matrix, structure.species, structure.frac_coords)


def _formula_sum(structure: Structure) -> str:
    amounts = structure.composition.get_el_amt_dict()
    return " ".join(f"{symbol}{round(amount)}" for symbol, amount in sorted(amounts.items()))


def _ascii(text: str) -> str:
    """CIF 1.1 is ASCII."""
    return text.replace("Å", "Angstrom").replace("°", " deg").replace("–", "-").encode("ascii", "replace").decode()
