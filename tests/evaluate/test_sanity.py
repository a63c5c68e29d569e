from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor, nn

from iavit.evaluate.sanity import randomisation, randomised, similarities, spearman
from iavit.explain import EXPLAINERS
from iavit.model.iavit import IAViT
from iavit.types import Batch, Explanation
from tests.reference import evaluate as twin


@pytest.fixture(scope="module")
def model() -> IAViT:
    torch.manual_seed(0)
    return IAViT.create("vit_digits", num_classes=10, img_size=28).eval()


@pytest.fixture(scope="module")
def batch() -> Batch:
    return Batch(torch.randn(3, 3, 28, 28), torch.tensor([1, 2, 3]))


def test_spearman_by_hand_and_by_the_twin() -> None:
    # ranks 1, 2, 3 and 1, 3, 2: (1 * 1 + 0 - 0) / 2 = 1/2
    a = torch.tensor([[1.0, 5.0, 9.0], [1.0, 5.0, 9.0], [1.0, 5.0, 9.0], [2.0, 2.0, 2.0]])
    b = torch.tensor([[0.1, 0.3, 0.2], [2.0, 4.0, 6.0], [3.0, 2.0, 1.0], [1.0, 2.0, 3.0]])
    found = spearman(a, b).tolist()
    assert found[:3] == pytest.approx([0.5, 1.0, -1.0])
    assert math.isnan(found[3])
    ties = torch.randint(5, (2, 7, 31), generator=torch.Generator().manual_seed(0)).double()
    expected = [twin.rank_correlation(x.tolist(), y.tolist()) for x, y in zip(*ties, strict=True)]
    assert spearman(*ties).tolist() == pytest.approx(expected)


def test_the_model_forgets_from_the_head_down_and_wholly(model: IAViT) -> None:
    before = {name: value.clone() for name, value in model.state_dict().items()}
    changed: set[str] = set()
    order = []
    for stage, copy in randomised(model):
        now = {
            name for name, value in copy.named_parameters() if not torch.equal(value, before[name])
        }
        assert changed < now, stage  # what is forgotten stays forgotten
        order.append((stage, {name.split(".")[0] for name in now - changed}, now - changed))
        changed = now
        for name, value in copy.named_parameters():
            assert torch.equal(value.flatten().sort().values, before[name].flatten().sort().values)
    blocks = len(model.extractor.backbone.blocks)
    downwards = [f"block {number}" for number in reversed(range(blocks))]
    assert [stage for stage, _, _ in order] == ["head", *downwards, "embedding"]
    assert order[0][1] == {"extractor", "interpreter"}
    assert not any(".blocks." in name for name in order[0][2])
    assert any(".head." in name for name in order[0][2])
    for stage, _, names in order[1:-1]:
        assert all(f".blocks.{stage.split()[1]}." in name for name in names)
    assert any("patch_embed" in name for name in order[-1][2])
    constant = {n for n, p in model.named_parameters() if (p == p.flatten()[0]).all()}
    assert changed | constant == {name for name, _ in model.named_parameters()}


def test_the_model_is_as_it_was_found(model: IAViT, batch: Batch) -> None:
    before = {name: value.clone() for name, value in model.state_dict().items()}
    explanation = EXPLAINERS["rollout"](model, batch.images, batch.labels)

    def broken(model: nn.Module, images: Tensor, targets: Tensor) -> Explanation:
        raise RuntimeError("broken")

    with torch.no_grad():
        randomisation(model, batch, explanation, explain=EXPLAINERS["rollout"])
    with pytest.raises(RuntimeError, match="broken"):
        randomisation(model, batch, explanation, explain=broken)
    for name, value in model.state_dict().items():
        assert torch.equal(value, before[name])
    assert not any(part.training for part in model.modules())


def test_a_map_that_ignores_the_weights_is_found_out(model: IAViT, batch: Batch) -> None:
    def edges(model: nn.Module, images: Tensor, targets: Tensor) -> Explanation:
        return Explanation(images.std(dim=1), targets, "edges")

    explanation = edges(model, batch.images, batch.labels)
    score = randomisation(model, batch, explanation, explain=edges)
    assert score.tolist() == pytest.approx([1.0, 1.0, 1.0])


def test_a_map_is_the_same_until_what_it_reads_is_forgotten(model: IAViT, batch: Batch) -> None:
    """Rollout reads the attention of every block; the head and the last values are not in it."""
    explain = EXPLAINERS["rollout"]
    with torch.no_grad():
        explanation = explain(model, batch.images, batch.labels)
        found = similarities(model, batch, explanation, explain=explain)
        mean = randomisation(model, batch, explanation, explain=explain)
    assert found["head"].tolist() == pytest.approx([1.0, 1.0, 1.0])
    stages = list(found.values())
    assert (stages[1] < 0.999).all()
    assert stages[-1].abs().max() < 0.9
    by_hand = sum(stages) / len(stages)
    assert mean.tolist() == pytest.approx(by_hand.tolist(), rel=1e-5)  # type: ignore[union-attr]


def test_a_plain_transformer_forgets_too(model: IAViT) -> None:
    stages = [stage for stage, _ in randomised(model.extractor.backbone)]
    assert stages == [stage for stage, _ in randomised(model)]
