"""What a step asks of the parts of the model, and how it leaves them."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from torch import Tensor

from iavit.config import Config, ObjectiveConfig
from iavit.model.iavit import IAViT
from iavit.objective.paths import path_gradient, path_simulation
from iavit.objective.subsets import partial_logits
from iavit.training.finetune import freeze, rest_frozen
from iavit.training.task import Task

CLASSES, SIZE, BATCH = 5, 12, 7


@pytest.fixture
def model() -> IAViT:
    torch.manual_seed(0)
    create = IAViT.create("vit_digits", CLASSES, SIZE, drop_path=0.2)
    for parameter in create.parameters():
        torch.nn.init.normal_(parameter, std=0.4)
    return create.train()


def images() -> Tensor:
    return 3 * torch.randn(BATCH, 3, SIZE, SIZE, generator=torch.Generator().manual_seed(1))


def task(model: IAViT, objective: ObjectiveConfig, steps: int = 0) -> Task:
    """At step 0 of a run of so many; of a run of none, all terms have begun."""
    return Task(model, replace(Config(), objective=objective), steps)


def test_the_path_sample_is_of_the_first_images_and_of_the_class_chosen(model: IAViT) -> None:
    of = task(model.eval(), ObjectiveConfig(path_weight=1.0, path_share=0.4))
    _, tokens, _ = of._forward(images())
    chosen = torch.tensor([4, 0, 2])
    logits = 9 * torch.eye(CLASSES)[[4, 0, 2, 1, 1, 1, 1]]
    torch.manual_seed(2)
    path = of._path(images(), tokens, logits)
    assert path is not None
    torch.manual_seed(2)
    expected = path_gradient(model.predict, images()[:3], chosen, model.grid)
    torch.testing.assert_close(path.gradient, expected)
    every = model.contributions(images()[:3])  # (3, N, C)
    columns = torch.stack([every[0, :, 4], every[1, :, 0], every[2, :, 2]])
    torch.testing.assert_close(path.contributions, columns)


def test_the_path_term_moves_the_interpreter_and_what_it_reads(model: IAViT) -> None:
    of = task(model, ObjectiveConfig(path_weight=1.0, path_share=1.0))
    output, tokens, _ = of._forward(images())
    path = of._path(images(), tokens, output.logits)
    assert path is not None
    path_simulation(path.contributions, path.gradient).backward()
    moved = {name for name, p in model.named_parameters() if p.grad is not None and p.grad.any()}
    assert {"interpreter.query.weight", "interpreter.value.weight"} <= moved
    assert "extractor.backbone.blocks.0.mlp.fc1.weight" in moved
    assert not any(name.startswith("extractor.backbone.head") for name in moved)


def test_the_path_term_leaves_every_part_in_its_mode(model: IAViT) -> None:
    """A frozen backbone is in evaluation mode within a model that trains."""
    freeze(model, 0)
    rest_frozen(model)
    modes = [part.training for part in model.modules()]
    assert set(modes) == {True, False}
    of = task(model, ObjectiveConfig(path_weight=1.0))
    output, tokens, _ = of._forward(images())
    assert of._path(images(), tokens, output.logits) is not None
    assert [part.training for part in model.modules()] == modes


@pytest.mark.parametrize(
    ("steps", "objective"),
    [
        (1, ObjectiveConfig(path_weight=1.0)),  # at the beginning of a run
        (0, ObjectiveConfig(path_weight=0.0)),
        (0, ObjectiveConfig(path_weight=1.0, path_share=0.0)),
    ],
)
def test_no_path_where_none_is_asked_for(
    model: IAViT, steps: int, objective: ObjectiveConfig
) -> None:
    of = task(model, objective, steps)
    output, tokens, _ = of._forward(images())
    before = torch.get_rng_state()
    assert of._path(images(), tokens, output.logits) is None
    assert torch.equal(torch.get_rng_state(), before)


def test_copies_are_told_of_by_the_contributions_to_the_whole(model: IAViT) -> None:
    """Only where and when that is asked for; alone it is reason enough for copies."""
    _, _, masked = task(model, ObjectiveConfig(), steps=1)._forward(images())
    assert masked is None  # at the beginning of a run
    nothing = ObjectiveConfig(masked_weight=0.0, subset_weight=0.0)
    _, _, masked = task(model, nothing)._forward(images())
    assert masked is None
    of = task(model.eval(), replace(nothing, subset_simulation_weight=1.0))
    _, _, masked = of._forward(images())
    assert masked is not None
    assert len(masked.visible) == 4  # half of the batch, rounded
    expected = partial_logits(
        model.contributions(images()[:4]), model.interpreter.bias, masked.visible
    )
    torch.testing.assert_close(masked.partial_logits, expected)
    _, _, masked = task(model, ObjectiveConfig())._forward(images())
    assert masked is not None
    assert masked.partial_logits is None
