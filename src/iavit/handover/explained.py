"""One image explained: what both branches say, the map, and ways to look at it."""

from __future__ import annotations

import base64
import html
import io
import json
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from iavit.data.transforms import Normalisation
from iavit.errors import UserError
from iavit.files import write_bytes
from iavit.handover.fit import Frame, fitted
from iavit.handover.targets import class_index

TOP = 3  # classes that are named
SHOWN = 1024  # pixels a side of the picture under a map


@dataclass(frozen=True, eq=False)  # of arrays, which have no single answer to "the same?"
class ExplainedImage:
    """What a model says of one image, and why.

    name: of its file, or empty. picture: RGB, as it was given.
    classes: names of the C classes.
    probabilities, interpreter_probabilities: (C,) float32, of both branches.
    attention: (h, w) float32, the interpreter's; sums to 1.
    all_contributions: (h, w, C) float32, what each patch adds to each of the interpreter's
        logits.
    target: the class explained, its number.
    explainer: whose `map` it is, (h, w) or (H, W) float32. signed: whether negative values
        speak against the class.
    answer, faithfulness, trust: from 0 to 1, see `iavit.evaluate.trust`; no trust where the
        branches disagree.
    frame: where the picture lies in the square that the model was given.
    sufficient: (h, w) bool, the first patches of the map, that keep the answer of new images in
        a share `coverage` of them; None where that was not measured, or another class than the
        predicted one is explained.
    """

    name: str
    picture: Image.Image
    classes: tuple[str, ...]
    probabilities: np.ndarray
    interpreter_probabilities: np.ndarray
    attention: np.ndarray
    all_contributions: np.ndarray
    target: int
    explainer: str
    map: np.ndarray
    signed: bool
    trust: float | None
    answer: float
    faithfulness: float
    frame: Frame
    normalisation: Normalisation
    sufficient: np.ndarray | None = None
    coverage: float | None = None

    @property
    def predicted(self) -> str:
        """The class that the predictor chooses."""
        return self.classes[int(self.probabilities.argmax())]

    @property
    def agreement(self) -> bool:
        """Whether the interpreter chooses the same class."""
        return bool(self.probabilities.argmax() == self.interpreter_probabilities.argmax())

    def contributions(self, target: str | int | None = None) -> np.ndarray:
        """What each patch adds to the interpreter's logit of a class, (h, w), signed.

        target: a class by name or number; by default the one explained.

        Raises `UserError` for a class that there is not.
        """
        chosen = self.target if target is None else class_index(self.classes, target)
        values: np.ndarray = self.all_contributions[..., chosen]
        return values

    def facts(self) -> dict[str, Any]:
        """What is said of the image, as JSON has it."""
        return {
            "image": self.name,
            "predictor": most_probable(self.probabilities, self.classes),
            "interpreter": most_probable(self.interpreter_probabilities, self.classes),
            "agreement": self.agreement,
            "explainer": self.explainer,
            "trust": {
                "trust": self.trust,
                "answer": self.answer,
                "faithfulness": self.faithfulness,
            },
            "target": self.classes[self.target],
            "sufficient": self._sufficient(),
            "fit": {"how": "border" if self.frame.bordered else "whole", **asdict(self.frame)},
        }

    def to_numpy(self) -> dict[str, np.ndarray]:
        """All arrays by name: `map`, `attention`, `contributions` and both `probabilities`."""
        return {
            "map": self.map,
            "attention": self.attention,
            "contributions": self.all_contributions,
            "probabilities": self.probabilities,
            "interpreter_probabilities": self.interpreter_probabilities,
        }

    def show(self) -> None:
        """Open the figure: below the cell of a notebook, else in the system's viewer."""
        with Image.open(io.BytesIO(self._repr_png_())) as figure:
            figure.show()

    def save(self, path: str | Path) -> Path:
        """Write the figure (`.png`), facts and map (`.json`), or all arrays (`.npz`).

        Raises `UserError` for another ending, and for a place that cannot be written.
        """
        file = Path(path)
        if file.suffix not in FORMATS:
            raise UserError(f"{file}: an explanation is saved as {', '.join(FORMATS)}")
        write_bytes(file, FORMATS[file.suffix](self))
        return file

    def _repr_png_(self) -> bytes:
        from iavit.report.overlay import explanation_figure  # with matplotlib: half a second

        side = max(self.frame.side, min(SHOWN, max(self.picture.size)))
        square = fitted(self.picture, side, self.normalisation)
        return explanation_figure(square, self.map, self.signed, self.facts(), self.sufficient)

    def _repr_html_(self) -> str:
        picture = base64.b64encode(self._repr_png_()).decode()
        said = html.escape(f"{self.predicted}, explained by {self.explainer}")
        return f'<img alt="{said}" src="data:image/png;base64,{picture}">'

    def _sufficient(self) -> dict[str, Any] | None:
        if self.sufficient is None:
            return None
        patches, total = int(self.sufficient.sum()), self.sufficient.size
        return {"patches": patches, "of": total, "coverage": self.coverage}


def most_probable(probabilities: np.ndarray, classes: Sequence[str]) -> list[dict[str, Any]]:
    """The first `TOP` of C classes with their probabilities (C,), the most probable first."""
    best = np.argsort(-probabilities, kind="stable")[:TOP]
    return [
        {"class": classes[at], "probability": round(float(probabilities[at]), 6)} for at in best
    ]


def _as_png(explained: ExplainedImage) -> bytes:
    return explained._repr_png_()


def _as_json(explained: ExplainedImage) -> bytes:
    """The facts, every class's probability, and the map's values."""
    rounded = {
        name: np.round(values.astype(np.float64), 6).tolist()
        for name, values in explained.to_numpy().items()
        if name != "contributions"  # of every class: for a program, not for a reader
    }
    content = explained.facts() | {"classes": explained.classes} | rounded
    return (json.dumps(content, ensure_ascii=False) + "\n").encode()


def _as_npz(explained: ExplainedImage) -> bytes:
    with io.BytesIO() as file:
        names = {"classes": np.array(explained.classes), "target": np.array(explained.target)}
        np.savez_compressed(file, allow_pickle=False, **explained.to_numpy(), **names)
        return file.getvalue()


FORMATS: dict[str, Callable[[ExplainedImage], bytes]] = {
    ".png": _as_png,
    ".json": _as_json,
    ".npz": _as_npz,
}
