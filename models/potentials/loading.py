"""From what a user asks for to a `Potential`: a name, a path, a URL, or nothing."""

from __future__ import annotations

from pathlib import Path

from microscopy.errors import PotentialError
from models.device import AUTO, chosen
from models.potentials import mattersim, registry, weights
from models.potentials.potential import Potential, one_line
from models.potentials.registry import MP_ELEMENTS, Known

DEFAULT_EMBEDDED = "sevennet-l3i5"
"""The potential used when MatterSim's weights are absent."""


def load_potential(name: str | None = None, device: str = "cpu") -> Potential:
    """Find a potential by name, path or URL among what is on this machine.

    Parameters
    ----------
    name
        One of `potential_names`, an alias (``sevennet``, ``mattersim``, ``mattersim-5m`` …), the path of a MatterSim
        ``.pth`` checkpoint, or the URL of one that was fetched before. None: MatterSim if its weights are on this
        machine, in the file that ``AUTOMAT_MATTERSIM_CHECKPOINT`` names or in MatterSim's own cache folder, else
        SevenNet-l3i5 with `Potential.fallback` saying so.
    device
        Torch device: ``"cpu"``, ``"cuda"``, ``"cuda:1"`` …, or ``"auto"`` for a GPU where there is one.

    Raises
    ------
    PotentialError
        If the name is unknown, its weights are not on this machine, or the device is not available.
    """
    device = _device(device)
    if name is None:
        path = mattersim.checkpoint()
        if path is not None:
            return _from_checkpoint(path, device)
        fallback = "MatterSim's weights are not on this machine; energies are from SevenNet-l3i5, embedded"
        return _packaged(registry.published(DEFAULT_EMBEDDED), device, fallback)
    if weights.is_url(name):
        return _from_checkpoint(_fetched(name), device)
    known = registry.find(name)
    if name.strip().lower() == "mattersim" or (known and known.family == "mattersim"):
        return _from_checkpoint(_mattersim(name, known), device)
    if known:
        return _packaged(known, device)
    path = Path(name).expanduser()
    if path.suffix == ".pth" or path.exists():
        return _from_checkpoint(path, device)
    names = ", ".join(registry.potential_names())
    raise PotentialError(f"{name}: unknown potential; choose one of {names}, or the path of a MatterSim .pth file")


def inventory() -> list[tuple[str, Potential | str]]:
    """Every name, and every URL fetched, with its potential or with why there is none on this machine."""
    found: list[tuple[str, Potential | str]] = []
    for name in (*registry.potential_names(), *weights.fetched_urls()):
        try:
            found.append((name, load_potential(name)))
        except PotentialError as error:
            found.append((name, str(error)))
    return found


def _packaged(known: Known, device: str, fallback: str = "") -> Potential:
    """Weights that ship inside a wheel."""
    path = weights.home(known)
    return Potential(known.name, _digest(path), known.scale, MP_ELEMENTS, fallback, path, known.family, device)


def _mattersim(name: str, known: Known | None) -> Path:
    path = mattersim.checkpoint(known.name if known else None)
    if path is None:
        wanted = known or registry.published("mattersim-v1.0.0-1m")
        raise PotentialError(
            f"{name}: its weights are not on this machine; 'automat potentials fetch {wanted.name}' fetches them, or "
            f"put {wanted.file} into {mattersim.folder()}, or give its path here or in "
            f"{mattersim.CHECKPOINT_VARIABLE}; "
            f"'{DEFAULT_EMBEDDED}' needs no download"
        )
    return path


def _fetched(url: str) -> Path:
    path = weights.fetched(url)
    if path is None:
        raise PotentialError(
            f"{url}: not on this machine, and a run downloads nothing; first: automat potentials fetch {url} --sha256 …"
        )
    return path


def _from_checkpoint(path: Path, device: str) -> Potential:
    """Take a MatterSim file for what its content is, whatever its name."""
    checkpoint = _digest(path)
    weights.check_unchanged(path)
    known, titled = registry.by_content(weights.git_blob(path)), registry.find(path.stem)
    fallback = "" if titled in (None, known) else f"{path} is not the published {path.stem}; it is used as it is"
    name, scale = (known.name, known.scale) if known else (f"mattersim:{path.stem}", registry.UNKNOWN)
    return Potential(name, checkpoint, scale, MP_ELEMENTS, fallback, path, "mattersim", device)


def _digest(path: Path) -> str:
    try:
        return weights.digest(path)
    except OSError as error:
        raise PotentialError(f"{path}: cannot read these weights: {error.strerror or error}") from error


def _device(device: str) -> str:
    if device in ("cpu", AUTO):
        return chosen(device)
    import torch

    try:
        torch.zeros(1, device=device)
    except (RuntimeError, AssertionError) as error:
        raise PotentialError(f"device {device!r} is not available ({one_line(error)}); use 'cpu' or 'auto'") from error
    return device
