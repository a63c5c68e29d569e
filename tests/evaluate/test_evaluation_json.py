from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from iavit.errors import UserError
from iavit.evaluate.evaluation import (
    Comparison,
    CurveBands,
    Evaluation,
    Fairness,
    Faithfulness,
    Figure,
    Group,
    Provenance,
    Sufficient,
    SufficientPatches,
)
from iavit.evaluate.evaluation_json import read_evaluation, to_json, write_evaluation

HALF = Figure(0.5, 0.4, 0.6)
NONE = Figure(None, None, None)


def evaluation() -> Evaluation:
    """Every field filled."""
    bands = CurveBands(
        (0.0, 1.0), (0.9, 0.1), (0.8, 0.0), (1.0, 0.2), (0.1, 0.9), (0.0, 0.8), (0.2, 1.0)
    )
    groups = {
        "women": Group(31, False, {"accuracy": HALF}, {"interpreter": {"difference": HALF}}),
        "men": Group(3, True, {"accuracy": Figure(0.25, 0.2, 0.3)}, {}),
    }
    return Evaluation(
        dataset="digits",
        split="test",
        images=34,
        images_left_out=2,
        explained_class="true",
        score="logit",
        provenance=Provenance("0.1.0", None, 7, "2.13.0", "cpu", 12.5),
        prediction={"predictor_accuracy": HALF, "predictor_ece": 0.03, "trust": HALF},
        faithfulness={
            "interpreter": Faithfulness(
                {"difference": HALF, "road": NONE}, 0.001, bands, {"blur": {"difference": HALF}}
            )
        },
        confusion=((20, 1), (3, 10)),
        localisation={"interpreter": {"pointing_game": HALF}},
        comparisons=(Comparison("difference", "interpreter", "random", HALF, 0.01, 0.02, False),),
        trust_correlation={"interpreter": HALF},
        explainers_left_out={"rise": "no room"},
        protocols={"rise": {"interpreter": {"deletion": HALF}}},
        fairness=Fairness(
            "sex", {"accuracy": HALF}, groups, "men", {"interpreter": {"difference": HALF}},
            ("group 'x' has no image",), {"DP": 0.2},
        ),
        sufficient=Sufficient(0.9, 31, 29, {"interpreter": SufficientPatches(7, HALF, NONE)}),
        drawn_from=1000,
    )  # fmt: skip


def test_what_is_written_is_read_again(tmp_path: Path) -> None:
    path = write_evaluation(tmp_path, evaluation())
    assert path == tmp_path / "evaluation.json"
    assert read_evaluation(tmp_path) == evaluation()


def test_the_file_has_the_documented_shape() -> None:
    content = to_json(evaluation())
    half = {"mean": 0.5, "low": 0.4, "high": 0.6}
    assert content["format"] == 1
    assert content["prediction"]["predictor_accuracy"] == half
    assert content["prediction"]["predictor_ece"] == 0.03
    assert content["prediction"]["trust"] == {**half, "correlation": {"interpreter": half}}
    interpreter = content["faithfulness"]["interpreter"]
    assert interpreter["difference"] == half
    assert interpreter["seconds_per_image"] == 0.001
    assert interpreter["curves"]["insertion_low"] == [0.0, 0.8]
    assert content["comparisons"][0] == {
        "metric": "difference", "a": "interpreter", "b": "random", **half,
        "p": 0.01, "adjusted_p": 0.02, "inside_noise": False,
    }  # fmt: skip
    assert content["fairness"]["by_group"]["men"] == {
        "images": 3, "small": True, "accuracy": {"mean": 0.25, "low": 0.2, "high": 0.3},
    }  # fmt: skip
    assert content["fairness"]["worst_group"]["group"] == "men"
    assert content["provenance"]["commit"] is None


def test_a_file_of_the_version_before_formats_is_read(tmp_path: Path) -> None:
    content = to_json(evaluation())
    del content["format"]
    (tmp_path / "evaluation.json").write_text(json.dumps(content))
    assert read_evaluation(tmp_path) == evaluation()


def _break(content: dict[str, Any], *keys: Any, value: Any) -> None:
    for key in keys[:-1]:
        content = content[key]
    if value is KeyError:
        del content[keys[-1]]
    else:
        content[keys[-1]] = value


@pytest.mark.parametrize(
    ("keys", "value", "reason"),
    [
        (("format",), 2, "written by iavit 0.1.0 in format 2, .* reads format 1"),
        (("format",), "1", "in format '1'"),
        (("images",), "34", "written by iavit 0.1.0, is damaged .*str in place of int"),
        (("images",), True, "bool in place of int"),
        (("score",), "loud", "none of probability, logit"),
        (("prediction", "predictor_accuracy", "low"), "0", "str in place of int or float"),
        (("faithfulness", "interpreter", "curves", "insertion"), [0.5], "different lengths"),
        (("faithfulness", "interpreter", "curves"), KeyError, "'curves' is missing"),
        (("faithfulness", "interpreter", "speed"), 3, "'speed' is not among the measures"),
        (("localisation", "rollout"), {}, "without faithfulness"),
        (("provenance", "seed"), None, "NoneType in place of int"),
        (("provenance", "version"), "\x1b[31m9", r"written by iavit \\x1b\[31m9"),
        (("comparisons", 0, "inside_noise"), KeyError, "'inside_noise' is missing"),
        (("fairness", "by_group", "men", "accuracy"), 0.5, "damaged"),
        (("confusion", 1), [3], "a confusion matrix that is not square"),
        (("sufficient", "tested_on"), 2.5, "float in place of int"),
        (("sufficient", "interpreter", "coverage"), KeyError, "'coverage' is missing"),
        (("drawn_from",), None, "NoneType in place of int"),
        (("explained_class",), "any", "none of predicted, true"),
        (("provenance", "seconds"), "3", "str in place of int or float"),
    ],
)
def test_another_format_or_shape_is_refused_in_one_line(
    keys: tuple[Any, ...], value: Any, reason: str, tmp_path: Path
) -> None:
    content = to_json(evaluation())
    # The last case has a version that is no version: it shows only once something is wrong.
    if keys[-1] == "version":
        content["images"] = None
    _break(content, *keys, value=value)
    (tmp_path / "evaluation.json").write_text(json.dumps(content))
    with pytest.raises(UserError, match=reason) as refusal:
        read_evaluation(tmp_path)
    message = str(refusal.value)
    assert message.startswith(f"{tmp_path}/evaluation.json")
    assert "iavit evaluate" in message
    assert message.isprintable()


@pytest.mark.parametrize("content", ["", "[1, 2]", "null", "{", '"text"', "\x80"])
def test_what_is_no_evaluation_is_refused(content: str, tmp_path: Path) -> None:
    (tmp_path / "evaluation.json").write_bytes(content.encode("latin-1"))
    with pytest.raises(UserError, match=r"evaluation\.json.* is damaged"):
        read_evaluation(tmp_path)


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"has no evaluation\.json"):
        read_evaluation(tmp_path)
