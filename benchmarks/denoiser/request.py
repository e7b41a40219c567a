"""What someone asks of the denoiser benchmark."""

from __future__ import annotations

import argparse
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from benchmarks.materials import Material, draw, load_materials
from benchmarks.peers.runner import PEERS, Peer
from microscopy.micrograph import Modality

HERE = Path(__file__).parent

WHITE_BM3D = next(peer for peer in PEERS if peer.name == "BM3D")

DENOISING_PEERS: dict[str, Peer] = {
    "tk_r_em": next(peer for peer in PEERS if peer.name == "tk_r_em"),
    "bm3d": WHITE_BM3D,
    "bm3d_coloured": Peer("BM3D-coloured", "denoise", WHITE_BM3D.requirements, HERE / "bm3d_coloured.py"),
}
"""Other people's denoisers by the name they are asked for with."""


def names(text: str) -> tuple[str, ...]:
    """What a comma-separated option names."""
    return tuple(name.strip() for name in text.split(",") if name.strip())


def add_competitors(parser: argparse.ArgumentParser) -> None:
    """Let a command take ``--denoisers`` and ``--peers``; names of peers are those of `DENOISING_PEERS`."""
    choices = ", ".join(DENOISING_PEERS)
    parser.add_argument("--denoisers", type=names, default="classical,moe", help="comma-separated, for DenoiseOptions")
    parser.add_argument("--peers", type=_peer_names, default="", help=f"comma-separated: {choices}")


def _peer_names(text: str) -> tuple[str, ...]:
    asked = names(text)
    if unknown := sorted(set(asked) - DENOISING_PEERS.keys()):
        raise argparse.ArgumentTypeError(f"no peer {', '.join(unknown)}; choose from {', '.join(DENOISING_PEERS)}")
    return asked


@dataclass(frozen=True)
class Request:
    """One run of one suite.

    Attributes
    ----------
    source, ids
        True structures (the embedded library when None), and those to draw from (all when None).
    limit, seed
        Materials at most; seed of the draw, the views and the noise.
    out, cache
        Folder of rows and tables, and of what is worth keeping between runs.
    denoisers, peers
        Names for ``DenoiseOptions``, and keys of `DENOISING_PEERS`.
    doses
        e/Å², None among them for no noise; None for the suite's own.
    modalities
        Kinds of image.
    sides
        Pixels along the edge of an image; None for the suite's own.
    regimes
        What the user of a reconstruction knows, keys of ``benchmarks.cases.REGIMES``.
    vacancies
        Share of the atoms that are missing where vacancies are measured.
    tries
        Images of each kind of noise.
    """

    source: Path | None
    ids: tuple[str, ...] | None
    limit: int
    seed: int
    out: Path
    cache: Path
    denoisers: tuple[str, ...] = ("classical", "moe")
    peers: tuple[str, ...] = ()
    doses: tuple[float | None, ...] | None = None
    modalities: tuple[Modality, ...] = (Modality.IDPC, Modality.HAADF)
    sides: tuple[int, ...] | None = None
    regimes: tuple[str, ...] = ("I", "II")
    vacancies: float = 0.02
    tries: int = 20

    @cached_property
    def materials(self) -> list[Material]:
        """The materials drawn; a larger limit adds to a smaller one."""
        available, _ = load_materials(self.source, self.ids)
        return draw(available, self.limit, self.seed)

    @property
    def cells(self) -> Path:
        """Folder of multislice images."""
        return self.cache / "cells"
