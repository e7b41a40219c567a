"""Train from banks of crystals: ``python -m models.divaesr TRAINING.npz VALIDATION.npz --out DIR``.

``automat train denoiser --banks-only`` writes the banks; a machine with an accelerator needs no more than them.
"""

from __future__ import annotations

import argparse
import hashlib
import json
from pathlib import Path

from models.divaesr.bank import CrystalBank
from models.divaesr.recipes import RECIPES, cook


def main() -> None:
    """Entry point."""
    parser = argparse.ArgumentParser(prog="python -m models.divaesr", description=__doc__)
    parser.add_argument("training", type=Path)
    parser.add_argument("validation", type=Path)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--recipe", choices=sorted(RECIPES), default="full")
    given = parser.parse_args()
    banks = {name: getattr(given, name) for name in ("training", "validation")}
    facts = {"banks": {name: hashlib.sha256(path.read_bytes()).hexdigest() for name, path in banks.items()}}
    loaded = [CrystalBank.load(path) for path in banks.values()]
    reached = cook(RECIPES[given.recipe], loaded[0], loaded[1], given.out, facts, progress=False)
    print(json.dumps(reached, indent=1))


if __name__ == "__main__":
    main()
