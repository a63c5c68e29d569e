"""What options of training do to the weights of one step, or two, by value."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from lightning import seed_everything
from torch import Tensor

from iavit.config import RECIPES, Config
from iavit.data.datasets import load_dataset
from iavit.training.run import create_model, train

LR = 0.01


@pytest.fixture
def plain(tiny_config: Config) -> Config:
    """One step of SGD on the labels, at the full learning rate, with nothing beside it."""
    training = replace(
        tiny_config.training,
        steps=1,
        validate_every=1,
        log_every=1,
        optimizer="sgd",
        lr=LR,
        warmup=0.0,
        weight_decay=0.0,
        momentum=0.0,
        clip=0.0,
    )
    return replace(tiny_config, objective=RECIPES["plain"], training=training)


def before(config: Config) -> dict[str, Tensor]:
    seed_everything(config.training.seed, verbose=False)
    model = create_model(config, len(load_dataset(config).classes))
    return {name: value.detach().clone() for name, value in model.named_parameters()}


def after(config: Config, folder: Path, **changes: object) -> dict[str, Tensor]:
    training = replace(config.training, **changes)  # type: ignore[arg-type]
    model = train(replace(config, training=training), folder).saved.model
    return {name: value.detach() for name, value in model.named_parameters()}


def test_clip_is_the_largest_norm_of_a_step(plain: Config, tmp_path: Path) -> None:
    start = before(plain)

    def moved(name: str, clip: float) -> float:
        end = after(plain, tmp_path / name, clip=clip)
        return float(torch.stack([(end[n] - start[n]).norm() for n in start]).norm())

    whole = moved("none", 0.0) / LR
    assert whole > 0.1
    assert moved("small", 0.05) / LR == pytest.approx(0.05, rel=1e-3)
    assert moved("large", 2 * whole) / LR == pytest.approx(whole, rel=1e-4)


def test_momentum_adds_its_share_of_the_step_before(plain: Config, tmp_path: Path) -> None:
    """The second step is at half the rate, on the same gradient whatever the momentum."""
    start = before(plain)
    first = after(plain, tmp_path / "first")
    two = {"steps": 2, "validate_every": 2}
    without = after(plain, tmp_path / "without", **two)
    given = after(plain, tmp_path / "given", **two, momentum=0.75)
    for name in start:
        expected = 0.5 * 0.75 * (first[name] - start[name])
        torch.testing.assert_close(given[name] - without[name], expected, rtol=1e-3, atol=1e-6)
    assert not torch.equal(
        given["extractor.backbone.head.weight"], without["extractor.backbone.head.weight"]
    )


def test_weight_decay_draws_matrices_towards_nothing(plain: Config, tmp_path: Path) -> None:
    start = before(plain)
    without = after(plain, tmp_path / "without", optimizer="adamw")
    given = after(plain, tmp_path / "given", optimizer="adamw", weight_decay=0.5)
    spared = {"pos_embed", "cls_token"}
    for name in start:
        learns = name.startswith("extractor.")
        decays = learns and start[name].ndim > 1 and name.rsplit(".")[-1] not in spared
        expected = -LR * 0.5 * start[name] if decays else torch.zeros_like(start[name])
        torch.testing.assert_close(given[name] - without[name], expected, rtol=1e-3, atol=1e-6)


def test_half_precision_is_close_and_not_the_same(plain: Config, tmp_path: Path) -> None:
    name = "extractor.backbone.head.weight"
    whole = after(plain, tmp_path / "whole")[name]
    half = after(plain, tmp_path / "half", precision="bf16")[name]
    assert not torch.equal(whole, half)
    torch.testing.assert_close(half, whole, rtol=0.0, atol=1e-3)
