from __future__ import annotations

import pytest
import torch

from models.divaesr.mixture import Mixture, top_weights

LOGITS = torch.tensor([[0.1, 2.0, -1.0, 1.5], [3.0, 0.0, 0.5, -2.0]])


def images(batch: int = 3) -> tuple[torch.Tensor, torch.Tensor]:
    image = torch.randn((batch, 1, 32, 40), generator=torch.Generator().manual_seed(8))
    return image, torch.ones_like(image)


@pytest.mark.parametrize("top", [1, 2, 3, 4])
def test_weights_of_the_best_sum_to_one(top: int) -> None:
    weights = top_weights(LOGITS, top)
    torch.testing.assert_close(weights.sum(dim=1), torch.ones(2))
    assert (weights > 0).sum(dim=1).tolist() == [top, top]
    assert weights.argmax(dim=1).tolist() == [1, 0]


def test_the_best_two_keep_their_ratio() -> None:
    weights = top_weights(LOGITS, 2)
    assert float(weights[0, 1] / weights[0, 3]) == pytest.approx(float(torch.tensor(0.5).exp()), rel=1e-5)
    torch.testing.assert_close(top_weights(LOGITS, 4), LOGITS.softmax(dim=1))


def test_experts_of_the_same_logit_are_still_so_many() -> None:
    assert (top_weights(torch.zeros(1, 4), 2) > 0).sum() == 2


@pytest.mark.parametrize("top", [0, 5, -1])
def test_a_number_of_experts_that_cannot_be_is_refused(top: int) -> None:
    with pytest.raises(ValueError, match="must lie between 1 and the number of experts, 4"):
        top_weights(LOGITS, top)


@pytest.mark.parametrize("top", [2, 4])
def test_the_answer_is_the_weighted_sum_of_those_asked(mixture: Mixture, top: int) -> None:
    image, mask = images()
    with torch.no_grad():
        mixed = mixture(image, mask, top)
        answers = torch.stack([expert(image, mask)[0] for expert in mixture.experts], dim=1)
    expected = (answers * mixed.weights[:, :, None, None, None]).sum(dim=1)
    torch.testing.assert_close(mixed.image, expected, atol=1e-5, rtol=0)
    assert float(answers.std(dim=1).max()) > 1e-2  # the experts do differ


def test_the_best_alone_is_that_expert(mixture: Mixture) -> None:
    image, mask = images()
    with torch.no_grad():
        mixed = mixture(image, mask, 1)
        for row, best in enumerate(mixed.opinion.experts.argmax(dim=1).tolist()):
            answer, _ = mixture.experts[best](image[row : row + 1], mask[row : row + 1])
            torch.testing.assert_close(mixed.image[row : row + 1], answer, atol=1e-5, rtol=0)


def test_as_many_experts_as_configured_are_asked(mixture: Mixture) -> None:
    mixed = mixture(*images(1))
    assert int((mixed.weights > 0).sum()) == mixture.configuration.top == 2
    assert len(mixed.latents) == 2


def test_the_gate_learns_from_the_image(mixture: Mixture) -> None:
    mixture(*images()).image.square().sum().backward()
    head = mixture.gate.head.weight.grad
    assert head is not None
    assert float(head[:4].abs().max()) > 0
