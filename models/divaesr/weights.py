"""Weights on disk: safetensors in half precision, and a manifest in plain text that says where they come from."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import nn

from models.divaesr.configuration import Configuration
from models.divaesr.manifest import FORMAT, MANIFEST, WeightsError, read_manifest
from models.divaesr.mixture import Mixture


def save(network: Mixture, folder: Path, facts: Mapping[str, Any], dtype: torch.dtype = torch.float16) -> None:
    """Write one file for the gate and one for each expert, and the manifest beside them.

    ``facts``: how they were made (command, seed, steps, what they reach), as JSON.
    """
    folder.mkdir(parents=True, exist_ok=True)
    files = {}
    for name, module in _parts(network).items():
        save_network(module, folder / f"{name}.safetensors", dtype)
        files[name] = {"sha256": _digest(folder / f"{name}.safetensors")}
    content = {
        "format": FORMAT,
        "configuration": network.configuration.to_json(),
        "files": files,
        "made": dict(facts),
    }
    (folder / MANIFEST).write_text(json.dumps(content, indent=1) + "\n")


def save_network(network: nn.Module, path: Path, dtype: torch.dtype = torch.float16) -> None:
    """Write one network to a file of its own."""
    tensors = {key: value.to(dtype).contiguous().cpu() for key, value in _floats(network).items()}
    save_file(tensors, path)


def resume(network: nn.Module, start: Path) -> None:
    """Fill a network to train it on: from a mixture's folder, or (every expert of a mixture) from one network's file.

    Copies of one trained network that then specialise learn faster than experts that start from nothing (sparse
    upcycling: Komatsuzaki et al., ICLR 2023).

    Raises
    ------
    WeightsError
        If they are of another network.
    """
    try:
        if start.is_dir():
            network.load_state_dict(load(start).state_dict())
            return
        stored = {key: value.float() for key, value in load_file(start).items()}
        for part in network.experts if isinstance(network, Mixture) else [network]:
            part.load_state_dict(stored)
    except (OSError, SafetensorError, RuntimeError) as error:
        raise WeightsError(f"{start}: cannot be read as weights of this network ({error})") from error


def load(folder: Path) -> Mixture:
    """Build the network and fill it, in evaluation mode; nothing is unpickled.

    Raises
    ------
    WeightsError
        If a file is missing, damaged, or of another network.
    """
    content = read_manifest(folder)
    try:
        network = Mixture(Configuration.from_json(content["configuration"]))
    except (KeyError, TypeError) as error:
        raise WeightsError(f"{folder}: the configuration is not that of this release ({error})") from error
    for name, module in _parts(network).items():
        path = folder / f"{name}.safetensors"
        try:
            if _digest(path) != content["files"][name]["sha256"]:
                raise WeightsError(f"{path}: damaged, its sha256 is not that of the manifest; copy it again")
            stored = load_file(path)
            module.load_state_dict({key: value.float() for key, value in stored.items()}, strict=False)
            missing = set(_floats(module)) ^ set(stored)
        except (OSError, KeyError, SafetensorError, RuntimeError) as error:
            raise WeightsError(f"{path}: cannot be read as weights of this network ({error})") from error
        if missing:
            raise WeightsError(f"{path}: weights of another network ({', '.join(sorted(missing)[:3])} …)")
    return network.eval()


def _parts(network: Mixture) -> dict[str, nn.Module]:
    return {"gate": network.gate, **dict(zip(network.configuration.kinds, network.experts, strict=True))}


def _floats(module: nn.Module) -> dict[str, torch.Tensor]:
    """Everything but counters."""
    return {key: value for key, value in module.state_dict().items() if value.is_floating_point()}


def _digest(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()
