"""``automat library``: build, extend, check and look into libraries of templates."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from flows import arguments
from flows.commands.common import (
    Elements,
    Formula,
    Json,
    Libraries,
    ModalityName,
    PixelSize,
    RunnerName,
    Scheduler,
    WorkerCount,
    one_line_errors,
    print_json,
    quiet_stdout,
)
from flows.commands.prototypes import generate

if TYPE_CHECKING:
    from library.store import Library
    from microscopy.readers import ReadOptions

app = typer.Typer(help="Build and look into libraries of templates.", no_args_is_help=True)
app.command("generate")(generate)

Sources = Annotated[
    list[str], typer.Argument(help="Databases, structure files, folders of them, or optimade:… (docs/sources.md).")
]


@app.command("build")
def library_build(
    sources: Sources,
    out: Annotated[Path, typer.Option("--out", help="Folder of the library.")],
    workers: WorkerCount = 1,
    runner: RunnerName = "process",
    scheduler: Scheduler = None,
    as_json: Json = False,
) -> None:
    """Build a library from published structures; run again after an interruption, it goes on."""
    from flows import cluster
    from flows.terminal import show_library, watching
    from library.build import build_library
    from library.store import Library

    arguments.runner(runner)
    with one_line_errors(), quiet_stdout(), watching() as watch:
        team = cluster.workers(workers, runner, scheduler)
        manifest = build_library(sources, out, workers=team, progress=watch.count)
    if as_json:
        print_json(manifest)
    else:
        show_library(Library.open(out))


@app.command("add")
def library_add(
    sources: Sources,
    library: Annotated[Path, typer.Option("--library", help="Folder of the library that grows.")],
    workers: WorkerCount = 1,
    runner: RunnerName = "process",
    scheduler: Scheduler = None,
    as_json: Json = False,
) -> None:
    """Add published structures to a library; run again after an interruption, it goes on."""
    from flows import cluster
    from flows.terminal import show_addition, watching
    from library.build import add_to_library

    arguments.runner(runner)
    with one_line_errors(), quiet_stdout(), watching() as watch:
        team = cluster.workers(workers, runner, scheduler)
        addition = add_to_library(sources, library, workers=team, progress=watch.count)
    if as_json:
        print_json(addition)
    else:
        show_addition(addition)


@app.command("info")
def library_info(
    folders: Annotated[list[Path] | None, typer.Argument(help="Library folders; the embedded one by default.")] = None,
    as_json: Json = False,
) -> None:
    """Say what a library holds."""
    from flows.terminal import show_library
    from library.store import open_libraries

    with one_line_errors():
        found = open_libraries(folders or None)
    if as_json:
        print_json({"count": len(found), "digest": found.digest, "manifest": found.manifest})
    else:
        show_library(found)


@app.command("verify")
def library_verify(
    folder: Annotated[Path, typer.Argument(help="Folder of a library.")],
    as_json: Json = False,
) -> None:
    """Read every byte of a library; exit code 1 if any is not what was written."""
    from library.folder import content_digest, verify

    with one_line_errors():
        manifest = verify(folder)
    if as_json:
        print_json({"count": manifest["count"], "digest": content_digest(manifest)})
    else:
        print(f"{folder}: {manifest['count']} templates, as they were written")


@app.command("search")
def library_search(
    query: Annotated[
        str,
        typer.Argument(help="A formula (MoS2), all elements (Mo,S), a stoichiometry (AB2), an id, or a micrograph."),
    ],
    library: Libraries = None,
    limit: Annotated[int, typer.Option(help="Templates shown at most.", min=1)] = 20,
    pixel_size: PixelSize = None,
    elements: Elements = None,
    formula: Formula = None,
    modality: ModalityName = None,
    as_json: Json = False,
) -> None:
    """Find templates by what they are made of, by id, or by an image of them."""
    from flows.terminal import show_templates
    from library.store import open_libraries
    from microscopy.readers import ReadOptions

    symbols, reduced = arguments.composition(elements, formula)
    size, kind = arguments.pixel_size_of(pixel_size), arguments.modality_of(modality)
    with one_line_errors(), quiet_stdout():
        found = open_libraries(library or None)
        if Path(query).is_file():
            options = ReadOptions(pixel_size=size, modality=kind, elements=symbols, formula=reduced)
            templates = _explaining(Path(query), found, options)
            total, templates = len(templates), templates[:limit]
        else:
            rows = _named(found, query)
            total, templates = len(rows), [_template(found.template(int(row))) for row in rows[:limit]]
    if as_json:
        print_json({"query": query, "total": total, "templates": templates})
    else:
        show_templates(templates, total)


def _named(library: Library, query: str) -> list[int]:
    """Rows that a query on the command line names."""
    rows = library.rows(name=query)
    if not len(rows) and "," in query:
        return list(library.rows(elements=arguments.symbols(query)))
    if not len(rows):
        rows = library.rows(stoichiometry=query)
    return list(rows) if len(rows) else list(library.rows(formula=query))


def _explaining(image: Path, library: Library, options: ReadOptions) -> list[dict[str, Any]]:
    """The templates that explain a micrograph best, with their probabilities beside one another."""
    from microscopy.readers import read_micrograph
    from reconstruction.retrieval import retrieve

    found = retrieve(read_micrograph(image, options), library).items
    templates = [library.template(int(library.rows(name=candidate.template)[0])) for candidate in found]
    return [
        {**_template(template), "probability": candidate.probability, "likeness": candidate.score}
        for template, candidate in zip(templates, found, strict=True)
    ]


def _template(template: Any) -> dict[str, Any]:
    lattice = template.structure.lattice
    return {
        "id": template.id,
        "formula": template.formula,
        "a": lattice.a,
        "b": lattice.b,
        "gamma": lattice.gamma,
        "natoms": len(template.structure),
        "prototype": template.prototype,
        "source": template.source,
        "version": template.version,
        "licence": template.licence,
    }
