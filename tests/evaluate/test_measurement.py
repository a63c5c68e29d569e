"""What an evaluation may be asked to measure, and what is measured of one batch."""

from __future__ import annotations

import time
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from iavit.data.transforms import Normalisation
from iavit.errors import UserError
from iavit.evaluate.measurement import (
    Settings,
    answers,
    joined,
    measure,
    measurement_of,
    seed_of,
)
from iavit.evaluate.metrics import METRICS, Metric
from iavit.evaluate.trust import trust
from iavit.model.iavit import IAViT
from iavit.types import Batch, Explanation
from tests.evaluate.models import additive, painted


@pytest.mark.parametrize("points", [1, 10_001, 99_999_999])
def test_a_curve_has_a_number_of_points_that_can_be_measured(points: int) -> None:
    with pytest.raises(UserError, match=f"`points` is {points}; a curve has at"):
        Settings(points=points)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"copies": 0}, "`copies` is 0; it must be from 1 to 1000000"),
        ({"copies": 1_000_001}, "`copies` is 1000001"),
        ({"substrates": ()}, "`substrates`: name one or more of zeros, mean"),
        ({"substrates": ("zeros", "sand")}, "`substrates`: there is no 'sand' in zeros, mean"),
        ({"metrics": ("deletion",)}, "`metrics`: there is no 'deletion' in road, infidelity"),
        ({"protocol": ("nobody",)}, "`protocol`: there is no 'nobody' in rise, iavit_authors"),
    ],
)
def test_what_cannot_be_measured_is_refused(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(UserError, match=message):
        Settings(**changes)


def test_the_bounds_themselves_can_be_asked_for() -> None:
    for points, copies in ((2, 1), (10_000, 1_000_000)):
        assert Settings(points=points, copies=copies).copies == copies


# Three patches in a row, which add up to 1.75 for class 0 and to 0.5 for class 1.
VALUES = torch.tensor([[[1.0, 0.5, 0.25]], [[-1.0, 0.25, 0.25]]]).double()
BATCH = Batch(painted(VALUES, 2), torch.tensor([1, 1]))
# Black is -0.5, and a mean colour 0.
NORMALISATION = Normalisation((0.1, 0.1, 0.1), (0.2, 0.2, 0.2))


class Brightness:
    """Each patch by its brightness; notes which classes it was asked to explain."""

    def __init__(self) -> None:
        self.asked: list[list[int]] = []

    def __call__(self, model: nn.Module, images: Tensor, targets: Tensor) -> Explanation:
        self.asked.append(targets.tolist())
        time.sleep(0.02)
        return Explanation(images[:, 0, ::2, ::2], targets, "brightness")


def test_a_batch_is_measured_by_the_settings() -> None:
    explain = Brightness()
    settings = Settings(
        target="true",
        score="logit",
        substrates=("black", "zeros"),
        points=4,
        protocol=("torchcam",),
    )
    part = measure(additive((1, 3), 2), BATCH, explain, settings, NORMALISATION)
    assert explain.asked == [[1, 1], [0, 1]]  # the protocol's maps are of the class predicted
    # Of class 1, the brightest first, black and 0 in place of what is gone.
    assert part["curves/deletion"][0].tolist() == pytest.approx([-1.75, -0.25, 0.75, 1.5])
    assert part["curves/insertion"][0].tolist() == pytest.approx([1.5, 0.0, -1.0, -1.75])
    on_zeros = -(1.75 / 2 + 0.75 + 0.25) / 3
    assert part["substrates/zeros/deletion"].tolist()[0] == pytest.approx(on_zeros)
    assert float(part["substrates/black/deletion"][0]) == float(part["values/deletion"][0])
    assert float(part["values/deletion"][0]) == pytest.approx((-1.75 / 2 - 0.25 + 0.75 + 0.75) / 3)
    two = (part["substrates/black/difference"] + part["substrates/zeros/difference"]) / 2
    torch.testing.assert_close(part["values/mean_difference"], two)
    assert set(part) >= {"protocols/torchcam/deletion", "protocols/torchcam/insertion"}
    assert not any("predictor" in name or "road" in name for name in part)
    assert part["seconds"].dtype is torch.float64
    assert part["seconds"][0] == part["seconds"][1]
    assert 0.02 <= float(part["seconds"].sum()) < 0.5


def test_what_takes_many_passes_is_measured_where_it_is_asked_for() -> None:
    settings = Settings(metrics=("infidelity", "max_sensitivity"), points=2)
    part = measure(additive((1, 3), 2), BATCH, Brightness(), settings, NORMALISATION)
    assert {"values/infidelity", "values/max_sensitivity"} <= set(part)
    assert "values/road" not in part
    assert "values/mean_difference" not in part  # of a single substrate


def test_no_pass_holds_more_copies_than_the_settings_allow() -> None:
    model, sizes = additive((1, 3), 2), []
    model.head.register_forward_pre_hook(lambda _module, given: sizes.append(len(given[0])))
    settings = Settings(copies=3, points=4, protocol=("torchcam",), metrics=("infidelity",))
    measure(model, BATCH, Brightness(), settings, NORMALISATION)
    assert max(sizes) == 3


def test_a_measure_gives_a_value_an_image(monkeypatch: pytest.MonkeyPatch) -> None:
    broken = Metric(lambda explained: torch.ones(5), "higher", "faithfulness", "broken")
    monkeypatch.setitem(METRICS, "broken", broken)
    with pytest.raises(ValueError, match="the measure broken must give one value an image"):
        measure(additive((1, 3), 2), BATCH, Brightness(), Settings(points=2), NORMALISATION)


def test_answers_are_of_both_branches_with_trust_and_of_the_groups_there_are() -> None:
    model = IAViT.create("vit_digits", 3, 8).eval()
    batch = Batch(torch.randn(5, 3, 8, 8), torch.tensor([0, 1, 2, 0, 1]), torch.arange(5) % 2)
    sizes: list[int] = []
    block = model.extractor.backbone.blocks[0]
    assert isinstance(block, nn.Module)
    hook = block.register_forward_pre_hook(lambda _module, given: sizes.append(len(given[0])))
    found = answers(model, batch, copies=2)
    hook.remove()
    assert sizes[:2] == [5, 5]  # what is answered, and by what its trust is told
    assert max(sizes[2:]) == 2  # masked copies
    with torch.no_grad():
        output = model(batch.images)
    torch.testing.assert_close(found["logits"], output.logits)
    torch.testing.assert_close(found["interpreter_logits"], output.interpreter_logits)
    torch.testing.assert_close(found["trust"], trust(model, batch.images).trust)
    assert torch.equal(found["labels"], batch.labels)
    assert batch.groups is not None
    assert torch.equal(found["groups"], batch.groups)
    plain = answers(additive((1, 3), 2), BATCH, copies=None)
    assert set(plain) == {"labels", "logits"}
    assert plain["logits"][:, 0].tolist() == pytest.approx([1.75, -0.5])


def test_each_batch_has_a_seed_of_its_own() -> None:
    assert seed_of(3, 7) == int(np.random.SeedSequence((3, 7)).generate_state(1)[0])
    assert len({seed_of(seed, start) for seed in (0, 1, 7) for start in (0, 1, 7)}) == 9


def test_parts_joined_are_a_measurement_by_sections() -> None:
    def part(at: float, count: int) -> dict[str, Tensor]:
        names = ("values/deletion", "substrates/blur/deletion", "protocols/rise/insertion")
        curves = {
            f"curves/{name}": torch.full((count, 2), at) for name in ("deletion", "insertion")
        }
        return {name: torch.full((count,), at) for name in names} | curves | {
            "seconds": torch.full((count,), at)
        }  # fmt: skip

    found = measurement_of(joined([part(0.5, 3), part(0.25, 2)]))
    expected = [0.5, 0.5, 0.5, 0.25, 0.25]
    assert list(found.values) == ["deletion"]
    assert found.values["deletion"].tolist() == expected
    assert found.substrates["blur"]["deletion"].tolist() == expected
    assert found.protocols["rise"]["insertion"].tolist() == expected
    assert found.deletion.shape == found.insertion.shape == (5, 2)
    assert found.seconds == 2.0
