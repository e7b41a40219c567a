"""One page of a run in Markdown and in HTML: tables, curves, the worst cases with pictures, and how to repeat it."""

from __future__ import annotations

import base64
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader
from pymatgen.core.structure import Structure

from benchmarks import plots, tables
from benchmarks.attribution import MEANING, Cause
from benchmarks.cases import REGIMES
from benchmarks.evaluate import parsed, picture
from benchmarks.peer_tables import peers
from benchmarks.peers.stage import read_rows
from benchmarks.planner_table import FIRST, recovered
from benchmarks.results import Plan, energies, read_plan, records
from benchmarks.rows import Row, rows_of
from benchmarks.stem2crystal import tables as protocol_tables
from benchmarks.sweep import bench_of
from benchmarks.tables import Table
from microscopy.micrograph import Micrograph
from tasks.store import write_atomically

TEMPLATES = Path(__file__).parent / "templates"
WORST = 10


@dataclass(frozen=True)
class Section:
    """A part of the page: a heading, sentences, a table, a figure."""

    title: str
    text: str = ""
    table: Table | None = None
    figure: bytes | None = None
    name: str = ""
    """File name of the figure, without suffix."""


def write_report(folder: Path) -> Path:
    """Write ``report.md`` with its figures, and ``report.html``, which holds everything; returns the latter.

    Raises
    ------
    BenchmarkError
        If the folder holds no run.
    """
    plan = read_plan(folder)
    found = records(folder, plan)
    sections = [*_sections(plan, folder, found), *_pictures(plan, rows_of(found))]
    write_atomically(folder / "report.md", _markdown(plan, len(found), sections, folder).encode())
    page = folder / "report.html"
    write_atomically(page, _html(plan, len(found), sections).encode())
    return page


def sections_of(folder: Path) -> Iterator[Section]:
    """Parts of a run's page, each made when it is asked for; without the worst cases, whose pictures take time.

    Raises
    ------
    BenchmarkError
        If the folder holds no run.
    """
    plan = read_plan(folder)
    yield from _sections(plan, folder, records(folder, plan))


def _sections(plan: Plan, folder: Path, found: Sequence[dict[str, Any]]) -> Iterator[Section]:
    rows = rows_of(found)
    plain = [row for row in rows if row.variant == "default"]
    if rows:
        yield from _accuracy(plan, folder, plain)
        yield from _special(plan, folder, rows, plain)
        yield Section("", table=tables.cost(rows), figure=plots.seconds_by_stage(plain), name="seconds")
        lost = tables.failures(rows)
        if lost:
            yield Section("", table=lost)
    yield from _peers(plan, folder)


def _peers(plan: Plan, folder: Path) -> Iterator[Section]:
    for table in peers(read_rows(folder, plan)):
        yield Section("", table=table)


def _accuracy(plan: Plan, folder: Path, rows: Sequence[Row]) -> Iterator[Section]:
    floors = energies(folder, plan)
    lines = tables.energy_errors(rows, floors)
    asked = sum("energy" in row.answer for row in rows)
    energy, figures = tables.energy(lines, asked) if lines else (None, None)
    regimes = "\n".join(
        f"- {name}: {regime.meaning}" for name, regime in REGIMES.items() if any(r.regime == name for r in rows)
    )
    numbered = [row for row in rows if row.regime in ("I", "II", "III", "IV")]
    clean = [
        row for row in numbered if not row.case.artefacts and not row.case.field_cells and not row.case.displacement
    ]
    if clean:
        yield Section("", f"Regimes:\n\n{regimes}", tables.beside_the_paper(clean, figures))
        by_dose = sorted(clean, key=lambda row: (row.regime, row.case.dose or 0.0))
        by = tables.accuracy("By regime and dose", by_dose, ("regime", "dose, e/Å²"), lambda r: (r.regime, r.case.dose))
        several = len({row.case.dose for row in clean}) > 1
        yield Section("", table=by, figure=plots.success_by_dose(clean) if several else None, name="dose")
        by_tier = sorted(clean, key=lambda row: (row.regime, row.tier))
        by = tables.accuracy("By regime and tier", by_tier, ("regime", "tier"), lambda r: (r.regime, r.tier))
        yield Section("", table=by)
        yield Section("", table=tables.attribution(clean))
        yield Section(
            "Confidence",
            "Share of answers that are right against what the product said.",
            figure=plots.reliability_curves(clean),
            name="reliability",
        )
    if energy is not None:
        yield Section("", table=energy, figure=plots.energies(lines), name="energies")


def _special(plan: Plan, folder: Path, rows: Sequence[Row], plain: Sequence[Row]) -> Iterator[Section]:
    if any(row.case.artefacts or row.case.field_cells for row in plain):
        yield Section("", table=tables.artefacts([row for row in plain if row.regime == "I"]))
    if any(row.case.displacement for row in plain):
        yield Section("", table=tables.precision(plain), figure=plots.position_errors(plain), name="positions")
    protocol = [row for row in plain if row.case.export]
    if protocol:
        yield Section("", table=protocol_tables.figures(protocol))
        yield Section("", table=protocol_tables.failure_modes(protocol))
    if any(row.variant == f"planner {FIRST}" for row in rows):
        yield Section("", table=recovered([row for row in rows if row.variant.startswith("planner ")]))
    elif any(row.variant != "default" for row in rows):
        yield Section(
            "",
            table=tables.accuracy(
                "Ablation", rows, ("dose, e/Å²", "regime", "variant"), lambda r: (r.case.dose, r.regime, r.variant)
            ),
        )


def _pictures(plan: Plan, rows: Sequence[Row]) -> Iterator[Section]:
    """The most confident wrong answers, then the least precise right ones."""
    rows = [row for row in rows if row.variant == "default"]
    wrong = sorted((r for r in rows if not r.success), key=lambda r: (not r.accepted, -r.confidence))
    right = sorted((r for r in rows if r.success), key=lambda r: -(r.rmsd or 0.0))
    for number, row in enumerate((*wrong, *right)[:WORST], 1):
        answer = parsed(row.answer["cif"]) if row.answer.get("cif") else None
        if row.success:
            reason = f"right, but {row.rmsd:.4f} Å off"
        else:
            reason = f"{row.cause}: {MEANING[Cause(row.cause)]}"
        title = f"Worst {number}: {row.case.material}, {row.formula}, regime {row.regime}, {row.case.condition}"
        text = f"{reason}. {row.answer.get('status', 'failed')}, confidence {row.confidence:.0%}. {row.error}".strip()
        yield Section(title, text, figure=_picture(plan, row, answer), name=f"worst-{number}")


def _picture(plan: Plan, row: Row, answer: Structure | None) -> bytes | None:
    material = plan.materials[row.case.material]
    try:
        seen: Micrograph = picture(row.case, material, bench_of(plan).cells).micrograph
    except Exception:  # the image itself could not be made, which the section's text says
        return None
    assert seen.pixel_size is not None
    return plots.case_picture(seen.image, seen.pixel_size[0], material.structure, answer)


def _facts(plan: Plan, measured: int) -> Table:
    facts = plan.facts
    refused = f"{len(facts['refused'])} refused" if facts["refused"] else "none refused"
    cells = (
        ("suite", plan.suite),
        (
            "materials",
            f"{len(plan.materials)} of {facts['available']} from {facts['source']} ({refused}), seed {plan.seed}",
        ),
        ("images", f"{measured} of {len(plan.cases)} measured"),
        ("command", f"`{facts['command']}`"),
        ("code and library", f"{facts['identity']}; library {', '.join(d[:12] for d in facts['library'])}"),
        ("versions", ", ".join(f"{name} {version}" for name, version in facts["versions"].items())),
        ("machine", facts["machine"]),
    )
    return Table("How this was made", ("", ""), cells)


def _markdown(plan: Plan, measured: int, sections: Sequence[Section], folder: Path) -> str:
    lines = [f"# Benchmark {plan.suite}", ""]
    for section in (*sections, Section("", table=_facts(plan, measured))):
        title = section.title or (section.table.title if section.table else "")
        lines += [f"## {title}", ""]
        if section.text:
            lines += [section.text, ""]
        if section.table:
            lines += [section.table.markdown(), ""]
            if section.table.note:
                lines += [section.table.note, ""]
        if section.figure:
            name = f"figures/{section.name}.png"
            write_atomically(folder / name, section.figure)
            lines += [f"![{title}]({name})", ""]
    return "\n".join(lines)


def _html(plan: Plan, measured: int, sections: Sequence[Section]) -> str:
    environment = Environment(loader=FileSystemLoader(TEMPLATES), autoescape=True, trim_blocks=True, lstrip_blocks=True)
    environment.filters["base64"] = lambda data: base64.b64encode(data).decode()
    return environment.get_template("report.html.j2").render(
        plan=plan, sections=[*sections, Section("", table=_facts(plan, measured))]
    )
