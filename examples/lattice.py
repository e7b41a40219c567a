"""Read a micrograph and measure the lattice of its projection: python examples/lattice.py [IMAGE]."""

import sys
from pathlib import Path

import numpy as np

import microscopy
from microscopy.readers import ReadOptions, read_micrograph
from reconstruction.lattice import find_lattice

DEMO = Path(microscopy.__file__).parent / "data" / "demo.tif"


def main(path: Path = DEMO) -> None:
    """Print the pixel size, then a, b and γ with standard errors."""
    micrograph = read_micrograph(path, ReadOptions())  # ReadOptions(pixel_size=(0.12, 0.12)) where the file has none
    if micrograph.pixel_size is None:
        raise SystemExit(f"{path} has no pixel size: give it in ReadOptions")
    print(f"{path.name}: {micrograph.modality}, {micrograph.pixel_size[0]:.4f} Å per pixel")
    for notice in micrograph.notices:
        print(notice)

    lattice = find_lattice(micrograph, q_max=2.0)  # reflections up to 2 1/Å
    if lattice is None:
        raise SystemExit("no reflection stands out of the noise")
    a, b = lattice.vectors  # (x, y) in Å of the image
    errors = np.linalg.norm(lattice.standard_errors, axis=1)
    gamma = np.degrees(np.arccos(a @ b / np.linalg.norm(a) / np.linalg.norm(b)))
    print(f"a = {np.linalg.norm(a):.4f} ± {errors[0]:.4f} Å")
    print(f"b = {np.linalg.norm(b):.4f} ± {errors[1]:.4f} Å")
    print(f"γ = {gamma:.2f}°, from {lattice.reflections} reflections")


if __name__ == "__main__":
    main(*map(Path, sys.argv[1:2]))
