"""``automat library``: build and look into libraries of templates."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from flows import arguments
from flows.commands.common import Json, Libraries, one_line_errors, print_json, quiet_stdout

app = typer.Typer(help="Build and look into libraries of templates.", no_args_is_help=True)


@app.command("build")
def library_build(
    sources: Annotated[list[Path], typer.Argument(help="ASE databases, structure files, or folders of them.")],
    out: Annotated[Path, typer.Option("--out", help="Folder of the library.")],
    as_json: Json = False,
) -> None:
    """Build a library from published structures."""
    from flows.terminal import show_library, watching
    from library.build import build_library
    from library.store import Library

    with one_line_errors(), quiet_stdout(), watching() as watch:
        manifest = build_library(sources, out, progress=watch.count)
    if as_json:
        print_json(manifest)
    else:
        show_library(Library.open(out))


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


@app.command("search")
def library_search(
    query: Annotated[str, typer.Argument(help="A formula (MoS2), all elements (Mo,S) or a template id.")],
    library: Libraries = None,
    limit: Annotated[int, typer.Option(help="Templates shown at most.", min=1)] = 20,
    as_json: Json = False,
) -> None:
    """Find templates by formula, elements or id."""
    from flows.terminal import show_templates
    from library.store import open_libraries

    with one_line_errors():
        found = open_libraries(library or None)
        if query in found.ids:
            rows = [found.ids.index(query)]
        elif "," in query:
            rows = list(found.rows(elements=arguments.symbols(query)))
        else:
            rows = list(found.rows(formula=query))
    templates = [_template(found.template(int(row))) for row in rows[:limit]]
    if as_json:
        print_json({"query": query, "total": len(rows), "templates": templates})
    else:
        show_templates(templates, len(rows))


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
        "licence": template.licence,
    }
