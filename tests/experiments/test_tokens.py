from __future__ import annotations

import pytest
import torch
from torch import Tensor

from iavit.data.images import InMemory
from iavit.data.transforms import Normalisation
from iavit.experiments.tokens import correlation, statistic, views
from iavit.model.backbones import create_backbone
from iavit.model.explainable import extractor_of
from iavit.model.extractor import Extractor
from iavit.model.iavit import IAViT


def images(count: int) -> InMemory:
    generator = torch.Generator().manual_seed(1)
    pixels = torch.randint(256, (count, 3, 32, 32), generator=generator, dtype=torch.uint8)
    labels = torch.randint(5, (count,), generator=generator)
    return InMemory(pixels, labels, Normalisation((0.5,) * 3, (0.2,) * 3))


def test_both_readings_by_their_words() -> None:
    extractor = extractor_of(IAViT.create("vit_digits", 5, 32).eval())
    batch = images(3)[range(3)].images
    found = views(extractor, batch)
    tokens = extractor.tokens(batch)
    head = extractor.backbone.head
    assert torch.allclose(found.class_logits, head(tokens[:, 0]), atol=1e-6)
    assert torch.allclose(found.patch_logits, head(tokens[:, 1:].mean(dim=1)), atol=1e-6)
    last: Tensor = extractor.attention_maps(batch)[-1]  # (B, heads, T, T)
    for image in range(3):
        own = torch.stack([last[image, h, 0, 1:] for h in range(4)]).mean(dim=0)
        others = torch.stack([last[image, h, q, 1:] for h in range(4) for q in range(1, 65)]).mean(
            dim=0
        )
        assert torch.allclose(found.class_maps[image].flatten(), own / own.sum(), atol=1e-6)
        assert torch.allclose(found.patch_maps[image].flatten(), others / others.sum(), atol=1e-6)
    # The two maps that a figure of the notebooks shows as one are different rows.
    assert not torch.allclose(found.class_maps, found.patch_maps, atol=1e-4)


def test_correlation_by_hand() -> None:
    a = torch.tensor([[[0.0, 1.0, 2.0]], [[0.0, 1.0, 2.0]], [[1.0, 1.0, 1.0]]])
    b = torch.tensor([[[1.0, 3.0, 5.0]], [[2.0, 0.0, 1.0]], [[0.0, 1.0, 2.0]]])
    found = correlation(a, b)
    assert found[:2].tolist() == pytest.approx([1.0, -0.5])
    assert found[2].isnan()


def test_a_head_that_reads_both_alike_agrees_with_itself() -> None:
    extractor = extractor_of(IAViT.create("vit_digits", 5, 32).eval())
    torch.nn.init.zeros_(extractor.backbone.head.weight)  # says the same of every token
    found = statistic(extractor, images(23), images(11))
    assert found["images"] == 11
    assert found["agreement"]["mean"] == 1.0
    assert found["divergence"]["mean"] == pytest.approx(0.0, abs=1e-6)
    assert -1 <= found["correlation"]["mean"] <= 1
    assert 0 <= found["own_head_accuracy"]["mean"] <= 1


def test_without_a_class_token_there_is_nothing_to_compare() -> None:
    backbone = create_backbone("vit_digits", num_classes=5, img_size=32)
    backbone.global_pool = "avg"
    with pytest.raises(ValueError, match="no class token"):
        views(Extractor(backbone), images(1)[[0]].images)
