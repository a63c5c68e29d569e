"""A predictor that is kept: its weights have to be all there."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from iavit.config import Config, ModelConfig
from iavit.errors import UserError
from iavit.model.checkpoints import Loaded
from iavit.training.kept import check_complete, check_published, class_names


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
