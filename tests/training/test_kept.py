"""A predictor that is kept: its weights have to be all there."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import Tensor

from iavit.config import Config, ModelConfig, ObjectiveConfig
from iavit.errors import UserError
from iavit.model.checkpoints import Loaded
from iavit.model.iavit import IAViT
from iavit.training import kept
from iavit.training.kept import (
    TRIED,
    _few,
    beside_file,
    check_answers,
    check_complete,
    check_published,
    class_names,
)


def loaded(*new: str, resampled: tuple[str, ...] = ()) -> Loaded:
    return Loaded(Path("vit.pth"), new, (), resampled)


def test_parts_of_the_interpreter_may_be_new() -> None:
    check_complete(loaded("interpreter.head.weight", "branch.blocks.0.norm.weight"))


def test_a_part_of_the_predictor_that_a_file_lacks_is_named() -> None:
    with pytest.raises(UserError) as refused:
        check_complete(loaded("interpreter.key", "extractor.backbone.head.weight"))
    line = str(refused.value)
    assert line.startswith(
        "`weights` vit.pth has nothing that fits extractor.backbone.head.weight: "
    )
    assert "\n" not in line


def test_a_part_that_would_have_to_be_resampled_is_named() -> None:
    with pytest.raises(UserError, match=r"pos_embed would have to be resampled, .* set `img_size`"):
        check_complete(loaded(resampled=("pos_embed",)))


@pytest.mark.parametrize(
    ("backbone", "found"),
    [("vit_small_patch16_224", "has one of 1000"), ("vit_digits", "has none")],
)
def test_a_published_head_of_other_classes_is_refused(backbone: str, found: str) -> None:
    with pytest.raises(UserError, match=f"the data set has 37 classes, .* {backbone} {found}"):
        check_published(ModelConfig(backbone, pretrained=True), 37)


def test_published_weights_are_taken_at_their_own_size() -> None:
    check_published(ModelConfig("vit_small_patch16_224", pretrained=True), 1000)
    with pytest.raises(UserError, match=r"`img_size` is 96, .* was published for 224 pixels"):
        check_published(ModelConfig("vit_small_patch16_224", img_size=96, pretrained=True), 1000)


def settings(steps: int = 0, **model: object) -> Config:
    config = Config(model=ModelConfig("vit_small_patch16_224", **model))  # type: ignore[arg-type]
    return replace(config, training=replace(config.training, steps=steps))


def test_classes_are_the_data_sets_and_else_the_predictors_own() -> None:
    assert class_names(settings(steps=3), ("cat", "dog")) == ("cat", "dog")
    own = class_names(settings(pretrained=True), ())
    assert (own[0], own[-1], len(own)) == ("0", "999", 1000)


@pytest.mark.parametrize(
    ("config", "labelled", "line"),
    [
        (settings(steps=3), (), "`root` None: has no subfolders, so its images have no labels"),
        (settings(), ("cat", "dog"), "`steps` is 0: a predictor that is not trained has to come"),
        (
            settings(pretrained=True),
            ("cat", "dog"),
            "the classifier tells 1000 classes apart, and the images are of 2: cat, dog; ",
        ),
    ],
)
def test_classes_that_do_not_go_together_are_refused(
    config: Config, labelled: tuple[str, ...], line: str
) -> None:
    with pytest.raises(UserError) as refused:
        class_names(config, labelled)
    assert str(refused.value).startswith(line)
    assert "\n" not in str(refused.value)


def test_the_first_five_of_many_classes_are_named() -> None:
    assert _few(("a", "b", "c", "d", "e")) == "a, b, c, d, e"
    assert _few(("a", "b", "c", "d", "e", "f")) == "a, b, c, d, e, ..."
    assert TRIED == 4


def test_a_classifier_in_a_file_gets_the_interpreter_that_is_asked_for(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    asked: list[object] = []
    program = SimpleNamespace(module=lambda: "its module")
    monkeypatch.setattr(kept, "read_program", lambda path: {Path("c.pt"): program}[path])

    def beside(*given: object, **named: object) -> str:
        asked.extend([given, named])
        return "the model"

    monkeypatch.setattr(IAViT, "beside", beside)
    config = ModelConfig(
        "vit_digits", img_size=48, classifier="c.pt", interpreter_head="positional"
    )
    assert beside_file(config) == "the model"  # type: ignore[comparison-overlap]
    assert asked == [
        ("its module", 48, "vit_digits"),
        {"interpreter_head": "positional", "program": program},
    ]


def test_answers_that_cannot_be_learned_from(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where the objective asks for no gradient, none need flow."""
    tried: list[tuple[int, list[int]]] = []

    def patch_effects(model: Any, images: Tensor, targets: Tensor, grid: object) -> None:
        tried.append((len(images), targets.tolist()))
        raise UserError("no gradient flows")

    monkeypatch.setattr(kept, "patch_effects", patch_effects)
    model: Any = torch.nn.Linear(1, 1)
    model.grid = (1, 1)
    model.predict = lambda images: images
    answers = torch.tensor([[0.0, 2.0, 1.0], [3.0, 0.0, 0.0]])
    with pytest.raises(UserError) as refused:
        check_answers(model, answers, ObjectiveConfig())
    assert str(refused.value) == (
        "no gradient flows; with `effect_share` 0 the interpreter learns from the answers alone, "
        "and its map follows them less closely"
    )
    assert tried == [(1, [1])]
    check_answers(model, answers, ObjectiveConfig(effect_share=0.0))
    answers[1, 2] = torch.inf
    with pytest.raises(UserError, match="with values that are no numbers"):
        check_answers(model, answers, ObjectiveConfig(effect_share=0.0))
