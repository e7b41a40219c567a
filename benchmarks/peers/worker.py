"""Runs inside a peer's own environment, on the standard library and NumPy alone: every image of a folder, one by one.

``python -I worker.py SCRIPT COLUMNS_OR_IMAGE INPUTS OUTPUTS``. SCRIPT defines ``answer(query)``; a query holds
``image`` (H, W), ``pixel_size`` (y, x) in Å, ``separation`` in Å and ``noise`` in the unit of the image. The answer and
its seconds are written to ``OUTPUTS/ID.npz``, or the reason why there is none to ``OUTPUTS/ID.json``. Images that
have an answer are skipped.
"""

import json
import runpy
import sys
import time
from pathlib import Path

import numpy as np

WARM_UP = 256
"""Pixels along the corner of the first image that is answered untimed: compiling is not part of an image's time."""


def main(script, key, inputs, outputs):
    """Answer what has no answer yet; an image that fails does not stop the rest."""
    waiting = [path for path in sorted(Path(inputs).glob("*.npz")) if not (Path(outputs) / path.name).exists()]
    if not waiting:
        return
    answer = runpy.run_path(script)["answer"]
    warm_up(answer, read(waiting[0]))
    for path in waiting:
        failure = (Path(outputs) / path.name).with_suffix(".json")
        query = read(path)
        started = time.perf_counter()
        try:
            values = answer(query)
        except Exception as error:
            failure.write_text(json.dumps({"problem": one_line(error)}))
            continue
        seconds = time.perf_counter() - started
        part = Path(outputs) / f".{path.name}.part"
        with part.open("wb") as file:
            np.savez(file, **{key: np.asarray(values, dtype=float)}, seconds=seconds)
        part.replace(Path(outputs) / path.name)
        failure.unlink(missing_ok=True)


def warm_up(answer, query):
    """Answer one corner; what goes wrong there says nothing of the image."""
    try:
        answer({**query, "image": query["image"][:WARM_UP, :WARM_UP]})
    except Exception as error:
        print(f"warm-up: {one_line(error)}", file=sys.stderr)


def read(path):
    """One query; scalars as Python numbers."""
    with np.load(path) as archive:
        return {name: archive[name] if archive[name].ndim else archive[name].item() for name in archive.files}


def one_line(error):
    """What happened, without line breaks."""
    return " ".join(f"{type(error).__name__}: {error}".split())


if __name__ == "__main__":
    main(*sys.argv[1:])
