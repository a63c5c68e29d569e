"""What an audit is expected to take, by a trial on a few images."""

from __future__ import annotations

import time

import pytest
import torch
from torch import Tensor, nn

from iavit.data.images import InMemory
from iavit.data.transforms import Normalisation
from iavit.errors import UserError
from iavit.evaluate import trial
from iavit.evaluate.measurement import Settings
from iavit.evaluate.sufficient import Promise
from iavit.explain import EXPLAINERS
from iavit.model.iavit import IAViT
from iavit.types import Explanation

SLEEP = 0.5  # seconds an image: more than all else takes


def slow(model: nn.Module, images: Tensor, targets: Tensor) -> Explanation:
    time.sleep(SLEEP * len(images))
    return EXPLAINERS["random"](model, images, targets)


def refusing(model: nn.Module, images: Tensor, targets: Tensor) -> Explanation:
    raise UserError("not of this model")


def test_it_is_of_all_images_in_every_stage_and_without_what_refuses() -> None:
    torch.manual_seed(0)
    model = IAViT.create("vit_digits", 3, 32).eval()
    pixels = torch.randint(256, (40, 3, 32, 32)).byte()
    test = InMemory(pixels, torch.zeros(40).long(), Normalisation())
    plan = trial.plan(
        model,
        test,
        test[range(2)],
        {"slow": slow, "random": EXPLAINERS["random"], "refusing": refusing},
        Settings(points=2),
        leave_out=True,
        promise=Promise(0.5, test.chosen(torch.arange(10))),
    )
    assert plan.refused == {"refusing": "not of this model"}
    assert {stage: list(of) for stage, of in plan.seconds.items()} == {
        "measures": ["predictions", "slow", "random"],
        "calibration": ["slow", "random"],
        "coverage": ["slow", "random"],
    }
    images = {"measures": 40, "calibration": 10, "coverage": 40}
    for stage, count in images.items():
        asleep = plan.seconds[stage]["slow"] - plan.seconds[stage]["random"]
        assert asleep == pytest.approx(SLEEP * count, rel=0.5)
