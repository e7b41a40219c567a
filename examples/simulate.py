"""Image a structure by multislice, the truth beside it: python examples/simulate.py [CIF] [IMAGE.tif]."""

import sys
from pathlib import Path

import microscopy
from microscopy.simulation import SimulationOptions, simulate_to_file

DEMO = Path(microscopy.__file__).parent / "data" / "demo.cif"


def main(structure: Path = DEMO, output: Path = Path("simulated.tif")) -> None:
    """Write a noisy iDPC image of a turned crystal, and print where image and truth are."""
    options = SimulationOptions(
        shape=(256, 192),
        pixel_size=(0.15, 0.15),  # Å, (y, x)
        dose=3e4,  # electrons per Å²
        rotation=17.0,  # degrees
        artefacts={"scan_shear": 0.02},
        seed=1,
    )
    for path in simulate_to_file(structure, options, output):
        print(path)


if __name__ == "__main__":
    main(*map(Path, sys.argv[1:3]))
