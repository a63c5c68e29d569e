"""Ours beside other people's packages, on the same model, images and maps."""

from __future__ import annotations

import importlib
import warnings
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from functools import partial
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from iavit.evaluate.faithfulness import road
from iavit.evaluate.localisation import relevance_rank_accuracy
from iavit.evaluate.protocols import PROTOCOLS, curve, protocol_values
from iavit.evaluate.sparsity import sparsity
from iavit.masking.substrates import SUBSTRATES, Imputation, linear
from iavit.model.iavit import IAViT
from iavit.types import Batch, Explanation


def peer(name: str) -> Any:
    """Another package, or the test is skipped; what it warns of at import is not ours."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return pytest.importorskip(name)


@pytest.fixture(scope="module")
def vit() -> nn.Module:
    """A plain timm transformer, as all of them take: images (B, 3, 32, 32) to logits (B, 10)."""
    torch.manual_seed(0)
    backbone = IAViT.create("vit_digits", num_classes=10, img_size=32).eval().extractor.backbone
    nn.init.normal_(backbone.head.weight, std=1.0)
    return backbone


@pytest.fixture(scope="module")
def batch() -> Batch:
    return Batch(torch.randn(3, 3, 32, 32), torch.tensor([1, 2, 3]))


@pytest.fixture(scope="module")
def predicted(vit: nn.Module, batch: Batch) -> Tensor:
    with torch.no_grad():
        classes: Tensor = vit(batch.images).argmax(dim=-1)
    return classes


class Given:
    """Maps that are there already, as torchcam asks for them."""

    def __init__(self, model: nn.Module, maps: Tensor) -> None:
        self.model, self.maps = model, maps

    def __call__(self, *asked: object) -> list[Tensor]:
        return [self.maps]

    def fuse_cams(self, cams: list[Tensor]) -> Tensor:
        return cams[0]

    def _hooks_off(self) -> AbstractContextManager[None]:
        return nullcontext()


def test_torchcam(vit: nn.Module, batch: Batch, predicted: Tensor) -> None:
    peer("torchcam")
    metrics = importlib.import_module("torchcam.metrics")
    # No two pixels alike: which of them goes first would be left to the sort.
    height, width = batch.images.shape[-2:]
    maps = torch.stack([torch.randperm(height * width) for _ in range(3)]).float()
    maps = maps.view(3, height, width) / (height * width)
    found = protocol_values(
        vit, batch, Explanation(maps, predicted, "test"), PROTOCOLS["torchcam"], predicted
    )
    for i in range(3):  # one by one, as it only tells the mean
        theirs = metrics.DeletionInsertionMetric(
            Given(vit, maps[i : i + 1]), partial(torch.softmax, dim=-1)
        )
        theirs.update(batch.images[i : i + 1])
        told = theirs.summary()
        for measure in ("deletion", "insertion"):
            ours = float(found[measure][i])
            assert ours == pytest.approx(told[f"{measure}_auc"], abs=1e-5)


@pytest.fixture
def quantus(monkeypatch: pytest.MonkeyPatch) -> Any:
    # Quantus 0.6.0 calls a name that numpy 2.4 no longer has.
    monkeypatch.setattr(np, "trapz", np.trapezoid, raising=False)
    return peer("quantus")


def asked_of_quantus(metric: Any, vit: nn.Module, batch: Batch, maps: Tensor) -> np.ndarray:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        told = metric(
            model=vit,
            x_batch=batch.images.numpy(),
            y_batch=batch.labels.numpy(),
            a_batch=maps[:, None].numpy(),
            device="cpu",
        )
    return np.array(told)


def test_quantus_pixel_flipping(quantus: Any) -> None:
    """Its features are numbers, three a pixel, and a step has to divide height times width.

    So it takes whole pixels only where that is a multiple of three, as 24 x 24 is.
    """
    vit = IAViT.create("vit_digits", num_classes=10, img_size=24).eval().extractor.backbone
    nn.init.normal_(vit.head.weight, std=1.0)
    batch = Batch(torch.randn(3, 3, 24, 24), torch.tensor([1, 2, 3]))
    explanation = Explanation(torch.rand(3, 24, 24), batch.labels, "test")
    maps = explanation.maps
    theirs: Callable[..., Any] = partial(
        quantus.PixelFlipping, features_in_step=3 * 24, disable_warnings=True
    )
    measure = PROTOCOLS["quantus"].measures["pixel_flipping"]
    fractions, values = curve(vit, batch, explanation, measure, batch.labels)
    assert np.allclose(values, asked_of_quantus(theirs(), vit, batch, maps), atol=1e-5)
    assert fractions.tolist() == pytest.approx([(row + 1) / 24 for row in range(24)])
    found = protocol_values(vit, batch, explanation, PROTOCOLS["quantus"], batch.labels)
    areas = asked_of_quantus(theirs(return_auc_per_sample=True), vit, batch, maps)
    assert np.allclose(found["pixel_flipping"], areas, atol=1e-4)  # up to 23 in size


def test_quantus_region_perturbation(quantus: Any, vit: nn.Module, batch: Batch) -> None:
    maps = torch.rand(3, 32, 32)
    explanation = Explanation(maps, batch.labels, "test")
    measure = PROTOCOLS["quantus"].measures["region_perturbation"]
    _, values = curve(vit, batch, explanation, measure, batch.labels)
    theirs = quantus.RegionPerturbation(disable_warnings=True)
    assert np.allclose(values, asked_of_quantus(theirs, vit, batch, maps), atol=1e-5)
    found = protocol_values(vit, batch, explanation, PROTOCOLS["quantus"], batch.labels)
    mean = float(found["region_perturbation"].mean())
    assert mean == pytest.approx(float(theirs.get_auc_score), abs=1e-5)


def test_quantus_sparseness(quantus: Any, vit: nn.Module, batch: Batch) -> None:
    """Of maps on the patch grid: ours averages a map in pixels to it, theirs takes the pixels."""
    maps = torch.randn(3, 8, 8)
    explanation = Explanation(maps, batch.labels, "test")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        theirs = quantus.Sparseness(abs=True, disable_warnings=True).evaluate_batch(
            x_batch=None, a_batch=maps.abs().double().numpy()
        )
    assert np.allclose(sparsity(vit, batch, explanation), theirs, atol=1e-5)


def test_quantus_relevance_rank_accuracy(quantus: Any, vit: nn.Module, batch: Batch) -> None:
    maps = torch.rand(3, 32, 32)
    evidence = torch.rand(3, 32, 32) < 0.2
    marked = Batch(batch.images, batch.labels, evidence=evidence)
    ours = relevance_rank_accuracy(vit, marked, Explanation(maps, batch.labels, "test"))
    theirs = quantus.RelevanceRankAccuracy(disable_warnings=True).evaluate_batch(
        a_batch=maps.numpy(), s_batch=evidence.numpy()
    )
    assert np.allclose(ours, theirs, atol=1e-5)


def test_grad_cams_road(
    vit: nn.Module, batch: Batch, predicted: Tensor, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without the noise, which both draw; theirs is half of ours, and counts pixels.

    It removes what is above a percentile of the map's pixels, so that the patches removed can be
    one more than ours; the percentiles here lie between two patches.
    """
    peer("pytorch_grad_cam")
    theirs = importlib.import_module("pytorch_grad_cam.metrics.road")
    parts = importlib.import_module("pytorch_grad_cam.metrics.perturbation_confidence")
    maps = torch.stack([torch.randperm(64).view(8, 8) / 64 for _ in range(3)])
    pixels = maps.repeat_interleave(4, dim=1).repeat_interleave(4, dim=2).numpy()
    fractions = (0.25, 0.5, 0.75)
    monkeypatch.setitem(SUBSTRATES, "linear", Imputation(partial(linear, magnitude=0.0)))
    ours = road(vit, batch, Explanation(maps, predicted, "test"), percentiles=fractions)

    def scores(remove: Any, fraction: float) -> np.ndarray:
        kept = 64 - round(64 * fraction)  # patches of 16 pixels
        percentile = 100 * (16 * kept - 0.5) / 1023
        metric = parts.PerturbationConfidenceMetric(
            remove(percentile, theirs.NoisyLinearImputer(noise=0.0))
        )
        classes = [lambda logits, at=at: logits.softmax(dim=-1)[at] for at in predicted]
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            told: np.ndarray = metric(batch.images, pixels, classes, vit, return_diff=False)
        return told

    gaps = [
        scores(parts.RemoveLeastRelevantFirst, fraction)
        - scores(parts.RemoveMostRelevantFirst, fraction)
        for fraction in fractions
    ]
    assert np.allclose(ours, np.mean(gaps, axis=0), atol=1e-5)
