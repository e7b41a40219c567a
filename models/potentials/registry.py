"""The potentials known by name: whose weights they are, where those are published, what their energies mean."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from ase.data import chemical_symbols

MP_ELEMENTS = frozenset(chemical_symbols[z] for z in range(1, 95) if not 84 <= z <= 88)
"""The 89 elements of the Materials Project's relaxations, on which all three families were trained."""

Family = Literal["sevennet", "mattersim", "chgnet"]

PBE = "PBE"
"""Total energies as VASP gives them with the Materials Project's settings (+U included where it applies a U)."""

MP2020 = "PBE, MP2020-corrected"
"""The same, with the fitted corrections of Wang et al., Sci. Rep. 11, 15496 (2021) added: up to 0.7 eV per anion."""

UNVERIFIED = "PBE (as published, not verified here)"
UNKNOWN = "unknown"

_MATTERSIM = "https://raw.githubusercontent.com/microsoft/mattersim/5cc5ea92534d7141939225a84fd098ee56083458"


@dataclass(frozen=True)
class Known:
    """A published potential.

    Attributes
    ----------
    name, aliases
        Canonical name, and other names that users type, all in lower case.
    family
        The code that reads it.
    file
        Path of its weights within the family's folder.
    scale
        The level of theory of its energies.
    url, git_blob
        Where its weights are published when they are in no wheel, and git's name of their content
        (`models.potentials.weights.git_blob`): MatterSim publishes no other checksum.
    """

    name: str
    family: Family
    file: str
    scale: str
    aliases: tuple[str, ...] = ()
    url: str = ""
    git_blob: str = ""


KNOWN = (
    Known("sevennet-0", "sevennet", "SevenNet_0__11Jul2024/checkpoint_sevennet_0.pth", PBE, ("sevennet", "7net-0")),
    Known("sevennet-l3i5", "sevennet", "SevenNet_l3i5/checkpoint_l3i5.pth", PBE, ("7net-l3i5",)),
    Known(
        *("mattersim-v1.0.0-1m", "mattersim", "mattersim-v1.0.0-1M.pth", UNVERIFIED, ("mattersim-1m",)),
        url=f"{_MATTERSIM}/pretrained_models/mattersim-v1.0.0-1M.pth",
        git_blob="812737ca1933fb8860195a5376986fb82f697212",
    ),
    Known(
        *("mattersim-v1.0.0-5m", "mattersim", "mattersim-v1.0.0-5M.pth", UNVERIFIED, ("mattersim-5m",)),
        url=f"{_MATTERSIM}/pretrained_models/mattersim-v1.0.0-5M.pth",
        git_blob="7641430c8b1a4877eaed73c11920c6ad7f3846d6",
    ),
    Known("chgnet-0.3.0", "chgnet", "0.3.0/chgnet_0.3.0_e29f68s314m37.pth.tar", MP2020, ("chgnet",)),
)


def find(name: str) -> Known | None:
    """Look up a name or an alias; upper and lower case are the same."""
    key = name.strip().lower()
    return next((known for known in KNOWN if key in (known.name, *known.aliases)), None)


def published(name: str) -> Known:
    """Take a potential by its canonical name; `KeyError` if there is none."""
    return {known.name: known for known in KNOWN}[name]


def by_content(git_blob: str) -> Known | None:
    """Recognise published weights by git's name of their content."""
    return next((known for known in KNOWN if known.git_blob == git_blob), None)


def potential_names() -> tuple[str, ...]:
    """Names that `models.potentials.load_potential` understands, besides a path or a URL."""
    return tuple(known.name for known in KNOWN)
