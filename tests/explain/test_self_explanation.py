"""What the model says of itself: the interpreter's attention and its contributions."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from iavit.explain import EXPLAINERS
from iavit.model.iavit import IAViT
from tests.explain.models import PREFIX, TARGETS, images, joined, on_grid
from tests.reference import interpreter as interpreter_twin


@pytest.fixture(scope="module")
def model() -> IAViT:
    return joined()


def patch_tokens(model: IAViT) -> Tensor:
    tokens: Tensor = model.extractor.backbone.forward_features(images())
    return tokens[:, PREFIX:]


def test_interpreter_is_its_attention(model: IAViT) -> None:
    parameters = model.interpreter.state_dict()
    expected = torch.stack([interpreter_twin.received(parameters, z) for z in patch_tokens(model)])
    explanation = EXPLAINERS["interpreter"](model, images(), TARGETS)
    assert (explanation.method, explanation.signed) == ("interpreter", False)
    torch.testing.assert_close(explanation.maps, on_grid(expected))


def test_contributions_are_those_to_the_target(model: IAViT) -> None:
    parameters = model.interpreter.state_dict()
    expected = torch.stack(
        [
            interpreter_twin.mean_contributions(parameters, z)[:, target]
            for z, target in zip(patch_tokens(model), TARGETS.tolist(), strict=True)
        ]
    )
    explanation = EXPLAINERS["contributions"](model, images(), TARGETS)
    assert explanation.signed
    torch.testing.assert_close(explanation.maps, on_grid(expected))


def test_contributions_and_bias_add_up_to_the_targets_logit(model: IAViT) -> None:
    maps = EXPLAINERS["contributions"](model, images(), TARGETS).maps
    logits = model(images()).interpreter_logits
    expected = logits.gather(1, TARGETS[:, None])[:, 0] - model.interpreter.bias[TARGETS]
    torch.testing.assert_close(maps.sum(dim=(1, 2)), expected)


def test_contributions_with_a_head_by_position_are_those_to_the_target() -> None:
    model = joined("positional")
    every_class = model.contributions(images())  # (B, N, C), which has its twin elsewhere
    expected = torch.stack([every_class[i, :, t] for i, t in enumerate(TARGETS.tolist())])
    maps = EXPLAINERS["contributions"](model, images(), TARGETS).maps
    torch.testing.assert_close(maps, on_grid(expected))
