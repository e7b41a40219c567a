"""The ``automat`` command.

Exit codes: 0 every input was processed (accepted, ambiguous or rejected), 1 at least one failed, 2 wrong usage,
130 interrupted. Answers go to stdout, everything else to stderr.
"""

from __future__ import annotations

import dataclasses
import logging
import warnings
from collections.abc import Sequence
from functools import partial
from importlib.metadata import entry_points
from pathlib import Path
from typing import Annotated, Any, NoReturn

import typer

from flows import arguments, commands, secrets
from flows.commands.common import (
    Config,
    Dose,
    Elements,
    Exclude,
    Formula,
    Json,
    Libraries,
    ModalityName,
    NoRelax,
    Out,
    PixelSize,
    PlannerName,
    PotentialName,
    one_line_errors,
    print_json,
    quiet_stdout,
    settings_of,
)

DEMO = Path(__file__).parent.parent / "microscopy" / "data" / "demo.tif"
"""The bundled micrograph; its README says which command made it."""

DEMO_ELEMENTS = ("Se", "Sn")
"""What whoever put the specimen into the microscope would know."""

OUT = Path("runs")

app = typer.Typer(
    help="From a noisy STEM micrograph of a 2D material to its crystal structure, its energy and an honest confidence.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)
for name, group in commands.GROUPS.items():
    app.add_typer(group, name=name)


def main() -> NoReturn:
    """Entry point."""
    for command in entry_points(group="automat.commands"):
        app.add_typer(command.load(), name=command.name)
    app(prog_name="automat")
    raise SystemExit(0)


@app.callback(invoke_without_command=True)
def _root(
    version: Annotated[bool, typer.Option("--version", help="Print the version and stop.")] = False,
    verbose: Annotated[bool, typer.Option("--verbose", "-v", help="Log to stderr, with tracebacks.")] = False,
) -> None:
    if version:
        from importlib.metadata import version as installed

        print(f"automat {installed('automat-stem')}")
        raise typer.Exit
    with one_line_errors():
        secrets.from_files()
    logger = logging.getLogger("automat")
    logger.propagate = False
    logger.addHandler(logging.StreamHandler() if verbose else logging.NullHandler())
    logger.setLevel(logging.DEBUG if verbose else logging.CRITICAL)
    if not verbose:  # warnings of third-party packages are nothing that a user can act on
        warnings.simplefilter("ignore")


@app.command()
def demo(out: Out = OUT, as_json: Json = False) -> None:
    """Reconstruct the bundled micrograph: reconstruct microscopy/data/demo.tif --elements Sn,Se."""
    _reconstruct([DEMO], {"read": {"elements": DEMO_ELEMENTS}}, None, out, as_json)


@app.command()
def reconstruct(
    files: Annotated[list[Path], typer.Argument(help="Micrographs.")],
    pixel_size: PixelSize = None,
    elements: Elements = None,
    formula: Formula = None,
    dose: Dose = None,
    modality: ModalityName = None,
    library: Libraries = None,
    exclude: Exclude = None,
    potential: PotentialName = None,
    planner: PlannerName = None,
    no_relax: NoRelax = False,
    signal: Annotated[str | None, typer.Option(help="Name or index of the signal in a file with several.")] = None,
    frame: Annotated[str | None, typer.Option(help="Index of the image in a stack, or mean.")] = None,
    crop_scale_bar: Annotated[bool, typer.Option("--crop-scale-bar", help="Cut off a burnt-in scale bar.")] = False,
    config: Config = None,
    out: Out = OUT,
    as_json: Json = False,
) -> None:
    """Reconstruct the crystal in each micrograph."""
    overrides = arguments.overrides(
        pixel_size=pixel_size,
        elements=elements,
        formula=formula,
        dose=dose,
        modality=modality,
        library=library,
        exclude=exclude,
        potential=potential,
        planner=planner,
        no_relax=no_relax,
        signal=signal,
        frame=frame,
        crop_scale_bar=crop_scale_bar,
    )
    _reconstruct(files, overrides, config, out, as_json)


@app.command()
def inspect(
    files: Annotated[list[Path], typer.Argument(help="Micrographs.")],
    as_json: Json = False,
) -> None:
    """List the signals in each file: shape, calibration, range."""
    from flows.terminal import complain, show_inspection
    from microscopy.errors import AutoMatError
    from microscopy.inspection import inspect_file

    failed = False
    for path in files:
        try:
            with quiet_stdout():
                found = inspect_file(path)
        except AutoMatError as error:
            failed = True
            complain(str(error))
            if as_json:
                print_json({"path": str(path), "error": {"stage": error.stage, "message": str(error)}})
            continue
        if as_json:
            print_json({**dataclasses.asdict(found), "error": None})
        else:
            show_inspection(found)
    raise typer.Exit(int(failed))


@app.command()
def simulate(
    structure: Annotated[Path, typer.Argument(help="Structure file of a monolayer (CIF, POSCAR, …).")],
    output: Annotated[Path, typer.Option("--output", "-o", help="Image to write, .tif; the truth goes beside it.")],
    dose: Dose = None,
    modality: ModalityName = None,
    pixel_size: PixelSize = None,
    shape: Annotated[str, typer.Option(help="Rows,columns.")] = "512,512",
    rotation: Annotated[float, typer.Option(help="Degrees of in-plane rotation.")] = 0.0,
    artefact: Annotated[list[str] | None, typer.Option(help="NAME=VALUE, repeatable; 'list' names them.")] = None,
    seed: Annotated[int, typer.Option(help="Of the noise and the random artefacts.", min=0)] = 0,
) -> None:
    """Simulate a micrograph of a structure (multislice), with the truth beside it."""
    from microscopy.artefacts import ARTEFACTS
    from microscopy.optics import Optics
    from microscopy.simulation import SimulationOptions, simulate_to_file

    if artefact and "list" in artefact:
        for name, meaning in ARTEFACTS.items():
            print(f"{name:16} {meaning}")
        return
    kind = arguments.modality_of(modality)
    options = SimulationOptions(
        optics=Optics(modality=kind) if kind else Optics(),
        shape=arguments.shape(shape),
        pixel_size=arguments.pixel_size_of(pixel_size) or SimulationOptions.pixel_size,
        dose=dose,
        rotation=rotation,
        seed=seed,
        artefacts=dict(arguments.artefact(text) for text in artefact or ()),
    )
    with one_line_errors(), quiet_stdout():
        from flows.terminal import watching

        with watching() as watch:
            watch.say(f"imaging {structure.name}")
            image, truth = simulate_to_file(structure, options, output)
    print(image)
    print(truth)


def _reconstruct(
    files: Sequence[Path], overrides: dict[str, Any], config: Path | None, out: Path, as_json: bool
) -> NoReturn:
    """Run the flow on each file and exit."""
    from flows.private_server import OrchestrationError, orchestration
    from flows.terminal import complain, show_outcome, watching
    from microscopy.cache import cache_folder

    verbose = logging.getLogger("automat").isEnabledFor(logging.DEBUG)
    failed = False
    try:
        # The server starts while the science is imported.
        with orchestration(cache_folder(), verbose) as prefect, watching(len(files)) as watch:
            from flows.progress import listening
            from flows.reconstruct import reconstruct_file

            settings = settings_of(config, overrides)
            prefect.wait()
            for path in files:
                with listening(partial(watch.stage, path.name)), quiet_stdout():
                    outcome = reconstruct_file(path, settings, out)
                failed |= outcome.result.error is not None
                if as_json:
                    print_json(outcome.result.to_dict())
                    if outcome.result.error:
                        show_outcome(path, outcome)
                else:
                    show_outcome(path, outcome)
                watch.advance()
    except OrchestrationError as error:
        complain(str(error))
        raise typer.Exit(1) from None
    except KeyboardInterrupt:
        complain("interrupted")
        raise typer.Exit(130) from None
    raise typer.Exit(int(failed))


for function in commands.COMMANDS:  # after those of this module: in the order of --help
    app.command()(function)


if __name__ == "__main__":
    main()
