"""``automat prune``: room on the disk."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

from flows import arguments
from flows.commands.common import Json, one_line_errors, print_json

if TYPE_CHECKING:
    from tasks.upkeep import Amount, Pruned


def prune(
    older_than: Annotated[str | None, typer.Option(help="Remove what nobody has used for so long, as 30d.")] = None,
    keep: Annotated[str | None, typer.Option(help="Remove the least recently used beyond so much, as 20GB.")] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only say what would be removed.")] = False,
    as_json: Json = False,
) -> None:
    """Remove from the cache what can be computed again and nobody has used for long.

    Weights, libraries, results and ledgers stay, and so does what was used within a day. Safe while runs go on.
    """
    from tasks.upkeep import DAY
    from tasks.upkeep import prune as remove

    if older_than is None and keep is None:
        arguments.usage("prune: say what may go: --older-than 30d, --keep 20GB or both")
    age = None if older_than is None else arguments.seconds(older_than, "--older-than")
    if age is not None and age < DAY:
        arguments.usage("--older-than: what was used within a day always stays; give 1d or more")
    limit = None if keep is None else arguments.size(keep, "--keep")
    with one_line_errors():
        done = remove(age, limit, dry_run=dry_run)
    if as_json:
        print_json(_document(done, dry_run))
    else:
        _show(done, limit, dry_run)
    if done.troubles:
        raise typer.Exit(1)


def _document(done: Pruned, dry_run: bool) -> dict[str, Any]:
    from dataclasses import asdict

    return {**asdict(done), "freed": done.freed, "dry_run": dry_run}


def _show(done: Pruned, limit: int | None, dry_run: bool) -> None:
    from flows.terminal import complain
    from microscopy.cache import cache_folder

    width = max((len(kind) for kind in done.removed), default=0)
    for kind, amount in done.removed.items():
        typer.echo(f"{kind:{width}}  {_told(amount)}")
    verb = "would be freed" if dry_run else "freed"
    typer.echo(f"{_bytes(done.freed)} {verb} in {cache_folder()}; {_told(done.kept)} left")
    if limit is not None and done.kept.bytes > limit and done.young.bytes:
        typer.echo(f"{_bytes(done.young.bytes)} of it were used within a day, and stay", err=True)
    for trouble in done.troubles:
        complain(trouble)


def _told(amount: Amount) -> str:
    return f"{amount.files} file{'' if amount.files == 1 else 's'}, {_bytes(amount.bytes)}"


def _bytes(size: int) -> str:
    from pydantic import ByteSize

    return ByteSize(size).human_readable(decimal=True, separator=" ")
