"""Whether what matters can be imported, and what torch sees: asked of a process of its own."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from flows.doctor.finding import Finding, broken, ok, skipped, warning

PROBE = Path(__file__).with_name("probe.py")

ORCHESTRATION = ("prefect", "prefect.server.api.server")
SCIENCE = ("torch", "mattersim.forcefield", "sevenn.calculator", "faiss", "rsciio.emd", "abtem")

SPARE = ("mattersim.forcefield",)
"""Needed for some potentials only."""

LIMIT = 11.0
"""Seconds; on a machine with other work the imports of the science may take as long."""

NVIDIA = Path("/proc/driver/nvidia/version")
"""There when a driver for an NVIDIA GPU is."""


@dataclass(frozen=True)
class Probed:
    """What the process told.

    Attributes
    ----------
    errors
        Of each module that was tried; None for those that were imported.
    gpus
        That torch sees; None if it was not asked.
    crash
        How the process ended, if it was killed by a module.
    """

    errors: dict[str, str | None]
    gpus: list[dict[str, Any]] | None = None
    crash: str = ""


def probe(modules: Sequence[str], limit: float = LIMIT) -> Probed:
    """Import modules in a new process."""
    command = [sys.executable, "-P", "-W", "ignore", str(PROBE), *modules]
    crash = ""
    try:
        told = subprocess.run(command, capture_output=True, timeout=limit, check=False, stdin=subprocess.DEVNULL)
        output = told.stdout
        if told.returncode:
            lines = told.stderr.decode(errors="replace").strip().splitlines()
            crash = f"the process ended with code {told.returncode}" + (f": {lines[-1]}" if lines else "")
    except subprocess.TimeoutExpired as error:
        output = error.stdout or b""
    lines = [json.loads(line) for line in output.decode().splitlines() if line.endswith("}")]
    errors = {line["module"]: line["error"] for line in lines if "module" in line}
    gpus = next((line["gpus"] for line in lines if "gpus" in line), None)
    return Probed(errors, gpus, crash)


def orchestration() -> Finding:
    """Prefect, with the server that AutoMat starts where none is named."""
    return imported("Prefect", ORCHESTRATION, probe(ORCHESTRATION))


def science() -> list[Finding]:
    """What images and structures need, and the GPUs."""
    probed = probe(SCIENCE)
    return [imported("science", SCIENCE, probed), gpu(probed)]


def imported(name: str, modules: Sequence[str], probed: Probed) -> Finding:
    """Judge the imports."""
    failed = {module: error for module, error in probed.errors.items() if error}
    missing = [module for module in modules if module not in probed.errors]
    for module, error in failed.items():
        package = module.partition(".")[0]
        text = f"{package} cannot be imported ({error})"
        if module in SPARE:
            return warning(name, f"{text}; MatterSim's potentials cannot be used", f"pip install --no-deps {package}")
        return broken(name, text, f"make install, or reinstall {package}")
    if probed.crash and missing:
        return broken(name, f"{missing[0]} kills Python at import; {probed.crash}", f"reinstall {missing[0]}")
    if missing:
        fault = f"not reached within {LIMIT:g} s: {', '.join(missing)}"
        if os.getloadavg()[0] > len(os.sched_getaffinity(0)):
            return skipped(name, f"{fault}; the machine is busy")
        return warning(name, fault, "look again when the machine is idle")
    names = dict.fromkeys(module.partition(".")[0] for module in modules)
    return ok(name, f"{', '.join(names)}: can be imported")


def gpu(probed: Probed, driver: Path = NVIDIA) -> Finding:
    """What the networks run on."""
    if probed.gpus is None:
        return skipped("GPU", "torch could not be asked")
    if probed.gpus:
        return ok("GPU", ", ".join(f"{each['name']}, {each['bytes'] / 2**30:.0f} GiB" for each in probed.gpus))
    if driver.exists():
        fault = "an NVIDIA driver is here, but torch sees no GPU"
        return warning("GPU", fault, "install torch's CUDA build, and let this user (or container) have the GPU")
    return ok("GPU", "none; everything runs on the processor")
