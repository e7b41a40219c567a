"""A template: one known monolayer and where it comes from."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from pymatgen.core import Structure

Progress = Callable[[str, int, int | None], None]
"""Called with a stage's name, how much is done, and the total when it is known."""


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
    source, version, licence, url
        Where the structure was published, in which release of it, and on which terms.
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
    version: str = ""
