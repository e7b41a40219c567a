"""``report.html``: one file that opens offline and shows the evidence.

Every number comes from the ``Result``, so the page cannot disagree with ``result.json``.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from functools import cache
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined, select_autoescape
from markupsafe import Markup, escape
from pymatgen.core import Structure

from microscopy.micrograph import Micrograph
from models.records import Denoised, Relaxation
from planning.records import Branch
from reconstruction.records import Candidate, Reconstruction
from reporting import words
from reporting.figures import cell_pngs, micrograph_png, projections_png
from reporting.result import Result
from reporting.thumbnail import data_uri
from reporting.viewer import viewer_code, viewer_data, viewer_licence

MAX_METADATA = 20_000
"""Characters of the reader's metadata shown; some files carry megabytes."""


def render_report(
    result: Result,
    *,
    micrograph: Micrograph | None = None,
    denoised: Denoised | None = None,
    reconstruction: Reconstruction | None = None,
    alternatives: Sequence[Candidate] = (),
    relaxation: Relaxation | None = None,
    overlay: bytes | None = None,
) -> str:
    """Write the report of one run.

    Parameters
    ----------
    result
        The numbers.
    micrograph, denoised, reconstruction, alternatives, relaxation
        The records they came from, for the pictures; None where the run did not get so far.
    overlay
        PNG of :func:`reporting.overlay.overlay_png`.

    Returns
    -------
    str
        HTML that loads nothing from the network.

    Raises
    ------
    ReportError
        If the viewer is not installed.
    """
    pictures: dict[str, Any] = {
        "image": data_uri(micrograph_png(micrograph.image, micrograph.pixel_size)) if micrograph else None,
        "denoised": data_uri(micrograph_png(denoised.image, micrograph.pixel_size))
        if micrograph and denoised
        else None,
        "spread": data_uri(micrograph_png(denoised.uncertainty, micrograph.pixel_size))
        if micrograph and denoised and denoised.uncertainty is not None
        else None,
        "overlay": data_uri(overlay) if overlay else None,
        "cell": [data_uri(png) for png in cell_pngs(reconstruction)] if reconstruction else None,
        "projections": data_uri(projections_png(reconstruction.structure)) if reconstruction else None,
    }
    structures = _structures(reconstruction, alternatives, relaxation)
    metadata = json.dumps(dict(micrograph.metadata), indent=1, default=str, ensure_ascii=False) if micrograph else ""
    return _template().render(
        result=result,
        sentence=_sentence(result),
        pictures=pictures,
        sites=_sites(reconstruction) if reconstruction else [],
        structures=structures,
        viewer=viewer_code() if structures else None,
        viewer_data=Markup(viewer_data(structures)) if structures else None,
        licence=viewer_licence() if structures else None,
        metadata=metadata[:MAX_METADATA],
        metadata_cut=len(metadata) > MAX_METADATA,
        title=words.title(result),
        total=sum(result.timings_s.values()),
    )


def _structures(
    found: Reconstruction | None, alternatives: Sequence[Candidate], relaxation: Relaxation | None
) -> list[tuple[str, Structure]]:
    """Structures of the viewer with their names, best first."""
    shown = []
    if found:
        shown.append(("as found in the image", found.symmetrised))
    if relaxation:
        shown.append(("relaxed", relaxation.structure))
    for number, each in enumerate(alternatives, start=1):
        name = words.formula(each.structure.composition.reduced_formula)
        shown.append((f"alternative {number}: {name} ({words.percent(each.probability)})", each.structure))
    return shown


def _sites(found: Reconstruction) -> list[dict[str, Any]]:
    """One row per atom: fractional position in the plane, height over the middle of the layer, error."""
    structure = found.structure
    middle = (structure.cart_coords[:, 2].min() + structure.cart_coords[:, 2].max()) / 2
    return [
        {
            "element": site.specie.symbol,
            "u": float(site.frac_coords[0] % 1.0),
            "v": float(site.frac_coords[1] % 1.0),
            "z": float(site.coords[2] - middle),
            "error": float(error),
        }
        for site, error in zip(structure, found.position_errors, strict=True)
    ]


def _data(value: float | None, field: str, text: str | None = None) -> Markup:
    """Show a number of the result with its exact value, which programs and tests can read back."""
    if value is None:
        return Markup("–")
    exact = repr(float(value))
    return Markup('<data data-field="{}" value="{}">{}</data>').format(field, exact, text or words.number(value))


def _layer_group(symbol: str) -> Markup:
    """Typeset a Hermann-Mauguin symbol: a minus becomes a bar over the digit that follows."""
    head, *tail = symbol.split("-")
    barred = [Markup('<span class="bar">{}</span>{}').format(part[:1], part[1:]) for part in tail]
    return escape(head) + Markup("").join(barred)


def _sentence(result: Result) -> Markup:
    """Typeset the layer group within the verdict."""
    sentence = escape(words.verdict_sentence(result))
    symbol = result.structure.layer_group_symbol if result.structure else ""
    return Markup(str(sentence).replace(str(escape(symbol)), str(_layer_group(symbol)), 1)) if symbol else sentence


def _branch(name: str) -> str:
    return words.BRANCHES.get(Branch(name), name) if name in set(Branch) else name


@cache
def _template() -> Any:
    environment = Environment(
        loader=PackageLoader("reporting"),
        autoescape=select_autoescape(default=True),
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {
        "formula": words.formula,
        "percent": words.percent,
        "number": words.number,
        "measured": words.measured,
        "layer_group": _layer_group,
        "branch": _branch,
        "alike": words.alike,
        "attempt": words.attempt,
        "chooser": lambda name: words.CHOOSERS.get(name, name),
        "origin": lambda name: words.ORIGINS.get(name, name),
        "data": _data,
        "defects": words.defects,
    }
    return environment.get_template("report.html.j2")
