"""The rotatable view: chemiscope's structure viewer, carried inside the report.

chemiscope (BSD-3-Clause) ships its browser code in its Python package. It travels compressed, and the
reader's browser unpacks it, so that nothing is fetched from anywhere.
"""

from __future__ import annotations

import base64
import gzip
import json
from collections.abc import Sequence
from functools import cache
from importlib.metadata import files
from importlib.resources import as_file
from importlib.resources import files as resources

import numpy as np
from pymatgen.core import Structure

from microscopy.errors import ReportError

_CODE = ("sphinx", "static", "chemiscope.min.js")
_HALF_TURN = np.array([1.0, -1.0, -1.0])
_NOTICES = ("static", "chemiscope-widget.mjs.LICENSE.txt")


@cache
def viewer_code() -> str:
    """Give chemiscope's browser code, gzip-compressed, base64.

    Raises
    ------
    ReportError
        If the installed chemiscope does not ship it.
    """
    return base64.b64encode(gzip.compress(_shipped(_CODE), mtime=0)).decode()


@cache
def viewer_licence() -> str:
    """Give the licence of chemiscope and the notices of what is compiled into it."""
    licences = [file for file in files("chemiscope") or [] if file.name == "LICENSE"]
    if not licences:
        raise ReportError("chemiscope's licence is not installed; reinstall chemiscope to write reports")
    return licences[0].read_text() + "\n\n" + _shipped(_NOTICES).decode()


def viewer_data(structures: Sequence[tuple[str, Structure]]) -> str:
    """Structures with their names, in chemiscope's input format, as JSON safe inside a script element."""
    frames = [_frame(structure) for _, structure in structures]
    settings = {
        "unitCell": True,
        "bonds": True,
        "spaceFilling": False,
        "atomLabels": False,
        "axes": "abc",
        "keepOrientation": True,
    }
    dataset = {
        "meta": {"name": "AutoMat"},
        "structures": frames,
        "properties": {"structure": {"target": "structure", "values": [name for name, _ in structures]}},
        "settings": {"target": "structure", "structure": [settings | {"supercell": {"0": 3, "1": 3, "2": 1}}]},
    }
    # "<" would let a name end the script element.
    return json.dumps(dataset, ensure_ascii=True, allow_nan=False).replace("<", "\\u003c")


def _frame(structure: Structure) -> dict[str, object]:
    # The viewer looks along -z with y up; half a turn about x shows the crystal as the image does.
    x, y, z = (structure.cart_coords * _HALF_TURN).T.tolist()
    return {
        "size": len(structure),
        "names": [site.specie.symbol for site in structure],
        "x": x,
        "y": y,
        "z": z,
        "cell": (structure.lattice.matrix * _HALF_TURN).ravel().tolist(),
    }


def _shipped(parts: tuple[str, ...]) -> bytes:
    try:
        with as_file(resources("chemiscope").joinpath(*parts)) as path:
            return path.read_bytes()
    except FileNotFoundError as error:
        raise ReportError(f"chemiscope does not ship {'/'.join(parts)}; install the pinned version") from error
