from __future__ import annotations

import pytest
import torch
from torch import nn

from models.divaesr.configuration import PATTERNS, Configuration
from models.divaesr.gate import BasicBlock, Gate


@pytest.mark.parametrize("shape", [(8, 8), (31, 45), (200, 64)])
def test_any_size_gives_one_opinion_for_each_image(tiny: Configuration, shape: tuple[int, int]) -> None:
    opinion = Gate(tiny).eval()(torch.randn(3, 1, *shape), torch.ones(3, 1, *shape))
    assert opinion.experts.shape == (3, len(tiny.kinds))
    assert opinion.level.shape == (3,)
    assert opinion.patterns.shape == (3, len(PATTERNS))


def test_the_topology_is_that_of_resnet_18(tiny: Configuration) -> None:
    body = Gate(tiny).body
    assert sum(isinstance(layer, BasicBlock) for layer in body.modules()) == 8
    # 17 convolutions and the last linear layer, shortcuts aside.
    assert sum(isinstance(layer, nn.Conv2d) and layer.kernel_size != (1, 1) for layer in body.modules()) == 17


def test_background_and_masked_pixels_tell_nothing(tiny: Configuration) -> None:
    torch.manual_seed(1)
    gate, image, mask = Gate(tiny).eval(), torch.randn(1, 1, 96, 96), torch.ones(1, 1, 96, 96)
    with torch.no_grad():
        plain = gate(image, mask)
        shifted = gate(image + 50, mask)
        other = gate(image * 3, mask)
        unseen = [gate(seen, torch.zeros_like(mask)) for seen in (image, 3 * image)]
    torch.testing.assert_close(shifted.experts, plain.experts, atol=1e-3, rtol=1e-3)
    assert float((other.experts - plain.experts).abs().max()) > 1e-2  # what is fine does tell
    torch.testing.assert_close(unseen[0].experts, unseen[1].experts, atol=0, rtol=0)


def test_opinions_repeat_themselves_in_evaluation(tiny: Configuration) -> None:
    gate, image = Gate(tiny).eval(), torch.randn(2, 1, 40, 40)
    one, other = (gate(image, torch.ones_like(image)) for _ in range(2))
    torch.testing.assert_close(one.experts, other.experts, atol=0, rtol=0)
    torch.testing.assert_close(one.level, other.level, atol=0, rtol=0)
