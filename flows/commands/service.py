"""``automat serve``, ``deploy`` and ``worker``: the parts of a lab's installation, each a process of its own."""

from __future__ import annotations

import os
import socket
from pathlib import Path
from typing import Annotated

import typer

from flows import arguments
from flows.commands.common import connected, logging_to_stderr, one_line_errors
from flows.topology import ROLES, places

Port = Annotated[int, typer.Option(help="Port of the Prefect server and its UI.", min=1, max=65535)]


def serve(
    host: Annotated[str, typer.Option(help="Address to listen on; 0.0.0.0 for all.")] = "127.0.0.1",
    port: Port = 4200,
    database: Annotated[
        str | None, typer.Option(help="File of an SQLite database, or a URL without a password.")
    ] = None,
    auth_file: Annotated[Path | None, typer.Option(help="File with user:password; clients then need it too.")] = None,
) -> None:
    """Run the Prefect server: runs, schedules and the UI.

    For PostgreSQL, whose URL holds a password, name a file with it in PREFECT_SERVER_DATABASE_CONNECTION_URL_FILE.
    """
    with one_line_errors():
        from flows import lab_server as server
        from flows import secrets

        if database and "@" in database and ":" in database.split("@")[0].split("://")[-1]:
            arguments.usage(
                f"--database: a password on the command line is seen by everybody; write the URL into a file and "
                f"name that in {server.DATABASE}_FILE"
            )
        if auth_file is not None:
            os.environ[server.AUTH] = secrets.read(auth_file, "--auth-file")
        os.environ.update(server.environment(database))
        server.home().mkdir(parents=True, exist_ok=True)
        server.check_address(host, port)
        typer.echo(f"Prefect's UI: {server.api_url(host, port).removesuffix('/api')}   (Ctrl-C stops it)", err=True)
        server.run(host, port)


def deploy(
    gpus: Annotated[
        int | None, typer.Option(help="Denoising and relaxation runs at a time; at first 1, then as it was.", min=1)
    ] = None,
) -> None:
    """Tell the Prefect server about work pools, limits, deployments and crashed runs. May be repeated."""
    with one_line_errors(), connected():
        from flows.deploy import deploy as create

        for line in create(gpus):
            typer.echo(line)


def worker(
    roles: Annotated[list[str], typer.Argument(help=f"What it does: {', '.join(ROLES)}.")],
    limit: Annotated[int, typer.Option(help="Runs at a time, each in a process of its own.", min=1)] = 1,
    remote: Annotated[
        str | None, typer.Option(help="flow: steps that other workers do, such as denoise,retrieve,relax.")
    ] = None,
    name: Annotated[str | None, typer.Option(help="Name in the Prefect UI; the machine's by default.")] = None,
) -> None:
    """Take runs from the Prefect server until interrupted, whatever happens to the server meanwhile."""
    try:
        pools = places(roles)
    except KeyError as error:
        arguments.usage(f"no worker does {error.args[0]!r}; choose from {', '.join(ROLES)}")
    with one_line_errors(), connected(wait=False):
        if remote is not None:
            os.environ["AUTOMAT_REMOTE"] = remote
        from flows.placement import remote_steps
        from flows.worker import serve as work

        remote_steps()
        logging_to_stderr()
        work([(pool, queues, limit) for pool, queues in pools.items()], name or f"{socket.gethostname()}-{os.getpid()}")
