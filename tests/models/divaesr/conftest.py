from __future__ import annotations

import pytest
import torch
from images import graphene, mos2, oblique, tin_sulfide

from models.divaesr.bank import CrystalBank
from models.divaesr.configuration import Configuration
from models.divaesr.crystals import bank_of
from models.divaesr.mixture import Mixture

TINY = Configuration(widths=(8, 8, 8, 8), blocks=1, latent=4, spectral_width=4, gate_width=4)


@pytest.fixture
def tiny() -> Configuration:
    """Like the shipped configuration, but quick."""
    return TINY


@pytest.fixture
def mixture() -> Mixture:
    """Not trained, but not at its start either, so that experts differ and do something."""
    torch.manual_seed(0)
    network = Mixture(TINY)
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.add_(0.05 * torch.randn_like(parameter))
    return network.eval()


@pytest.fixture(scope="session")
def bank() -> CrystalBank:
    return bank_of([mos2(), graphene(), tin_sulfide(), oblique()], random=40, seed=1)
