"""How well pixels of a real micrograph are told that were not shown: ``python -m benchmarks.denoiser.heldout``.

Of a recorded image nobody has the one without noise. But whoever is not shown a pixel cannot copy its noise: the mean
square of what is predicted there less what was recorded is the error of the prediction plus the variance of the noise,
and the latter is the same for all (Batson and Royer, ICML 2019). Detectors that decay slowly carry noise along the fast
scan direction, so a run of pixels around each one that counts is hidden. The noise of iDPC reaches over the whole
image: it cannot be measured like this.
"""

from __future__ import annotations

import argparse
import shlex
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from jaxtyping import Bool, Float, Int
from scipy.ndimage import gaussian_filter
from skimage.restoration import denoise_nl_means

from benchmarks.denoiser.output import Row, figure, measured
from benchmarks.denoiser.quality import beyond_optics
from benchmarks.denoiser.request import DENOISING_PEERS, add_competitors
from benchmarks.denoiser.statistics import mean_error
from benchmarks.materials import BenchmarkError
from benchmarks.peers.local import NLM
from benchmarks.peers.runner import Answer, Peer, ask_peer, peers_folder, write_query
from benchmarks.peers.specimen import white_noise
from benchmarks.tables import Table
from microscopy.cache import cache_folder
from microscopy.detector import SEGMENTED
from microscopy.errors import AutoMatError
from microscopy.micrograph import Micrograph, Modality
from microscopy.readers import ReadOptions, read_micrograph
from models.denoising import DenoiseOptions, denoise

Image = Float[np.ndarray, "H W"]

RUN = 11
"""Pixels of a scan line that are hidden at once, of which the one in the middle counts."""

SHOWN = 6
"""Pixels at least between two runs, along both directions."""

GAUSSIANS = (1.0, 1.5, 2.0, 3.0, 4.0)
"""Standard deviations in pixels; the best in hindsight is reported, as no user could choose better."""

STRENGTHS = (0.3, 0.6, 1.0, 1.5)
"""Of non-local means, in units of the noise; likewise."""

FILL = 1.5
"""Standard deviation in pixels of the mean that stands for hidden pixels where a denoiser knows no masks."""

TIMEOUT = 300.0
"""Seconds an image that somebody else's denoiser may take on average."""


@dataclass(frozen=True, eq=False)
class Blinded:
    """A micrograph without some of its pixels.

    Attributes
    ----------
    micrograph
        Hidden pixels hold the mean of their surroundings and are masked.
    rows, columns
        Of the pixels that count.
    recorded
        What was recorded there.
    """

    micrograph: Micrograph
    rows: Int[np.ndarray, " N"]
    columns: Int[np.ndarray, " N"]
    recorded: Float[np.ndarray, " N"]

    @property
    def believed(self) -> Bool[np.ndarray, "H W"]:
        """True where a pixel is shown."""
        assert self.micrograph.mask is not None
        return self.micrograph.mask

    def errors(self, image: Image) -> Float[np.ndarray, " N"]:
        """Squares of what an image says of the pixels that count less what was recorded there."""
        return np.asarray((image[self.rows, self.columns] - self.recorded) ** 2, dtype=float)


def blinded(micrograph: Micrograph, seed: int, run: int = RUN) -> Blinded:
    """Hide a run of pixels at a random place of every block of the image.

    Parameters
    ----------
    micrograph
        Masked pixels stay masked and never count.
    seed
        Of the places.
    run
        Pixels of a scan line that are hidden at once, odd.
    """
    image = np.asarray(micrograph.image, dtype=float)
    height, width = image.shape
    tops, lefts = np.arange(0, height - SHOWN + 1, SHOWN), np.arange(0, width - SHOWN - run + 1, SHOWN + run)
    random = np.random.default_rng(seed)
    shape = (len(tops), len(lefts))
    rows = (tops[:, None] + random.integers(0, SHOWN, shape)).ravel()
    columns = (lefts[None, :] + random.integers(0, SHOWN, shape)).ravel() + run // 2
    believed = np.ones(image.shape, dtype=bool) if micrograph.mask is None else micrograph.mask.copy()
    count = believed[rows, columns]
    rows, columns = rows[count], columns[count]
    for step in range(-(run // 2), run // 2 + 1):
        believed[rows, columns + step] = False
    filled = np.where(believed, image, smoothed(image, believed, FILL)).astype(np.float32)
    return Blinded(replace(micrograph, image=filled, mask=believed), rows, columns, image[rows, columns])


def smoothed(image: Image, believed: Bool[np.ndarray, "H W"], width: float) -> Image:
    """Gaussian mean of the pixels that are believed; ``width`` is its standard deviation in pixels."""
    share = gaussian_filter(believed.astype(float), width)
    return np.asarray(gaussian_filter(np.where(believed, image, 0.0), width) / np.maximum(share, 1e-12))


def filters(blind: Blinded) -> Iterator[tuple[str, int, Image]]:
    """What no tool is needed for: the mean of the image, Gaussians, and non-local means; name, setting and answer."""
    image = np.asarray(blind.micrograph.image, dtype=float)
    yield "mean of the image", 0, np.full(image.shape, image[blind.believed].mean())
    for setting, width in enumerate(GAUSSIANS):
        yield "Gaussian", setting, smoothed(image, blind.believed, width)
    noise = white_noise(image)
    for setting, strength in enumerate(STRENGTHS):
        answer = denoise_nl_means(image, h=strength * noise, sigma=noise, **NLM)
        yield "non-local means", setting, np.asarray(answer)


def rows(
    micrograph: Micrograph, blinds: Sequence[Blinded], denoisers: Sequence[str], peers: Sequence[Peer], work: Path
) -> Iterator[Row]:
    """One row an image and setting of a denoiser, with the squared error of every pixel that counts."""
    for number, blind in enumerate(blinds):
        for name, setting, image in filters(blind):
            yield _row(micrograph, number, name, setting, blind.errors(image))
        for name in denoisers:
            image = denoise(blind.micrograph, DenoiseOptions(name)).image
            yield _row(micrograph, number, name, 0, blind.errors(image.astype(float)))
    for peer in peers:
        for number, (blind, answer) in enumerate(zip(blinds, asked(peer, blinds, work), strict=True)):
            errors = np.array([]) if answer.values is None else blind.errors(np.asarray(answer.values, dtype=float))
            yield _row(micrograph, number, peer.name, 0, errors, answer.problem)


def asked(peer: Peer, blinds: Sequence[Blinded], work: Path) -> Iterator[Answer]:
    """What somebody else's denoiser makes of each image."""
    ids = [str(number) for number in range(len(blinds))]
    for id, blind in zip(ids, blinds, strict=True):
        image, pixel = blind.micrograph.image, blind.micrograph.pixel_size
        assert pixel is not None
        write_query(work / "queries" / f"{id}.npz", image, pixel, float("nan"), white_noise(image))
    return ask_peer(peer, peers_folder(), work / "queries", work / "answers", ids, TIMEOUT)


def _row(micrograph: Micrograph, number: int, name: str, setting: int, errors: np.ndarray, problem: str = "") -> Row:
    row: Row = {"id": Path(micrograph.source).name, "number": number, "by": name, "setting": setting}
    return row | {"errors": errors.tolist(), "problem": problem}


def table(found: Sequence[Row], noise: float) -> Table:
    """What each denoiser explains of the variance of pixels that it did not see, beside the best of them.

    Parameters
    ----------
    found
        Of one micrograph.
    noise
        Variance of the white part of its noise, which nobody explains.
    """
    problems = {row["by"]: row["problem"] for row in found if row["problem"]}
    best = {name: min(settings, key=np.mean) for name, settings in _errors(found).items() if name not in problems}
    variance = float(best["mean of the image"].mean())
    leader = min(best, key=lambda name: float(best[name].mean()))
    cells = []
    for name, errors in best.items():
        behind, error = mean_error((errors - best[leader]) / variance)
        less = "" if name == leader else figure(100 * behind, 100 * error, ".1f")
        cells.append((name, f"{100 * (1 - errors.mean() / variance):.1f}", less))
    cells += [(name, "–", problem) for name, problem in problems.items()]
    note = (
        f"{len(best[leader])} pixels. White noise alone is {100 * noise / variance:.0f} % of the variance, which "
        "nobody can explain. Gaussians and non-local means with the strength that is best in hindsight."
    )
    title = f"Unseen pixels of {found[0]['id']}"
    return Table(title, ("by", "explained, % of the variance", "behind the first, paired"), tuple(cells), note)


def _errors(found: Sequence[Row]) -> Mapping[str, list[np.ndarray]]:
    """Squared errors over all images, of each setting of each denoiser."""
    settings: dict[str, dict[int, list[float]]] = {}
    for row in found:
        settings.setdefault(row["by"], {}).setdefault(row["setting"], []).extend(row["errors"])
    return {name: [np.asarray(errors) for errors in each.values()] for name, each in settings.items()}


def _read(path: Path, pixel_size: float | None, modality: Modality | None) -> Micrograph:
    both = None if pixel_size is None else (pixel_size, pixel_size)
    micrograph = read_micrograph(path, ReadOptions(pixel_size=both, modality=modality))
    if micrograph.pixel_size is None:
        raise BenchmarkError(f"{path}: does not tell its pixel size; give it with --pixel-size, in Å")
    if micrograph.modality in SEGMENTED:
        raise BenchmarkError(
            f"{path}: {micrograph.modality} cannot be measured by unseen pixels, as its noise reaches over the whole "
            "image; if a ring or disc recorded it, say so with --modality HAADF, ADF or ABF"
        )
    return micrograph


def main(arguments: list[str] | None = None) -> int:
    """Measure one micrograph, print its table and keep it."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.denoiser.heldout", description=__doc__.split("\n")[0])
    parser.add_argument("micrograph", type=Path)
    parser.add_argument("--modality", type=Modality, help="HAADF, ADF or ABF, where the file does not tell")
    parser.add_argument("--pixel-size", type=float, help="Å, where the file does not tell")
    parser.add_argument("--out", type=Path, required=True, help="folder for rows and tables")
    add_competitors(parser)
    parser.add_argument("--run", type=int, default=RUN, help="pixels hidden at once, odd")
    parser.add_argument("--times", type=int, default=4, help="how often other pixels are hidden")
    parser.add_argument("--seed", type=int, default=1)
    given = parser.parse_args(arguments)
    command = ["python", "-m", "benchmarks.denoiser.heldout", *(sys.argv[1:] if arguments is None else arguments)]
    try:
        micrograph = _read(given.micrograph, given.pixel_size, given.modality)
        blinds = [blinded(micrograph, given.seed + number, given.run) for number in range(given.times)]
        work = cache_folder() / "bench" / "heldout" / f"{micrograph.sha256[:12]}-{given.seed}-{given.run}"
        peers = [DENOISING_PEERS[name] for name in given.peers]
        found = rows(micrograph, blinds, given.denoisers, peers, work)
        noise = beyond_optics(micrograph) ** 2
        measured(found, lambda each: [table(each, noise)], given.out, "heldout", shlex.join(command))
    except AutoMatError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
