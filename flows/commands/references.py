"""``automat references``: the elements' own energies, to which formation energies are referred."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer

from flows import arguments
from flows.commands.common import Json, one_line_errors, print_json, quiet_stdout

app = typer.Typer(help="Elemental references of formation energies.", no_args_is_help=True)


@app.command("build")
def build_references(
    potential: Annotated[str | None, typer.Option(help="Name of a potential, or path of a checkpoint.")] = None,
    elements: Annotated[str | None, typer.Option(help="Such as Mo,S; all that the potential knows by default.")] = None,
    device: Annotated[str, typer.Option(help="cpu, cuda, cuda:1 … or auto.")] = "cpu",
    out: Annotated[Path | None, typer.Option(help="Relax all anew and write them to a file in this folder.")] = None,
    as_json: Json = False,
) -> None:
    """Relax the ground state of each element, so that later runs find its energy in the cache.

    An interrupted run goes on where it stopped.
    """
    symbols = None if elements is None else arguments.symbols(elements)
    with one_line_errors(), quiet_stdout():
        from flows.terminal import watching
        from models.elements import all_elements, elemental_references, write_references
        from models.potentials import load_potential

        found = load_potential(potential, device)
        with watching() as watch:
            references = elemental_references(
                symbols or all_elements(found), found, shipped=out is None, progress=watch.count
            )
        path = write_references(found, references, out) if out else None
    if as_json:
        identity = {"potential": found.name, "scale": found.scale, "precision": found.precision, "device": found.device}
        print_json({**identity, **asdict(references), "path": path})
        return
    print(f"{found.name} ({found.checkpoint[:8]}, {found.scale}): {len(references.found)} references")
    for element, reason in references.missing.items():
        print(f"{element}: none; {reason}")
    if path:
        print(path)
