"""A real MatterSim checkpoint, too small to know any physics but its symmetries."""

from __future__ import annotations

import warnings
from pathlib import Path


def save(path: Path) -> Path:
    """Write the checkpoint; the same one every time."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # torch's and e3nn's deprecations
        import torch
        from mattersim.forcefield.m3gnet.m3gnet import M3Gnet
        from mattersim.forcefield.m3gnet.scaling import AtomScaling
        from mattersim.forcefield.potential import Potential

        torch.manual_seed(3)
        network = M3Gnet(num_blocks=1, units=8, max_l=2, max_n=2, device="cpu")
        network.normalizer = AtomScaling(init_scale=20.0, init_shift=-3.0, max_z=94, verbose=False, device="cpu")
        Potential(network, device="cpu").save(str(path))
    return path
