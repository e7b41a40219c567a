"""Peers, each in an environment of its own: made once, asked about a folder of images, answers read back.

Nothing here raises for what a peer does: an environment that cannot be made, a crash and a timeout are results with one
line of reason, and a benchmark goes on.
"""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

import numpy as np

from microscopy.cache import cache_folder
from microscopy.files import replacing
from tasks.store import write_atomically

Kind = Literal["columns", "denoise"]

KEYS: Mapping[Kind, str] = {"columns": "columns", "denoise": "image"}
"""What the answer of each kind is called in its file."""

HERE = Path(__file__).parent
WORKER = HERE / "worker.py"

INSTALL_TIMEOUT = 1800
"""Seconds that making an environment may take: hundreds of megabytes over a slow line."""

VERSIONS = "versions.json"

_THREADS = (
    "OMP_NUM_THREADS",
    "MKL_NUM_THREADS",
    "OPENBLAS_NUM_THREADS",
    "NUMBA_NUM_THREADS",
    "TF_NUM_INTRAOP_THREADS",
    "TF_NUM_INTEROP_THREADS",
)


@dataclass(frozen=True)
class Peer:
    """Somebody else's tool.

    Attributes
    ----------
    name
        As in tables.
    kind
        What it answers: positions of columns, or a denoised image.
    requirements
        Pinned packages, ``name==version`` a line; the first is the tool itself.
    script
        Defines ``answer(query)``; see ``worker.py``.
    """

    name: str
    kind: Kind
    requirements: Path
    script: Path

    @property
    def environment_digest(self) -> str:
        """Hash of what its environment holds."""
        state = hashlib.sha256(f"{sys.version_info[:2]}".encode())
        state.update(self.requirements.read_bytes())
        return state.hexdigest()[:12]

    @property
    def digest(self) -> str:
        """Hash of everything that shapes its answers."""
        state = hashlib.sha256(self.environment_digest.encode())
        for path in (self.script, WORKER):
            state.update(path.read_bytes())
        return state.hexdigest()[:12]


PEERS: tuple[Peer, ...] = (
    Peer("Atomap", "columns", HERE / "atomap.txt", HERE / "atomap.py"),
    Peer("trackpy", "columns", HERE / "trackpy.txt", HERE / "trackpy.py"),
    Peer("tk_r_em", "denoise", HERE / "tk_r_em.txt", HERE / "tk_r_em.py"),
    Peer("BM3D", "denoise", HERE / "bm3d.txt", HERE / "bm3d.py"),
)


@dataclass(frozen=True)
class Environment:
    """Where a peer runs.

    Attributes
    ----------
    python
        Its interpreter, or None when there is no environment.
    problem
        Why there is none, one line; empty when there is one.
    versions
        Of the installed packages, by name.
    """

    python: Path | None
    problem: str = ""
    versions: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, eq=False)
class Answer:
    """What a competitor said of one image.

    Attributes
    ----------
    values
        Columns (M, 2) as (x, y) in Å from the centre of the first pixel, or the denoised image (H, W); None without
        an answer.
    seconds
        For this image alone.
    problem
        Why there is no answer, one line; empty when there is one.
    """

    values: np.ndarray | None
    seconds: float | None = None
    problem: str = ""


def peers_folder() -> Path:
    """Folder of the environments."""
    return cache_folder() / "bench" / "peers"


def prepare(peer: Peer, folder: Path) -> Environment:
    """Make a peer's environment below a folder unless it is there already.

    It is made aside and renamed when complete, so that one that exists is whole; when two processes make the same
    one, the first wins.
    """
    home = folder / f"{peer.name}-{peer.environment_digest}"
    if not (home / VERSIONS).is_file():
        try:
            problem = _make(peer, home)
        except OSError as error:
            problem = f"not run: {error.strerror or error}"
        except subprocess.TimeoutExpired:
            problem = f"not run: not installed within {INSTALL_TIMEOUT} s"
        if problem:
            return Environment(None, problem)
    return Environment(_python(home), "", json.loads((home / VERSIONS).read_text()))


def run_peer(peer: Peer, environment: Environment, inputs: Path, outputs: Path, timeout: float) -> str:
    """Have a peer answer every image of a folder that has no answer yet.

    Parameters
    ----------
    peer, environment
        From `prepare`.
    inputs, outputs
        Folders of ``ID.npz``, see ``worker.py``.
    timeout
        Seconds for the whole folder; what was answered by then stays.

    Returns
    -------
    str
        Why the peer did not get through, one line; empty when it did. Images that failed one by one are in their
        answers.
    """
    if environment.python is None:
        return environment.problem
    outputs.mkdir(parents=True, exist_ok=True)
    command: list[str | Path] = [environment.python, "-I", WORKER, peer.script, KEYS[peer.kind], inputs, outputs]
    try:
        # From a folder of no modules, with one thread, without the caller's own settings of Python.
        done = _call(command, timeout, cwd=outputs)
    except OSError as error:
        return f"not run: {error.strerror or error}"
    except subprocess.TimeoutExpired:
        return f"stopped after {timeout:g} s"
    return "" if done.returncode == 0 else f"failed: {_reason(done)}"


def read_answer(peer: Peer, outputs: Path, id: str) -> Answer:
    """What a peer said of one image."""
    try:
        with np.load(outputs / f"{id}.npz", allow_pickle=False) as archive:
            return Answer(archive[KEYS[peer.kind]], float(archive["seconds"]))
    except FileNotFoundError:
        pass
    except (OSError, ValueError, KeyError, zipfile.BadZipFile) as error:
        return Answer(None, problem=f"its answer cannot be read: {error}")
    try:
        return Answer(None, problem=str(json.loads((outputs / f"{id}.json").read_text())["problem"]))
    except FileNotFoundError:
        return Answer(None, problem="no answer")


def ask_peer(
    peer: Peer, environments: Path, inputs: Path, answers: Path, ids: Sequence[str], timeout: float
) -> Iterator[Answer]:
    """A peer's answers to a folder of images; for want of one, what stopped it, or what went wrong with the image.

    Parameters
    ----------
    peer
        Whom to ask.
    environments, answers
        Folders of the environments and of the answers of all peers.
    inputs, ids
        Folder of ``ID.npz``, see ``worker.py``, and the images wanted.
    timeout
        Seconds an image, on average.
    """
    environment = prepare(peer, environments)
    outputs = answers / f"{peer.name}-{peer.digest}"
    problem = run_peer(peer, environment, inputs, outputs, timeout * max(len(ids), 1))
    for id in ids:
        answer = read_answer(peer, outputs, id)
        yield Answer(None, problem=problem) if problem and answer.values is None else answer


def write_query(
    path: Path, image: np.ndarray, pixel_size: tuple[float, float], separation: float, noise: float
) -> None:
    """Write an image for peers: (H, W), (y, x) in Å, smallest distance of columns in Å, noise in the image's unit."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with replacing(path) as temporary, temporary.open("wb") as file:
        np.savez(
            file, image=image.astype(np.float32), pixel_size=np.array(pixel_size), separation=separation, noise=noise
        )


def _make(peer: Peer, home: Path) -> str:
    """Make an environment; why it cannot be made, or empty."""
    home.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=home.parent, prefix=".", ignore_cleanup_errors=True) as aside:
        made = Path(aside) / "environment"
        create: list[str | Path] = [sys.executable, "-m", "venv", "--without-pip", made]
        # This interpreter's pip fills it: unpacking another one takes longer than many installations.
        pip: list[str | Path] = [sys.executable, "-m", "pip", "--disable-pip-version-check", "--python", _python(made)]
        for command in (
            create,
            [*pip, "install", "--quiet", "--requirement", peer.requirements],
            [*pip, "list", "--format=json"],
        ):
            done = _call(command, INSTALL_TIMEOUT)
            if done.returncode:
                return f"not run: {_reason(done)}"
        versions = {each["name"]: each["version"] for each in json.loads(done.stdout)}
        write_atomically(made / VERSIONS, json.dumps(versions).encode())
        try:
            made.rename(home)
        except OSError:
            if not (home / VERSIONS).is_file():
                raise
    return ""


def _python(home: Path) -> Path:
    return home / "bin" / "python"


def _call(command: Sequence[str | Path], timeout: float, cwd: Path | None = None) -> subprocess.CompletedProcess[str]:
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("PYTHON", "VIRTUAL_ENV"))}
    environment |= dict.fromkeys(_THREADS, "1")
    return subprocess.run(
        [str(part) for part in command],
        capture_output=True,
        text=True,
        errors="replace",
        check=False,
        timeout=timeout,
        cwd=cwd,
        env=environment,
        stdin=subprocess.DEVNULL,
    )


def _reason(done: subprocess.CompletedProcess[str]) -> str:
    """The line of a program's complaint that says most: its first error, else its last line."""
    lines = [line.strip() for line in done.stderr.splitlines() if line.strip()]
    errors = [line.removeprefix("ERROR: ") for line in lines if line.startswith("ERROR: ")]
    return (errors or lines[-1:] or [f"exit code {done.returncode}"])[0]
