from __future__ import annotations

import copy
import subprocess
import sys
from dataclasses import astuple, replace
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from iavit.config import Config, DataConfig
from iavit.data import digits
from iavit.data.datasets import load_dataset
from iavit.data.images import Images, InMemory
from iavit.errors import UserError
from iavit.evaluate.audit import _faithfulness, audit
from iavit.evaluate.evaluation import Evaluation, Figure
from iavit.evaluate.evaluation_json import read_evaluation, write_evaluation
from iavit.evaluate.faithfulness import curves
from iavit.evaluate.measurement import Measurement, Settings
from iavit.evaluate.metrics import METRICS, Metric, of_maps, optional_metrics
from iavit.evaluate.statistics import interval, rank_correlation
from iavit.evaluate.sufficient import Promise
from iavit.evaluate.trust import trust
from iavit.explain import EXPLAINERS
from iavit.masking.engine import Perturbation
from iavit.masking.substrates import SUBSTRATES, Substrate, black
from iavit.model.iavit import IAViT
from iavit.types import Batch, Explanation
from tests.evaluate.models import additive, read_off
from tests.reference import evaluate as twin


@pytest.fixture(scope="module")
def model() -> IAViT:
    torch.manual_seed(0)
    return IAViT.create("vit_digits", len(digits.CLASSES), digits.SIZE).eval()


@pytest.fixture(scope="module")
def images() -> Images:
    return load_dataset(Config(data=DataConfig("digits"))).test.chosen(torch.arange(11))


class Recording:
    """Rollout, and what it was asked to explain."""

    def __init__(self) -> None:
        self.asked: list[Tensor] = []

    def __call__(self, model: nn.Module, images: Tensor, targets: Tensor) -> Explanation:
        self.asked.append(targets)
        return EXPLAINERS["rollout"](model, images, targets)


def close(one: Figure, other: Figure, tolerance: float = 1e-6) -> bool:
    return astuple(one) == pytest.approx(astuple(other), abs=tolerance)


def chosen(*names: str) -> dict[str, Any]:
    return {name: EXPLAINERS[name] for name in names}


@pytest.fixture(scope="module")
def found(model: IAViT, images: Images) -> Evaluation:
    settings = Settings(optional_metrics(), substrates=("black", "drop"), points=6)
    explainers = chosen("interpreter", "rollout", "random")
    few = images.chosen(torch.arange(5))
    return audit(model, few, explainers, dataset="digits", seed=0, settings=settings)


def test_the_mass_on_the_shortcut_is_told_where_there_is_one(model: IAViT) -> None:
    for rate, told in ((0.0, False), (0.9, True)):
        images = load_dataset(Config(data=DataConfig("digits", shortcut=rate))).test.chosen(
            torch.arange(7)
        )
        explainers = chosen("interpreter", "random")
        found = audit(model, images, explainers, dataset="digits", seed=0)
        for of in found.localisation.values():
            assert ("shortcut_mass" in of) == told
            assert {"evidence_mass", "pointing_game", "relevance_rank_accuracy"} <= set(of)


def test_figures_are_those_of_the_measures(model: IAViT, images: Images, found: Evaluation) -> None:
    batch = images[range(5)]
    with torch.no_grad():
        targets = model.predict(batch.images).argmax(dim=-1)
        maps = {name: EXPLAINERS[name](model, batch.images, targets) for name in found.faithfulness}
    own = partial(black, normalisation=images.normalisation)  # the data's black
    substrates: dict[str, Substrate] = {"black": own, "drop": SUBSTRATES["drop"]}
    differences = {}
    for name in ("interpreter", "rollout"):
        on = {
            substrate: curves(model, batch, maps[name], points=6, perturbation=Perturbation(behind))
            for substrate, behind in substrates.items()
        }
        of, found_of = on["black"], found.faithfulness[name]
        for metric, measured in read_off(of).items():
            assert close(found_of.figures[metric], interval(measured))
        points = [interval(point) for point in of.insertion.T]
        bands = found_of.curves
        for band, end in (
            (bands.insertion, "mean"),
            (bands.insertion_low, "low"),
            (bands.insertion_high, "high"),
        ):
            assert band == pytest.approx([getattr(point, end) for point in points], abs=1e-5)
        each = [read_off(curves_)["difference"] for curves_ in on.values()]
        for substrate, values in zip(on, each, strict=True):
            assert close(found_of.substrates[substrate]["difference"], interval(values))
        assert close(found_of.figures["mean_difference"], interval((each[0] + each[1]) / 2))
        assert {*optional_metrics(), "sparsity"} < set(found_of.figures)
        differences[name] = each[0]
    (pair,) = (
        pair for pair in found.comparisons if pair.metric == "difference" and pair.b == "rollout"
    )
    assert close(pair.figure, interval(differences["interpreter"] - differences["rollout"]))
    gaps = (differences["interpreter"] - differences["rollout"]).tolist()
    assert pair.p == pytest.approx(twin.permutation_p(gaps))


def test_comparisons_are_corrected_within_each_metric(found: Evaluation) -> None:
    for metric in {pair.metric for pair in found.comparisons}:
        pairs = [pair for pair in found.comparisons if pair.metric == metric]
        assert [pair.b for pair in pairs] == ["rollout", "random"]
        p = [pair.p for pair in pairs if pair.p is not None]
        adjusted = [pair.adjusted_p for pair in pairs if pair.p is not None]
        assert adjusted == pytest.approx(twin.holm(p))


def test_what_was_explained_and_left_out_is_told(found: Evaluation) -> None:
    assert found.images == 5
    assert found.images_left_out == 0
    assert found.explained_class == "predicted"
    assert found.explainers_left_out == {}
    assert found.protocols == {}


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
        one, other = (run.figures("recording")[metric] for run in (bounded, free))
        assert close(one, other, 1e-5)


def test_a_protocol_has_maps_of_its_own_class(model: IAViT, images: Images) -> None:
    labels = images[range(11)].labels
    recording = Recording()
    settings = Settings(points=2, protocol=("iavit_authors", "rise"))
    found = audit(
        model, images, {"recording": recording}, dataset="digits", seed=0, settings=settings
    )
    whole = [asked for asked in recording.asked if len(asked) == 11]
    assert len(whole) == 2  # of the predicted class, once for all that explain it; of the true one
    assert torch.equal(whole[1], labels)
    assert list(found.protocols) == ["iavit_authors", "rise"]
    for of in found.protocols.values():
        assert set(of["recording"]) == {"deletion", "insertion"}


def test_a_model_that_was_training_is_measured_as_it_will_be_used(
    model: IAViT, images: Images
) -> None:
    """In evaluation mode: its batch norms would answer by the batch otherwise."""
    few, only = images.chosen(torch.arange(5)), chosen("random")
    expected, found = (
        audit(each, few, only, dataset="digits", seed=0, settings=Settings(points=2))
        for each in (model, copy.deepcopy(model).train())
    )
    assert found.prediction == expected.prediction
    assert found.confusion == expected.confusion


def test_images_without_evidence_have_figures_of_faithfulness_alone(
    model: IAViT, images: Images
) -> None:
    few = images.chosen(torch.arange(3))
    assert isinstance(few, InMemory)
    bare, settings = replace(few, evidence=None), Settings(points=2)
    found = audit(model, bare, chosen("random"), dataset="digits", seed=0, settings=settings)
    assert found.localisation == {"random": {}}
    assert "difference" in found.faithfulness["random"].figures


def test_a_plain_transformer_is_audited(model: IAViT, images: Images) -> None:
    plain = model.extractor.backbone
    settings = Settings(points=3)
    explainers = chosen("rollout", "interpreter", "random")
    with pytest.raises(UserError, match="interpreter"):
        audit(plain, images, explainers, dataset="digits", seed=0, settings=settings)
    found = audit(
        plain, images, explainers, dataset="digits", seed=0, settings=settings, leave_out=True
    )
    assert list(found.faithfulness) == ["rollout", "random"]
    assert "interpreter" in found.explainers_left_out["interpreter"]
    assert "interpreter_accuracy" not in found.prediction
    whole = audit(model, images, chosen("rollout"), dataset="digits", seed=0, settings=settings)
    assert found.figures("rollout")["difference"] == whole.figures("rollout")["difference"]


def test_progress_comes_to_the_whole_and_names_each_explainer(model: IAViT, images: Images) -> None:
    """Over all that is measured: the part of the patches that suffice is in it."""
    told: list[tuple[str, float]] = []
    audit(
        model,
        images,
        chosen("rollout", "random"),
        dataset="digits",
        seed=0,
        settings=Settings(points=2),
        progress=lambda doing, part: told.append((doing, part)),
        promise=Promise(0.5, images),
    )
    assert sum(part for _, part in told) == pytest.approx(1.0)
    assert {doing for doing, _ in told} == {
        "predictions",
        *("rollout", "rollout: patches that suffice"),
        *("random", "random: patches that suffice"),
    }


def test_settings_that_make_no_sense_are_refused() -> None:
    with pytest.raises(UserError, match=r"^`points` is 1"):
        Settings(points=1)
    with pytest.raises(UserError, match=r"^`copies` is 0"):
        Settings(copies=0)
    with pytest.raises(UserError, match=r"^`substrates`: name one"):
        Settings(substrates=())
    with pytest.raises(UserError, match=r"^`metrics`: there is no 'raod' in road, infidelity"):
        Settings(metrics=("road", "raod"))
    with pytest.raises(UserError, match=r"^`substrates`: there is no 'fog'"):
        Settings(substrates=("fog",))
    with pytest.raises(UserError, match=r"^`protocol`: there is no 'raise'"):
        Settings(protocol=("raise",))


def test_trust_is_told_with_how_it_goes_with_faithfulness(
    model: IAViT, images: Images, found: Evaluation
) -> None:
    batch = images[range(5)]
    values = trust(model, batch.images).trust
    told = found.prediction["trust"]
    assert isinstance(told, Figure)
    assert close(told, interval(values))
    assert found.trust_correlation.keys() == {"interpreter"}  # contributions were not asked for
    with torch.no_grad():
        targets = model.predict(batch.images).argmax(dim=-1)
        explanation = EXPLAINERS["interpreter"](model, batch.images, targets)
    on = partial(black, normalisation=images.normalisation)
    perturbation = Perturbation(substrate=on)
    read = read_off(curves(model, batch, explanation, points=6, perturbation=perturbation))
    expected = rank_correlation(values, read["difference"])
    assert close(found.trust_correlation["interpreter"], expected)


def test_a_measure_of_ones_own_is_a_function_and_a_line(
    model: IAViT, images: Images, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Its figures, comparisons and file need nothing else."""

    def top_row(model: nn.Module, batch: Batch, explanation: Explanation) -> Tensor:
        share = explanation.maps[:, 0].sum(dim=1) / explanation.maps.sum(dim=(1, 2))
        return share.float()

    monkeypatch.setitem(
        METRICS, "top_row", Metric(of_maps(top_row), "lower", "localisation", "in the top row")
    )
    few = images.chosen(torch.arange(5))
    explainers = chosen("interpreter", "random")
    evaluation = audit(model, few, explainers, dataset="digits", seed=0)
    batch = few[range(5)]
    maps = EXPLAINERS["interpreter"](model, batch.images, batch.labels).maps
    by_hand = (maps[:, 0].sum(dim=1) / maps.sum(dim=(1, 2))).mean().item()
    assert evaluation.localisation["interpreter"]["top_row"].mean == pytest.approx(by_hand)
    assert "top_row" in {comparison.metric for comparison in evaluation.comparisons}
    write_evaluation(tmp_path, evaluation)
    assert read_evaluation(tmp_path) == evaluation
    monkeypatch.delitem(METRICS, "top_row")
    with pytest.raises(UserError, match="'top_row' is not among the measures"):
        read_evaluation(tmp_path)


def test_a_measure_must_give_a_value_an_image(
    model: IAViT, images: Images, monkeypatch: pytest.MonkeyPatch
) -> None:
    def one_for_all(model: nn.Module, batch: Batch, explanation: Explanation) -> Tensor:
        return explanation.maps.mean()

    metric = Metric(of_maps(one_for_all), "lower", "faithfulness", "mean")
    monkeypatch.setitem(METRICS, "mean", metric)
    with pytest.raises(ValueError, match="measure mean must give one value an image"):
        audit(model, images.chosen(torch.arange(5)), chosen("random"), dataset="digits", seed=0)


@pytest.mark.slow
def test_a_curves_fractions_and_bands_have_six_decimals() -> None:
    """Three patches, two images; on one substrate, which needs no table of several."""
    curves = torch.tensor([[0.9, 0.3, 0.2, 0.1], [0.7, 0.3, 0.1, 0.1]], dtype=torch.float64) / 7
    measured = Measurement({}, {"zeros": {}}, {}, curves, 1 - curves, seconds=0.5)
    found = _faithfulness(additive((1, 3), 2), measured, Settings(points=4))
    assert found.seconds_per_image == 0.25
    assert found.substrates == {}
    assert found.curves.fractions == (0.0, 0.333333, 0.666667, 1.0)
    assert found.curves.deletion == (0.114286, 0.042857, 0.021429, 0.014286)
    assert found.curves.deletion_low == (0.1, 0.042857, 0.014286, 0.014286)
    assert found.curves.deletion_high == (0.128571, 0.042857, 0.028571, 0.014286)
    assert found.curves.insertion == (0.885714, 0.957143, 0.978571, 0.985714)
    blur = {"difference": torch.tensor([0.25, 0.75])}
    several = replace(measured, substrates={"zeros": blur, "blur": blur})
    found = _faithfulness(additive((1, 3), 2), several, Settings(points=4))
    assert found.substrates["blur"]["difference"].mean == 0.5


def test_an_audit_needs_no_training_engine() -> None:
    script = "import sys; from iavit import audit; assert 'lightning' not in sys.modules"
    subprocess.run([sys.executable, "-c", script], check=True)
