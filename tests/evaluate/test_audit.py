from __future__ import annotations

from functools import partial
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from iavit.config import Config, DataConfig
from iavit.data import digits
from iavit.data.datasets import load_dataset
from iavit.data.images import Images
from iavit.errors import UserError
from iavit.evaluate.audit import audit
from iavit.evaluate.faithfulness import curves, scores
from iavit.evaluate.measuring import EXTRA_METRICS, Settings
from iavit.evaluate.statistics import interval, rank_correlation
from iavit.evaluate.trust import trust
from iavit.explain import EXPLAINERS
from iavit.masking.engine import Perturbation
from iavit.masking.substrates import SUBSTRATES, Substrate, black
from iavit.model.iavit import IAViT
from iavit.types import Explanation
from tests.reference import evaluate as twin


@pytest.fixture(scope="module")
def model() -> IAViT:
    torch.manual_seed(0)
    return IAViT.create("vit_digits", len(digits.CLASSES), digits.SIZE).eval()


@pytest.fixture(scope="module")
def images() -> Images:
    return load_dataset(Config(data=DataConfig("digits"))).test.first(11)


class Recording:
    """Rollout, and what it was asked to explain."""

    def __init__(self) -> None:
        self.asked: list[Tensor] = []

    def __call__(self, model: nn.Module, images: Tensor, targets: Tensor) -> Explanation:
        self.asked.append(targets)
        return EXPLAINERS["rollout"](model, images, targets)


def chosen(*names: str) -> dict[str, Any]:
    return {name: EXPLAINERS[name] for name in names}


@pytest.fixture(scope="module")
def found(model: IAViT, images: Images) -> dict[str, Any]:
    settings = Settings(EXTRA_METRICS, substrates=("black", "drop"), points=6)
    explainers = chosen("interpreter", "rollout", "random")
    few = images.first(5)
    return audit(model, few, explainers, dataset="digits", seed=0, settings=settings)


def test_the_mass_on_the_shortcut_is_told_where_there_is_one(model: IAViT) -> None:
    for rate, told in ((0.0, False), (0.9, True)):
        images = load_dataset(Config(data=DataConfig("digits", shortcut=rate))).test.first(7)
        explainers = chosen("interpreter", "random")
        found = audit(model, images, explainers, dataset="digits", seed=0)
        for of in found["localisation"].values():
            assert ("shortcut_mass" in of) == told
            assert {"evidence_mass", "pointing_game", "relevance_rank_accuracy"} <= set(of)


def test_figures_are_those_of_the_measures(
    model: IAViT, images: Images, found: dict[str, Any]
) -> None:
    batch = images[range(5)]
    with torch.no_grad():
        targets = model.predict(batch.images).argmax(dim=-1)
        maps = {
            name: EXPLAINERS[name](model, batch.images, targets) for name in found["faithfulness"]
        }
    own = partial(black, normalisation=images.normalisation)  # the data's black
    substrates: dict[str, Substrate] = {"black": own, "drop": SUBSTRATES["drop"]}
    differences = {}
    for name in ("interpreter", "rollout"):
        on = {
            substrate: curves(model, batch, maps[name], points=6, how=Perturbation(behind))
            for substrate, behind in substrates.items()
        }
        of, found_of = on["black"], found["faithfulness"][name]
        for metric, score in scores(of).items():
            assert found_of[metric] == pytest.approx(interval(score.values), abs=1e-6)
        points = [interval(point) for point in of.insertion.T]
        for key, end in (("", "mean"), ("_low", "low"), ("_high", "high")):
            expected = [point[end] for point in points]  # type: ignore[literal-required]
            assert found_of["curves"][f"insertion{key}"] == pytest.approx(expected, abs=1e-5)
        each = [scores(curves_)["difference"].values for curves_ in on.values()]
        for substrate, values in zip(on, each, strict=True):
            told = found_of["substrates"][substrate]["difference"]
            assert told == pytest.approx(interval(values), abs=1e-6)
        mean = interval((each[0] + each[1]) / 2)
        assert found_of["mean_difference"] == pytest.approx(mean, abs=1e-6)
        assert {*EXTRA_METRICS, "sparsity"} < set(found_of)
        differences[name] = each[0]
    (pair,) = (
        pair
        for pair in found["comparisons"]
        if pair["metric"] == "difference" and pair["b"] == "rollout"
    )
    figure = interval(differences["interpreter"] - differences["rollout"])
    assert {key: pair[key] for key in figure} == pytest.approx(dict(figure), abs=1e-6)
    gaps = (differences["interpreter"] - differences["rollout"]).tolist()
    assert pair["p"] == pytest.approx(twin.permutation_p(gaps))


def test_comparisons_are_corrected_within_each_metric(found: dict[str, Any]) -> None:
    for metric in {pair["metric"] for pair in found["comparisons"]}:
        pairs = [pair for pair in found["comparisons"] if pair["metric"] == metric]
        assert [pair["b"] for pair in pairs] == ["rollout", "random"]
        defined = [pair for pair in pairs if pair["p"] is not None]
        adjusted = twin.holm([pair["p"] for pair in defined])
        assert [pair["adjusted_p"] for pair in defined] == pytest.approx(adjusted)


def test_what_was_explained_and_left_out_is_told(found: dict[str, Any]) -> None:
    assert found["images"] == 5
    assert found["images_left_out"] == 0
    assert found["explained_class"] == "predicted"
    assert "explainers_left_out" not in found
    assert "protocols" not in found


def test_the_true_class_is_explained_where_it_is_asked_for(model: IAViT, images: Images) -> None:
    labels = images[range(11)].labels
    recording = Recording()
    audit(
        model,
        images,
        {"recording": recording},
        dataset="digits",
        seed=0,
        settings=Settings(target="true", points=2),
    )
    assert any(torch.equal(asked, labels) for asked in recording.asked)
    assert all(
        torch.equal(asked, labels[: len(asked)]) for asked in recording.asked if len(asked) > 1
    )


def test_no_more_images_are_explained_at_once_than_copies_are_held(
    model: IAViT, images: Images
) -> None:
    recording = Recording()
    settings = Settings(copies=3, points=2)
    bounded = audit(
        model, images, {"recording": recording}, dataset="digits", seed=0, settings=settings
    )
    assert max(len(asked) for asked in recording.asked) == 3
    free = audit(
        model,
        images,
        {"recording": recording},
        dataset="digits",
        seed=0,
        settings=Settings(points=2),
    )
    for metric in ("deletion", "insertion"):
        of = (run["faithfulness"]["recording"][metric] for run in (bounded, free))
        assert next(of) == pytest.approx(next(of), abs=1e-5)


def test_a_protocol_has_maps_of_its_own_class(model: IAViT, images: Images) -> None:
    labels = images[range(11)].labels
    recording = Recording()
    settings = Settings(points=2, protocols=("iavit_authors", "rise"))
    found = audit(
        model, images, {"recording": recording}, dataset="digits", seed=0, settings=settings
    )
    whole = [asked for asked in recording.asked if len(asked) == 11]
    assert len(whole) == 2  # of the predicted class, once for all that explain it; of the true one
    assert torch.equal(whole[1], labels)
    assert list(found["protocols"]) == ["iavit_authors", "rise"]
    for of in found["protocols"].values():
        assert set(of["recording"]) == {"deletion", "insertion"}


def test_a_plain_transformer_is_audited(model: IAViT, images: Images) -> None:
    plain = model.extractor.backbone
    settings = Settings(points=3)
    explainers = chosen("rollout", "interpreter", "random")
    with pytest.raises(UserError, match="interpreter"):
        audit(plain, images, explainers, dataset="digits", seed=0, settings=settings)
    found = audit(
        plain, images, explainers, dataset="digits", seed=0, settings=settings, leave_out=True
    )
    assert list(found["faithfulness"]) == ["rollout", "random"]
    assert "interpreter" in found["explainers_left_out"]["interpreter"]
    assert "interpreter_accuracy" not in found["prediction"]
    whole = audit(model, images, chosen("rollout"), dataset="digits", seed=0, settings=settings)
    same = (run["faithfulness"]["rollout"]["difference"] for run in (found, whole))
    assert next(same) == next(same)


def test_progress_comes_to_the_whole_and_names_each_explainer(model: IAViT, images: Images) -> None:
    told: list[tuple[str, float]] = []
    audit(
        model,
        images,
        chosen("rollout", "random"),
        dataset="digits",
        seed=0,
        settings=Settings(points=2),
        progress=lambda doing, part: told.append((doing, part)),
    )
    assert sum(part for _, part in told) == pytest.approx(1.0)
    assert list(dict.fromkeys(doing for doing, _ in told)) == ["predictions", "rollout", "random"]


def test_settings_that_make_no_sense_are_refused() -> None:
    with pytest.raises(UserError, match="--points"):
        Settings(points=1)
    with pytest.raises(UserError, match="--copies"):
        Settings(copies=0)
    with pytest.raises(UserError, match="--substrates"):
        Settings(substrates=())


def test_trust_is_told_with_how_it_goes_with_faithfulness(
    model: IAViT, images: Images, found: dict[str, Any]
) -> None:
    batch = images[range(5)]
    told = found["prediction"]["trust"]
    values = trust(model, batch.images).trust
    assert {end: told[end] for end in ("mean", "low", "high")} == pytest.approx(interval(values))
    assert told["correlation"].keys() == {"interpreter"}  # contributions were not asked for
    with torch.no_grad():
        targets = model.predict(batch.images).argmax(dim=-1)
        explanation = EXPLAINERS["interpreter"](model, batch.images, targets)
    on = partial(black, normalisation=images.normalisation)
    how = Perturbation(substrate=on)
    difference = scores(curves(model, batch, explanation, points=6, how=how))["difference"]
    expected = rank_correlation(values, difference.values)
    assert told["correlation"]["interpreter"] == pytest.approx(expected)
