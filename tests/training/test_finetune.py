"""What is frozen, who learns how fast, mixed images and averaged weights."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from iavit.config import RECIPES, Config, TrainingConfig
from iavit.errors import UserError
from iavit.model.iavit import IAViT
from iavit.objective.step import objective_terms
from iavit.training import task
from iavit.training.finetune import Mixing, freeze, parameter_groups, rest_frozen, seed
from iavit.training.run import train
from iavit.types import Batch
from tests.training.runs import same, stopped_in_step_five, weights

CLASSES = 10
EVERYTHING = {"mixup": 0.4, "cutmix": 1.0, "ema": 0.6, "layer_decay": 0.7, "freeze": True}
EVERYTHING |= {"unfreeze_last": 2}


def tuned(config: Config, **training: Any) -> Config:
    return replace(config, training=replace(config.training, **training))


def learning(model: IAViT) -> set[str]:
    """Names in the backbone, cut to the part: `blocks.1`, `norm`, `head`, ..."""
    names = [n for n, p in model.extractor.backbone.named_parameters() if p.requires_grad]
    return {".".join(n.split(".")[: 2 if n.startswith("blocks") else 1]) for n in names}


@pytest.mark.parametrize(
    ("last", "expected"),
    [
        (0, {"head"}),
        (1, {"head", "norm", "blocks.1"}),
        (2, {"head", "norm", "blocks.0", "blocks.1"}),
    ],
)
def test_only_the_last_blocks_and_what_follows_learn(last: int, expected: set[str]) -> None:
    model = IAViT.create("vit_digits", CLASSES)
    freeze(model, last)
    assert learning(model) == expected
    assert all(parameter.requires_grad for parameter in model.interpreter.parameters())


def test_more_blocks_than_there_are_cannot_be_unfrozen() -> None:
    with pytest.raises(UserError, match="`unfreeze_last` is 4; this backbone has 2 blocks"):
        freeze(IAViT.create("vit_digits", CLASSES), 4)


def test_frozen_parts_rest_and_the_others_train() -> None:
    model = IAViT.create("vit_digits", CLASSES, drop_path=0.5).train()
    freeze(model, 1)
    rest_frozen(model)
    vit = model.extractor.backbone
    assert not vit.patch_embed.backbone[1].training  # the stem's batch norm
    assert [block.mlp.training for block in vit.blocks] == [False, True]
    assert vit.blocks[1].drop_path1.training
    assert model.interpreter.training


def test_a_frozen_backbone_is_not_changed_by_training(tiny_config: Config, tmp_path: Path) -> None:
    train(tuned(tiny_config, freeze=True, unfreeze_last=1, steps=3), tmp_path / "run")
    torch.manual_seed(0)  # the run's seed
    before = IAViT.create("vit_digits", CLASSES, 32).state_dict()
    after = weights(tmp_path / "run")
    changed = {name for name in before if not torch.equal(before[name], after[name])}
    frozen = ("extractor.backbone." + part for part in ("patch_embed", "pos", "cls", "blocks.0"))
    assert changed
    assert not [name for name in changed if name.startswith(tuple(frozen))]
    assert any(name.startswith("extractor.backbone.blocks.1.") for name in changed)


def rates(model: IAViT, config: TrainingConfig) -> dict[str, tuple[float, float]]:
    """Parameter name to its learning rate and weight decay."""
    names = {id(parameter): name for name, parameter in model.named_parameters()}
    return {
        names[id(parameter)]: (group["lr"], group["weight_decay"])
        for group in parameter_groups(model, config)
        for parameter in group["params"]
    }


@pytest.mark.parametrize("layer_decay", [1.0, 0.5])
def test_a_block_learns_slower_than_the_next_one(layer_decay: float) -> None:
    model = IAViT.create("vit_digits", CLASSES)
    config = TrainingConfig(lr=0.1, weight_decay=0.05, layer_decay=layer_decay)
    given = rates(model, config)
    assert given.keys() == {name for name, _ in model.named_parameters()}
    vit = "extractor.backbone."
    distance = {"patch_embed.": 3, "pos_embed": 3, "cls_token": 3}
    distance |= {"blocks.0.": 2, "blocks.1.": 1, "norm.": 1, "head.": 0}
    for name, (rate, decay) in given.items():
        below = [d for part, d in distance.items() if name.startswith(vit + part)]
        assert rate == pytest.approx(0.1 * layer_decay ** (below[0] if below else 0)), name
        matrix = name.endswith(".weight") and dict(model.named_parameters())[name].ndim > 1
        assert decay == (0.05 if matrix else 0.0), name


@pytest.mark.parametrize(("layer_decay", "groups"), [(1.0, 2), (0.5, 10)])
def test_the_optimiser_has_no_more_groups_than_rates(layer_decay: float, groups: int) -> None:
    """Matrices and the rest; with layer decay of each of four depths, and of the interpreter."""
    model = IAViT.create("vit_digits", CLASSES)
    config = TrainingConfig(layer_decay=layer_decay)
    assert len(parameter_groups(model, config)) == groups


@pytest.mark.parametrize("layer_decay", [1.0, 0.5])
def test_frozen_parameters_are_in_no_group(layer_decay: float) -> None:
    model = IAViT.create("vit_digits", CLASSES)
    freeze(model, 1)
    given = rates(model, TrainingConfig(layer_decay=layer_decay))
    assert given.keys() == {name for name, p in model.named_parameters() if p.requires_grad}


def batch(count: int = 6) -> Batch:
    generator = torch.Generator().manual_seed(0)
    images = torch.randn(count, 3, 32, 32, generator=generator)
    return Batch(images, torch.arange(count))


@pytest.mark.parametrize("alphas", [(0.4, 0.0), (0.0, 1.0)])
def test_mixed_labels_are_the_shares_of_the_mixed_images(alphas: tuple[float, float]) -> None:
    given = batch()
    kept = given.images.clone()
    seed(0, 3)
    mixing = Mixing(TrainingConfig(mixup=alphas[0], cutmix=alphas[1]), CLASSES)
    images, labels = mixing(given)
    assert torch.equal(given.images, kept)
    assert labels.shape == (6, CLASSES)
    torch.testing.assert_close(labels.sum(dim=1), torch.ones(6))
    share = float(labels[0, 0])  # of image 0 in itself; the rest is image 5's
    assert 0 < share < 1
    assert float(labels[0, 5]) == pytest.approx(1 - share)
    if alphas[0]:
        expected = share * kept + (1 - share) * kept.flip(0)
        torch.testing.assert_close(images, expected)
    else:
        own = (images == kept).all(dim=1)  # (B, H, W), pixels that stayed
        assert torch.equal(own | (images == kept.flip(0)).all(dim=1), torch.ones_like(own))
        torch.testing.assert_close(own[0].float().mean(), torch.tensor(share))


def test_a_step_draws_the_same_mixture_again() -> None:
    mixing = Mixing(TrainingConfig(mixup=0.4, cutmix=1.0), CLASSES)
    drawn = []
    for number in (7, 8, 7):
        seed(1, number)
        drawn.append(mixing(batch())[0])
    assert torch.equal(drawn[0], drawn[2])
    assert not torch.equal(drawn[0], drawn[1])


def drawn(run: int, number: int) -> tuple[list[float], list[float]]:
    """What a step draws from torch and from numpy."""
    seed(run, number)
    return torch.rand(3).tolist(), np.random.rand(3).tolist()


def test_a_step_draws_by_the_number_and_by_the_runs_seed() -> None:
    of_torch, of_numpy = zip(
        *(drawn(run, number) for run in range(3) for number in range(3)), strict=True
    )
    for every in (of_torch, of_numpy):
        assert len({tuple(values) for values in every}) == 9
    assert drawn(2, 1) == drawn(2, 1)
    assert drawn(-1, 1) != drawn(1, 1)


def test_the_run_of_seed_0_draws_by_the_number_alone() -> None:
    torch.manual_seed(5)
    expected = torch.rand(3).tolist()
    assert drawn(0, 5)[0] == expected


def test_the_objective_is_asked_of_the_mixed_images_and_labels(
    tiny_config: Config, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    mixed: list[tuple[Tensor, Tensor]] = []
    asked: list[tuple[Tensor, Tensor]] = []
    mix = Mixing.__call__

    def mixing(self: Mixing, batch: Batch) -> tuple[Tensor, Tensor]:
        mixed.append(mix(self, batch))
        return mixed[-1]

    def noted(model: IAViT, images: Tensor, labels: Tensor | None, *rest: Any, **named: Any) -> Any:
        if labels is not None and labels.ndim == 2:
            asked.append((images, labels))
        return objective_terms(model, images, labels, *rest, **named)

    monkeypatch.setattr(Mixing, "__call__", mixing)
    monkeypatch.setattr(task, "objective_terms", noted)
    train(tuned(tiny_config, mixup=0.4, steps=2, validate_every=2), tmp_path / "run")
    assert len(mixed) == len(asked) == 2
    for (images, labels), (same_images, same_labels) in zip(mixed, asked, strict=True):
        assert torch.equal(images, same_images)
        assert torch.equal(labels, same_labels)


@pytest.mark.slow
def test_everything_together_is_repeatable_and_resumable(
    tiny_config: Config, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = tuned(tiny_config, **EVERYTHING)
    config = replace(
        config,
        model=replace(config.model, drop_path=0.3),
        objective=replace(config.objective, label_smoothing=0.1),
    )
    train(config, tmp_path / "whole")
    train(config, tmp_path / "again")
    stopped_in_step_five(config, tmp_path / "stopped", monkeypatch)
    train(config, tmp_path / "stopped", resume=True)
    assert same(weights(tmp_path / "whole"), weights(tmp_path / "again"))
    assert same(weights(tmp_path / "whole"), weights(tmp_path / "stopped"))
    metrics = [(tmp_path / name / "metrics.csv").read_text() for name in ("whole", "stopped")]
    assert metrics[0] == metrics[1]


def test_the_average_is_what_is_validated_and_saved(
    tiny_config: Config, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The average by its formula, over the weights after each step; the first step starts it."""
    config = tuned(tiny_config, ema=0.6, steps=3, validate_every=3)
    config = replace(config, objective=RECIPES["plain"])
    after: list[dict[str, Tensor]] = []
    ends = task.Task.on_train_batch_end

    def noted(self: task.Task, outputs: Any, batch: Batch, batch_idx: int) -> None:
        ends(self, outputs, batch, batch_idx)
        after.append({k: v.clone() for k, v in self.model.named_parameters()})

    monkeypatch.setattr(task.Task, "on_train_batch_end", noted)
    train(config, tmp_path / "run")
    saved = weights(tmp_path / "run")
    for name, first in after[0].items():
        expected = first.double()
        for later in after[1:]:
            expected = 0.6 * expected + 0.4 * later[name].double()
        torch.testing.assert_close(saved[name].double(), expected, rtol=0, atol=1e-6)
    last = torch.load(tmp_path / "run" / "checkpoints" / "last.ckpt", weights_only=True)
    current = last["current_model_state"]
    assert all(torch.equal(current[f"model.{k}"], v) for k, v in after[-1].items())


def test_mixing_needs_even_batches(tiny_config: Config, tmp_path: Path) -> None:
    odd = replace(tiny_config, data=replace(tiny_config.data, batch_size=15))
    with pytest.raises(UserError, match="a batch has 15; give an even `batch_size`"):
        train(tuned(odd, cutmix=1.0), tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_a_run_starts_from_a_file_of_weights(
    tiny_run: Path, tiny_config: Config, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    source = tiny_run / "model" / "model.safetensors"
    model = replace(tiny_config.model, weights=str(source))
    config = tuned(replace(tiny_config, model=model), freeze=True, steps=1)
    train(config, tmp_path / "run")
    vit = "extractor.backbone.blocks"
    before = {name: value for name, value in weights(tiny_run).items() if name.startswith(vit)}
    after = {n: v for n, v in weights(tmp_path / "run").items() if n.startswith(vit)}
    assert same(before, after)
    assert f"weights of {source}" in capsys.readouterr().out
