"""``automat train``: train what AutoMat predicts with."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

from flows import arguments
from flows.commands.common import Json, Libraries, one_line_errors, print_json, quiet_stdout

app = typer.Typer(help="Train what AutoMat predicts with.", no_args_is_help=True)


@app.callback()
def _train() -> None:
    """Keep ``denoiser`` a command of its own while it is the only one."""


@app.command("denoiser")
def train_denoiser(
    out: Annotated[Path, typer.Option("--out", help="Banks of crystals, checkpoints, logs and weights.")],
    library: Libraries = None,
    hold_out: Annotated[Path | None, typer.Option(help="File of ids or formulas that training must not see.")] = None,
    recipe: Annotated[str, typer.Option(help="small: two cores, two hours; full: an accelerator.")] = "small",
    banks_only: Annotated[bool, typer.Option("--banks-only", help="Write the crystals, train elsewhere.")] = False,
    as_json: Json = False,
) -> None:
    """Train the mixture of denoising experts; started again, it goes on where it stopped."""
    from flows.train import NAMES, read_names, train_denoiser

    if recipe not in NAMES:
        arguments.usage(f"--recipe {recipe!r}: choose one of {', '.join(NAMES)}")
    try:
        hidden = read_names(hold_out) if hold_out else ()
    except OSError as error:
        arguments.usage(f"--hold-out {hold_out}: {error.strerror}")
    with one_line_errors(), quiet_stdout():
        answer = train_denoiser(library or (), hidden, recipe, out, banks_only, progress=sys.stderr.isatty())
    if as_json:
        print_json(answer)
        return
    print(f"materials  {', '.join(f'{count} {use}' for use, count in answer['materials'].items())}")
    print(f"weights    {answer.get('weights', 'not trained: --banks-only')}")
    for name, value in answer.get("reached", {}).items():
        print(f"{name:28} {value:.2f}")
