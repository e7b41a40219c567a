"""Import modules one after another and tell of each as a line of JSON; run by path in a process of its own.

It imports nothing of the project, so that an import that kills the process is told of, too.
"""

from __future__ import annotations

import importlib
import json
import os
import sys
from typing import Any, TextIO


def main(modules: list[str], out: TextIO) -> None:
    """Import each module; after torch, tell of the GPUs."""
    for module in modules:
        error = None
        try:
            importlib.import_module(module)
        except BaseException as fault:  # whatever a broken package throws at import
            error = f"{type(fault).__name__}: {fault}"
        print(json.dumps({"module": module, "error": error}), file=out, flush=True)
        if module == "torch" and error is None:
            print(json.dumps({"gpus": gpus()}), file=out, flush=True)


def gpus() -> list[dict[str, Any]]:
    """Name and bytes of memory of each GPU that torch can use."""
    import torch

    found = [torch.cuda.get_device_properties(index) for index in range(torch.cuda.device_count())]
    return [{"name": each.name, "bytes": each.total_memory} for each in found]


if __name__ == "__main__":
    stream = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # what packages print at import is no answer
    main(sys.argv[1:], stream)
