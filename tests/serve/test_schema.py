"""An answer as JSON has it, by value."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from iavit.handover.fit import Frame
from iavit.serve.answers import Answer
from iavit.serve.schema import Explained, Trust, explained

CLASSES = ("cat", "dog", "owl", "fox")
ANSWER = Answer(
    probabilities=np.array([0.125, 0.5, 0.25, 0.125], np.float32),
    interpreter_probabilities=np.array([0.0625, 0.1875, 0.75, 0.0], np.float32),
    attention=np.array([[0.25, 0.75]], np.float32),
    contributions=np.arange(8, dtype=np.float32).reshape(1, 2, 4) / 3,
    target=1,
    map=np.array([[-1 / 3, 2 / 3]], np.float32),
    signed=True,
    shared=0.4375,
    trust=None,
    faithfulness=None,
)
FRAME = Frame(side=32, left=0, top=5, width=32, height=21)


def test_every_figure_at_its_name() -> None:
    found = explained(ANSWER, CLASSES, "a.png", "rollout", FRAME, contributions=False)
    assert found["predictor"] == [
        {"class": "dog", "probability": 0.5},
        {"class": "owl", "probability": 0.25},
        {"class": "cat", "probability": 0.125},  # the first of two that are equal
    ]
    assert found["interpreter"][0] == {"class": "owl", "probability": 0.75}
    assert (found["agreement"], found["target"], found["explainer"]) == (False, "dog", "rollout")
    assert found["map"] == [[-0.333333, 0.666667]]
    assert found["attention"] == [[0.25, 0.75]]
    assert found["probabilities"] == [0.125, 0.5, 0.25, 0.125]
    assert found["contributions"] is None
    assert found["trust"] == {"answer": 0.4375, "faithfulness": None, "trust": None}
    assert found["fit"] == {"side": 32, "left": 0, "top": 5, "width": 32, "height": 21}


def test_what_was_asked_for_is_there() -> None:
    asked = replace(ANSWER, trust=0.21875, faithfulness=0.5)
    found = explained(asked, CLASSES, "a.png", "rollout", FRAME, contributions=True)
    assert found["trust"] == {"answer": 0.4375, "faithfulness": 0.5, "trust": 0.21875}
    assert found["contributions"][0][1] == [1.333333, 1.666667, 2.0, 2.333333]


def test_an_answer_is_what_the_openapi_page_says() -> None:
    found = explained(ANSWER, CLASSES, "a.png", "rollout", FRAME, contributions=True)
    assert set(found) == set(Explained.model_fields)
    parts = Explained.model_json_schema(mode="serialization")["$defs"]
    assert set(found["fit"]) == set(parts["Fit"]["properties"])
    assert set(found["trust"]) == set(parts["Trust"]["properties"])
    assert set(found["predictor"][0]) == set(parts["ClassProbability"]["properties"])
    plain = {"explainer", "interpreter_probabilities", "trust", "fit"}  # named by what they are
    described = {name for name, field in Explained.model_fields.items() if field.description}
    assert described == set(found) - plain
    assert all("description" in each for each in parts["Trust"]["properties"].values())


def test_both_branches_may_choose_the_same() -> None:
    same = replace(ANSWER, interpreter_probabilities=ANSWER.probabilities, signed=False)
    found = explained(same, CLASSES, "a.png", "rollout", FRAME, contributions=False)
    assert (found["agreement"], found["signed"], found["image"]) == (True, False, "a.png")
    assert found["interpreter_probabilities"] == [0.125, 0.5, 0.25, 0.125]


def test_what_was_not_asked_for_need_not_be_there() -> None:
    assert Trust.model_validate({"answer": 0.5}).model_dump() == {
        "answer": 0.5,
        "faithfulness": None,
        "trust": None,
    }
    found = explained(ANSWER, CLASSES, "a.png", "rollout", FRAME, contributions=False)
    found["predictor"], found["interpreter"] = [], []
    del found["contributions"]
    assert Explained(**found).contributions is None
