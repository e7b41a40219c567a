"""What is dropped: small images with the linear model, no two alike, and files that are none."""

from __future__ import annotations

import zipfile
from collections.abc import Callable
from pathlib import Path

import images
import numpy as np
import tifffile

PIXEL = 0.16
"""Å."""

SHAPE = (128, 144)

OPTIONS = ("--pixel-size", str(PIXEL), "--modality", "haadf")


def image(number: int, shape: tuple[int, int] = SHAPE) -> np.ndarray:
    """An image of MoS2 (even numbers) or graphene, turned and with a noise of its own."""
    structure = images.graphene() if number % 2 else images.mos2()
    turned = images.turn(3.0 + 7.3 * number)
    micrograph, _ = images.linear_image(structure, shape=shape, matrix=turned, seed=number)
    pixels = micrograph.image - micrograph.image.min()
    return np.asarray(pixels / pixels.max() * 60000, dtype=np.uint16)


def elements(number: int) -> str:
    """Of an image."""
    return "C" if number % 2 else "Mo,S"


def write(path: Path, number: int) -> Path:
    """Write an image as an instrument does: under another name first."""
    draft = path.with_name(f"{path.name}.part")
    tifffile.imwrite(draft, image(number))
    return draft.rename(path)


def _pickled(path: Path) -> None:
    np.save(path, np.array([{"a": 1}], dtype=object), allow_pickle=True)


def _truncated(path: Path) -> None:
    tifffile.imwrite(path, image(1001))
    path.write_bytes(path.read_bytes()[:9000])


def _no_numpy(path: Path) -> None:
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr(zipfile.ZipInfo("x.npy"), b"no array")


BAD: dict[str, Callable[[Path], object]] = {
    "text.tif": lambda path: path.write_text("this is no image\n"),
    "truncated.tif": _truncated,
    "nan.npy": lambda path: np.save(path, np.full(SHAPE, np.nan)),
    "flat.npy": lambda path: np.save(path, np.ones(SHAPE)),
    "tiny.npy": lambda path: np.save(path, np.ones((3, 3))),
    "line.npy": lambda path: np.save(path, np.ones(100)),
    "objects.npy": _pickled,
    "archive.npz": _no_numpy,
    "picture.png": lambda path: path.write_bytes(b"\x89PNG\r\n\x1a\n" + bytes(64)),
}
"""Files that fail with a reason, and how they are made."""
