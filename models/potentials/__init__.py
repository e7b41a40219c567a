"""Interatomic potentials behind one seam: a name goes in, an ASE calculator comes out.

Three families are spoken: SevenNet (Park et al., J. Chem. Theory Comput. 20, 4857 (2024)) and CHGNet (Deng et al.,
Nat. Mach. Intell. 5, 1031 (2023)), whose weights ship inside their wheels, and MatterSim (Yang et al.,
arXiv:2405.04967), whose weights are fetched once. A run downloads nothing: it uses what is on the machine.

``registry``                       what is known by name
``loading``                        from a name, path or URL to a `Potential`
``potential``                      the record, and its evaluation
``sevennet, mattersim, chgnet``    one family each: where its weights are, how its calculator is built
``weights``                        files on this machine, and how they come here
``download``                       the HTTP of it
"""

from __future__ import annotations

from models.potentials.loading import DEFAULT_EMBEDDED, inventory, load_potential
from models.potentials.mattersim import CHECKPOINT_VARIABLE
from models.potentials.potential import Potential
from models.potentials.registry import MP_ELEMENTS, potential_names
from models.potentials.weights import fetch

__all__ = [
    "CHECKPOINT_VARIABLE",
    "DEFAULT_EMBEDDED",
    "MP_ELEMENTS",
    "Potential",
    "fetch",
    "inventory",
    "load_potential",
    "potential_names",
]
