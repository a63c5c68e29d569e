"""What explainers with gradients share: chunks, a recorded pass, the target's logit."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from iavit.explain import recording as module
from iavit.explain.recording import images_at_once, in_chunks, on_grid, record, target_logits
from iavit.model.extractor import Extractor
from tests.explain.models import GRID, PREFIX, TARGETS, images, plain


def test_a_recorded_pass_says_what_the_model_says_and_can_be_differentiated() -> None:
    vit = plain()
    recording, logits = record(Extractor(vit), images())
    torch.testing.assert_close(logits, vit(images()))
    (gradient,) = torch.autograd.grad(logits.sum(), recording.entered[0])
    assert gradient.shape == recording.tokens.shape
    assert gradient.any()


@pytest.mark.parametrize(("tokens", "expected"), [(1, 1), (20, 2), (10**6, 10**6 // 9)])
def test_as_many_images_at_once_as_have_so_many_tokens(
    tokens: int, expected: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "TOKENS", tokens)
    assert PREFIX + GRID[0] * GRID[1] == 9
    assert images_at_once(Extractor(plain())) == expected


@pytest.mark.parametrize("switched_on", [False, True])
def test_chunks_are_leaves_with_their_own_targets_and_leave_no_gradient(
    switched_on: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "TOKENS", 20)  # two images of nine tokens
    chunks: list[tuple[int, list[int]]] = []

    def explain(chunk: Tensor, targets: Tensor) -> Tensor:
        assert chunk.is_leaf
        assert chunk.requires_grad
        chunks.append((len(chunk), targets.tolist()))
        return chunk.sum(dim=(1, 2, 3)) * targets

    with torch.set_grad_enabled(switched_on):
        found = in_chunks(Extractor(plain()), images(), TARGETS, explain)
    first, second, third = TARGETS.tolist()
    assert chunks == [(2, [first, second]), (1, [third])]
    assert not found.requires_grad
    torch.testing.assert_close(found, images().sum(dim=(1, 2, 3)) * TARGETS)


def test_target_logits_by_hand() -> None:
    logits = torch.tensor([[1.0, 2.0, 3.0], [4.0, 5.0, 6.0]])
    assert target_logits(logits, torch.tensor([2, 0])).tolist() == [3.0, 4.0]


def test_on_grid_leaves_out_the_prefix_and_goes_row_by_row() -> None:
    extractor = Extractor(plain())
    height, width = GRID
    tokens = torch.arange(PREFIX + height * width)[None]
    expected = [[PREFIX + row * width + column for column in range(width)] for row in range(height)]
    assert on_grid(extractor, tokens)[0].tolist() == expected
