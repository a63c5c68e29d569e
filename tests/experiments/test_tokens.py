from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import Tensor

from iavit.data.images import InMemory
from iavit.data.transforms import Normalisation
from iavit.experiments import paper
from iavit.experiments.tokens import correlation, statistic, token_table, views
from iavit.model.backbones import create_backbone
from iavit.model.explainable import extractor_of
from iavit.model.extractor import Extractor
from iavit.model.iavit import IAViT
from tests.experiments.made import measured


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


def test_figures_of_the_statistic_by_their_words() -> None:
    """The head of its own is fitted to one class alone, and so says that of every image."""
    extractor = extractor_of(IAViT.create("vit_digits", 5, 32).eval())
    test, train = images(7), images(3)
    same = replace(train, labels=torch.full((3,), 4))
    found = statistic(extractor, same, test)
    both = views(extractor, test[range(7)].images)
    said, other = both.class_logits.argmax(dim=-1), both.patch_logits.argmax(dim=-1)

    def mean(values: Tensor) -> Any:
        return pytest.approx(float(values.double().mean()), abs=1e-6)

    assert found["agreement"]["mean"] == mean(said == other)
    assert found["own_head_agreement"]["mean"] == mean(said == 4)
    assert found["own_head_accuracy"]["mean"] == mean(test[range(7)].labels == 4)
    assert found["correlation"]["mean"] == mean(correlation(both.class_maps, both.patch_maps))
    next_one = both.class_maps[[6, 0, 1, 2, 3, 4, 5]]
    assert found["chance_correlation"]["mean"] == mean(correlation(next_one, both.patch_maps))
    assert found["images"] == 7


def test_a_head_of_its_own_learns_what_patch_tokens_tell() -> None:
    extractor = extractor_of(IAViT.create("vit_digits", 2, 32).eval())
    pixels = torch.zeros(12, 3, 32, 32, dtype=torch.uint8)
    pixels[::2] = 255
    split = InMemory(pixels, torch.arange(12) % 2, Normalisation())
    assert statistic(extractor, split, split)["own_head_accuracy"]["mean"] == 1.0


def test_the_table_of_the_statistic_over_seeds() -> None:
    keys = ("agreement", "divergence", "own_head_agreement", "own_head_accuracy", "correlation",
            "chance_correlation")  # fmt: skip
    seeds = [
        {key: {"mean": (at + seed) / 8, "low": None, "high": None} for at, key in enumerate(keys)}
        for seed in (0, 1)
    ]
    table = token_table({"plain": seeds})
    (row,) = table.rows.values()
    assert list(table.rows) == ["plain ViT: cross-entropy only"]
    assert {key: kind for key, (_, kind) in table.columns.items()} == {
        "agreement": "percent", "divergence": "number", "own_head_agreement": "percent",
        "own_head_accuracy": "percent", "correlation": "number", "chance_correlation": "number",
    }  # fmt: skip
    means = [estimate.mean for key in keys if (estimate := row[key]) is not None]
    assert means == pytest.approx([(at + 0.5) / 8 for at in range(6)])


def test_the_statistic_is_counted_once_a_run_and_kept_beside_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    counted: list[tuple[object, object, int]] = []

    def count(model: object, train: object, test: InMemory) -> dict[str, float]:
        counted.append((model, train, len(test)))
        return {"same class": 0.25}

    splits = SimpleNamespace(train="the training images", test=images(23))
    done = SimpleNamespace(saved=SimpleNamespace(model="the model"))
    monkeypatch.setattr(paper, "statistic", count)
    monkeypatch.setattr(paper, "extractor_of", lambda model: model)
    monkeypatch.setattr(paper, "load_dataset", lambda config: splits)
    monkeypatch.setattr(paper, "load_done", lambda folder, run: done)
    runs = [measured(name, 0, 0.25, 9) for name in ("plain", "iavit", "iavit_masked")]
    places = [tmp_path / "runs" / f"digits-{name}-0" for name in ("plain", "iavit")]
    for place in places:
        place.mkdir(parents=True)
    (places[1] / "tokens.json").write_text('{"same class": 0.5}')
    expected = {"plain": [{"same class": 0.25}], "iavit": [{"same class": 0.5}]}
    assert paper._tokens(tmp_path, runs) == expected
    assert json.loads((places[0] / "tokens.json").read_text()) == {"same class": 0.25}
    assert paper._tokens(tmp_path, runs) == expected
    assert counted == [("the model", "the training images", 10)]  # as many as were audited
