"""The shape of answers, for readers of the OpenAPI page."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

from pydantic import BaseModel, Field

from iavit.handover.explained import most_probable
from iavit.handover.fit import Frame
from iavit.serve.answers import Answer

DECIMALS = 6


class ClassProbability(BaseModel):
    """A class and its probability, from 0 to 1."""

    name: str = Field(serialization_alias="class")
    probability: float


class Trust(BaseModel):
    """How far the explanation can be relied on, each from 0 to 1."""

    answer: float = Field(description="how much of their answer both branches share")
    faithfulness: float | None = Field(
        None,
        description="how far the answer stays with the patches that the contributions rank first "
        "and goes without them, where asked for",
    )
    trust: float | None = Field(
        None,
        description="answer times faithfulness, where asked for and the branches agree",
    )


class Fit(BaseModel):
    """Where the picture lies in the square that the model reads, in pixels."""

    side: int
    left: int
    top: int
    width: int
    height: int


class Explained(BaseModel):
    """What the model says of one picture, and why."""

    image: str = Field(description="the file's name")
    predictor: list[ClassProbability] = Field(description="most probable first")
    interpreter: list[ClassProbability] = Field(description="of the branch that explains")
    agreement: bool = Field(description="whether both branches choose the same class")
    target: str = Field(description="the class explained")
    explainer: str
    signed: bool = Field(description="whether the map's negative values speak against the class")
    map: list[list[float]] = Field(description="(h, w), on the patch grid, or in pixels")
    attention: list[list[float]] = Field(description="(h, w), the interpreter's; sums to 1")
    probabilities: list[float] = Field(description="of every class, by the predictor")
    interpreter_probabilities: list[float]
    contributions: list[list[list[float]]] | None = Field(
        None, description="(h, w, classes), where asked for"
    )
    trust: Trust
    fit: Fit


class Results(BaseModel):
    """One entry a picture, in their order."""

    results: list[Explained]


class Refusal(BaseModel):
    """Why there is no answer, in one line."""

    detail: str


class Health(BaseModel):
    """That the model is there, and which it is."""

    status: str
    backbone: str
    classes: int
    version: str
    sha256: str


def explained(
    answer: Answer,
    classes: tuple[str, ...],
    name: str,
    explainer: str,
    frame: Frame,
    *,
    contributions: bool,
) -> dict[str, Any]:
    """An answer as JSON has it, `Explained`."""
    agreement = answer.probabilities.argmax() == answer.interpreter_probabilities.argmax()
    trust = {
        "answer": answer.shared,
        "faithfulness": answer.faithfulness,
        "trust": answer.trust,
    }
    return {
        "image": name,
        "predictor": most_probable(answer.probabilities, classes),
        "interpreter": most_probable(answer.interpreter_probabilities, classes),
        "agreement": bool(agreement),
        "target": classes[answer.target],
        "explainer": explainer,
        "signed": answer.signed,
        "map": _rounded(answer.map.tolist()),
        "attention": _rounded(answer.attention.tolist()),
        "probabilities": _rounded(answer.probabilities.tolist()),
        "interpreter_probabilities": _rounded(answer.interpreter_probabilities.tolist()),
        "contributions": _rounded(answer.contributions.tolist()) if contributions else None,
        "trust": {key: None if value is None else _rounded(value) for key, value in trust.items()},
        "fit": asdict(frame),
    }


def _rounded(values: Any) -> Any:
    """Nested lists of numbers with as many decimals as are meant."""
    return (
        [_rounded(each) for each in values] if isinstance(values, list) else round(values, DECIMALS)
    )
