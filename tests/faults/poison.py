"""What somebody may put into a folder to do harm, or by accident: bombs, giants, links, names, pickles."""

from __future__ import annotations

import json
import os
import pickle
import socket
import struct
import zipfile
import zlib
from collections.abc import Callable
from pathlib import Path

import h5py
import numpy as np
import tifffile
from faults import drops

MEGA = 1 << 20


class Touch:
    """Unpickling it makes a file: a sign that a pickle was trusted."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Callable[..., object], tuple[object, ...]]:
        return os.mknod, (str(self.path),)


def npy_header(shape: tuple[int, ...], kind: str = "<f8") -> bytes:
    text = f"{{'descr': '{kind}', 'fortran_order': False, 'shape': {shape}, }}"
    text += " " * (-(len(text) + 11) % 64) + "\n"
    return b"\x93NUMPY\x01\x00" + struct.pack("<H", len(text)) + text.encode()


def zip_bomb(path: Path) -> None:
    """A few hundred kilobytes that claim to be 12.8 GB, and are 512 MB in truth."""
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive, archive.open("x.npy", "w") as member:
        member.write(npy_header((40000, 40000)))
        for _ in range(512):
            member.write(bytes(MEGA))


def zip_of_zips(path: Path) -> None:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for number in range(2000):
            archive.writestr(f"{number}.npy", npy_header((2000, 2000)) + bytes(1000))


def png_bomb(path: Path) -> None:
    """400 megapixels of nothing."""
    side = 20000

    def chunk(name: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))

    squeezer = zlib.compressobj(9)
    rows = b"".join(squeezer.compress(bytes(side + 1)) for _ in range(side)) + squeezer.flush()
    header = struct.pack(">IIBBBBB", side, side, 8, 0, 0, 0, 0)
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", rows) + chunk(b"IEND", b""))


def huge_tiff(path: Path) -> None:
    """A small file whose header says 100,000 × 100,000."""
    tags = [(256, 4, 100_000), (257, 4, 100_000), (258, 3, 16), (259, 3, 1), (262, 3, 1), (273, 4, 200), (277, 3, 1)]
    tags += [(278, 4, 100_000), (279, 4, 4_000_000_000)]
    entries = b"".join(struct.pack("<HHII", tag, kind, 1, value) for tag, kind, value in tags)
    path.write_bytes(b"II*\x00\x08\x00\x00\x00" + struct.pack("<H", len(tags)) + entries + bytes(400))


def sparse(size: int) -> Callable[[Path], None]:
    """A file that takes no place on the disk, with the header of a TIFF."""

    def make(path: Path) -> None:
        with path.open("wb") as stream:
            stream.write(b"II*\x00\x08\x00\x00\x00")
            stream.truncate(size)

    return make


def sparse_array(path: Path) -> None:
    with path.open("wb") as stream:
        stream.write(npy_header((16000, 16000)))
        stream.truncate(stream.tell() + 16000 * 16000 * 8)


def circular_tiff(path: Path) -> None:
    """Its list of images leads back to its beginning."""
    entry = struct.pack("<HHII", 256, 4, 1, 8)
    path.write_bytes(b"II*\x00\x08\x00\x00\x00" + struct.pack("<H", 1) + entry + struct.pack("<I", 8))


def outside_hdf5(path: Path) -> None:
    """Pixels that are in another file, outside the folder."""
    outside = path.parent.parent / "outside.bin"
    outside.write_bytes(drops.image(7).astype("<f4").tobytes())
    with h5py.File(path, "w") as file:
        file.create_dataset("image", drops.SHAPE, "<f4", external=[(str(outside), 0, h5py.h5f.UNLIMITED)])


def linked_hdf5(path: Path) -> None:
    other = path.parent.parent / "outside.h5"
    with h5py.File(other, "w") as file:
        file["image"] = drops.image(9)
    with h5py.File(path, "w") as file:
        file["image"] = h5py.ExternalLink(str(other), "/image")


def pickled(path: Path) -> None:
    np.save(path, np.array([Touch(path.parent.parent / "unpickled")], dtype=object), allow_pickle=True)


def bare_pickle(path: Path) -> None:
    path.write_bytes(pickle.dumps(Touch(path.parent.parent / "unpickled")))


def listening(path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(str(path))


def infinite(path: Path) -> None:
    tifffile.imwrite(path, np.full(drops.SHAPE, np.inf, dtype=np.float32))


REFUSED: dict[str, Callable[[Path], object]] = {
    "giant.tif": sparse((4 << 30) + 1),
    "passwords.tif": lambda path: path.symlink_to("/etc/passwd"),
    "zero.npy": lambda path: path.symlink_to("/dev/zero"),
    "up.tif": lambda path: path.symlink_to("../auth.secret"),
    "circle.tif": lambda path: path.symlink_to(path.name),
    "pipe.tif": os.mkfifo,
    "socket.tif": listening,
    "empty.tif": lambda path: path.touch(),
    os.fsdecode(b"\xff\xfe.tif"): lambda path: path.write_bytes(b"x"),
}
"""What is not even read."""

FAILED: dict[str, Callable[[Path], object]] = {
    **drops.BAD,
    "bomb.npz": zip_bomb,
    "many.npz": zip_of_zips,
    "bomb.png": png_bomb,
    "huge.tif": huge_tiff,
    "sparse.tif": sparse(1 << 30),
    "sparse.npy": sparse_array,
    "circular.tif": circular_tiff,
    "outside.h5": outside_hdf5,
    "linked.h5": linked_hdf5,
    "pickled.npy": pickled,
    "pickle.npz": bare_pickle,
    "infinite.tif": infinite,
    "page.dm4": lambda path: path.write_text("<html>404</html>"),
    "picture.emd": lambda path: path.write_bytes(b"\x89PNG\r\n\x1a\n" + bytes(200)),
    "line\nbreak.tif": lambda path: path.write_text("1"),
    "a..\\..\\up.tif": lambda path: path.write_text("2"),
    "a..%2f..%2fup.tif": lambda path: path.write_text("3"),
    "\x1b[2J\x07.tif": lambda path: path.write_text("4"),
    "$(touch unpickled);`id`.tif": lambda path: path.write_text("5"),
    "--out=..tif.tif": lambda path: path.write_text("6"),
    "x" * 240 + ".tif": lambda path: path.write_text("7"),
}
"""What is read, and found to be no image that can be explained."""

SIDECARS: dict[str, Callable[[Path], object]] = {
    "wrong.tif.toml": lambda path: path.write_text("pixel_size = -1\n"),
    "broken.tif.json": lambda path: path.write_text("{"),
    "deep.tif.json": lambda path: path.write_text("[" * 100_000),
    "large.tif.toml": lambda path: path.write_text("#" * 2 * MEGA),
    "linked.tif.toml": lambda path: path.symlink_to("/etc/passwd"),
    "code.tif.json": lambda path: path.write_text(json.dumps({"elements": ["__import__('os')"]})),
}
"""Metadata that makes the micrograph beside it fail."""
