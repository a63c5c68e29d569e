from __future__ import annotations

from pathlib import Path

import pytest

from iavit.config import Config, DataConfig, ModelConfig
from iavit.data.datasets import DATASETS, load_dataset, request
from iavit.data.images import IMAGENET
from iavit.errors import UserError


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"shortcut": 1.5}, "`shortcut`"),
        ({"data": "fashion_mnist", "shortcut": 0.5}, "`shortcut`"),
        ({"cache": "somewhere"}, "`cache`"),
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


def test_every_set_says_how_to_get_it() -> None:
    for name, source in DATASETS.items():
        assert source.get, name
        assert source.find(Path("/nowhere")) is None or name == "digits"
