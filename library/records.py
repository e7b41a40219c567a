"""A template: one known monolayer and where it comes from."""

from __future__ import annotations

from dataclasses import dataclass

from pymatgen.core import Structure


@dataclass(frozen=True, eq=False)
class Template:
    """One monolayer of a library.

    Attributes
    ----------
    id
        Unique within its library.
    structure
        Primitive slab in the convention of ``microscopy.slab``.
    formula
        Reduced formula.
    source, licence, url
        Where the structure was published and on which terms.
    prototype
        Structure type (``"1H"``, ``"1T"``…), empty when unknown.
    """

    id: str
    structure: Structure
    formula: str
    source: str
    licence: str = ""
    url: str = ""
    prototype: str = ""
