from __future__ import annotations

from pathlib import Path

import pytest

from iavit.config import Config, DataConfig, ModelConfig, TrainingConfig
from iavit.data.datasets import DATASETS, load_dataset, request
from iavit.data.images import IMAGENET
from iavit.data.transforms import Normalisation
from iavit.errors import UserError


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"shortcut": 1.5}, "`shortcut`"),
        ({"data": "fashion_mnist", "shortcut": 0.5}, "`shortcut`"),
        ({"cache": "somewhere"}, "`cache`: digits has no image files to decode, as dogs_vs_cats"),
        ({"pixel_range": "0,9"}, "`pixel_range`: the pictures of digits have 8 bits"),
        ({"mean": "0.1,0.2,0.3"}, "`mean`: digits has one of its own"),
        ({"std": "0.1,0.2,0.3"}, "`std`: digits has one of its own"),
        ({"data": "digit"}, r"named 'digit'; did you mean digits\?"),
        ({"data": "xyz"}, r"named 'xyz'; did you mean digits, fashion_mnist, .*, shards\?"),
    ],
)
def test_options_of_other_sets_are_refused(options: dict[str, object], message: str) -> None:
    with pytest.raises(UserError, match=message):
        load_dataset(Config(data=DataConfig(**options)))  # type: ignore[arg-type]


@pytest.mark.parametrize("name", ["nope", ""])
def test_a_backbone_without_published_weights_has_imagenets_colours(name: str) -> None:
    asked = request(Config(model=ModelConfig(name)))
    assert (asked.backbone_size, asked.backbone_normalisation) == (224, IMAGENET)


def test_a_backbones_own_size_and_colours_are_asked_for() -> None:
    data = DataConfig("folder", "there", pixel_range="0,4095")
    asked = request(Config(data, ModelConfig("vit_base_patch16_clip_quickgelu_224")))
    assert asked.backbone_size == 224
    assert asked.backbone_normalisation.mean[0] == pytest.approx(0.48145466)
    assert asked.backbone_normalisation.pixel_range == (0, 4095)


def test_what_of_the_settings_concerns_the_images_is_asked_for() -> None:
    data = DataConfig("folder", "there", mean="0.1,0.2,0.3", std="0.4,0.5,0.6")
    model = ModelConfig("vit_base_patch16_384.augreg_in21k_ft_in1k", img_size=48)
    asked = request(Config(data, model, training=TrainingConfig(seed=7)))
    assert (asked.options, asked.seed, asked.size) == (data, 7, 48)
    assert asked.backbone_size == 384
    assert asked.backbone_normalisation == Normalisation((0.1, 0.2, 0.3), (0.4, 0.5, 0.6))
    with pytest.raises(UserError, match=r"`backbone` vit_base_patch16_384\.nobodys: "):
        request(Config(model=ModelConfig("vit_base_patch16_384.nobodys")))


def test_every_set_says_how_to_get_it() -> None:
    for name, source in DATASETS.items():
        assert source.get, name
        assert source.find(Path("/nowhere")) is None or name == "digits"
