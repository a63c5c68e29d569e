"""`iavit.load`: a trained model, wherever it lies, ready to be asked about pictures."""

from __future__ import annotations

import os
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias, overload

import numpy as np
from PIL import Image

from iavit.config import Config
from iavit.data.decoding import PixelRange, picture_to_rgb, read_image
from iavit.errors import UserError
from iavit.evaluate.evaluation import Evaluation, Sufficient
from iavit.evaluate.evaluation_json import read_evaluation
from iavit.handover.explained import ExplainedImage
from iavit.handover.explaining import explain_pictures
from iavit.model.iavit import IAViT
from iavit.model.weights import Saved, load_model
from iavit.training.directory import is_finished

if TYPE_CHECKING:
    from huggingface_hub import ModelCard

    from iavit.handover.card import Statement

Picture: TypeAlias = "str | os.PathLike[str] | Image.Image | np.ndarray"
Several: TypeAlias = "list[Any] | tuple[Any, ...]"  # of pictures; a str is a sequence, too

HUB = "hf-hub:"


@dataclass(frozen=True)
class Classifier:
    """A trained model with its class names and normalisation.

    Example:
        >>> model = iavit.load("runs/demo")
        >>> one = model.explain("photo.jpg")
        >>> one.predicted, one.trust, one.contributions("7")  # ('3', 0.78, (8, 8))
        >>> one.save("overlay.png")
    """

    saved: Saved
    folder: Path

    @property
    def model(self) -> IAViT:
        """The model itself, in evaluation mode."""
        return self.saved.model

    @property
    def classes(self) -> tuple[str, ...]:
        """Class names, by number."""
        return self.saved.classes

    @property
    def evaluation(self) -> Evaluation | None:
        """What was measured of it; None without an `evaluation.json` in its folder."""
        measured = (self.folder / "evaluation.json").is_file()
        return read_evaluation(self.folder) if measured else None

    @property
    def sufficient(self) -> Sufficient | None:
        """How few patches were found to keep its answers; None where that was not measured."""
        measured = self.evaluation
        return None if measured is None else measured.sufficient

    @property
    def config(self) -> Config | None:
        """The settings of the run that trained it; None of a model without its run."""
        from iavit.training.directory import read_config

        return read_config(self.folder) if _is_run(self.folder) else None

    def card(self, name: str, statement: Statement | None = None) -> ModelCard:
        """The model's card, from what was measured; see `model_card`."""
        from iavit.handover.card import model_card

        return model_card(
            self.saved,
            name,
            evaluation=self.evaluation,
            config=self.config,
            statement=statement,
        )

    def push_to_hub(
        self, repository: str, *, statement: Statement | None = None, private: bool = False
    ) -> str:
        """Write the model, its evaluation and its card to `owner/name` on the hub.

        statement: what no measurement says: provider, purpose, licence.
        private: whether a repository that is made for it is open to nobody else.

        Returns the repository's address. Raises `UserError` as `hub.push` does.
        """
        from iavit.handover.hub import push

        card = str(self.card(repository, statement))
        return push(self.saved, card, repository, evaluation=self.evaluation, private=private)

    @overload
    def explain(
        self, image: Picture, target: str | int | None = None, *, explainer: str = ...
    ) -> ExplainedImage: ...

    @overload
    def explain(
        self, image: Several, target: str | int | None = None, *, explainer: str = ...
    ) -> list[ExplainedImage]: ...

    def explain(
        self,
        image: Picture | Several,
        target: str | int | None = None,
        *,
        explainer: str = "contributions",
    ) -> ExplainedImage | list[ExplainedImage]:
        """Explain an image, or each of a list.

        image: a file's path, a PIL image, or an array (H, W), (H, W, 3) or (H, W, 4), uint8 from
            0 to 255 or floating point from 0 to 1. Any size; a border makes it square.
        target: the class explained, by name or number; by default the one predicted.
        explainer: a name in `EXPLAINERS`.

        Raises `UserError` for what is no image, an unknown class or an unknown explainer.
        """
        pictures: Iterable[Picture] = image if isinstance(image, list | tuple) else (image,)
        pixel_range = self.saved.normalisation.pixel_range
        read = (_opened(picture, pixel_range) for picture in pictures)
        explained = list(
            explain_pictures(
                self.saved,
                read,
                target=target,
                explainers=(explainer,),
                sufficient=self.sufficient,
            )
        )
        return explained if isinstance(image, list | tuple) else explained[0]


def load(source: str | os.PathLike[str]) -> Classifier:
    """A trained model from a run directory, a folder with `model.safetensors`, or the hub.

    source: `runs/demo`, `runs/demo/model`, what `push_to_hub` wrote, or `hf-hub:owner/name`.

    Raises `UserError` for what is no model, or none that this version reads.
    """
    named = os.fspath(source)
    if named.startswith(HUB):
        from iavit.model.hub import download

        folder = download(named.removeprefix(HUB))
    else:
        folder = Path(source)
    if folder.name == "model" and _is_run(folder.parent):
        folder = folder.parent
    if _is_run(folder):  # whose model can be used even where its settings are of another version
        if not is_finished(folder):
            raise UserError(
                f"{folder} has no finished model; go on with "
                f"`iavit train --resume --output {folder}`"
            )
        return Classifier(load_model(folder / "model"), folder)
    if not folder.is_dir():
        raise UserError(
            f"{folder}: there is no such folder; name a run, a model or {HUB}OWNER/NAME"
        )
    return Classifier(load_model(folder), folder)


def _is_run(folder: Path) -> bool:
    return (folder / "config.yaml").is_file()


def _opened(picture: Picture, pixel_range: PixelRange | None) -> tuple[str, Image.Image]:
    """Its file's name, if it has one, and the picture as RGB."""
    if isinstance(picture, str | os.PathLike):
        return str(picture), read_image(picture, pixel_range)
    if isinstance(picture, Image.Image):
        return str(getattr(picture, "filename", "")), picture_to_rgb(picture, pixel_range)
    if isinstance(picture, np.ndarray):
        return "", _from_array(picture)
    raise UserError(
        f"a {type(picture).__name__} is no image; give a path, a PIL image or a numpy array"
    )


def _from_array(values: np.ndarray) -> Image.Image:
    fits = values.ndim == 2 or (values.ndim == 3 and values.shape[2] in (3, 4))
    if not fits or 0 in values.shape:
        raise UserError(
            f"an array of shape {values.shape} is no image; give (H, W), (H, W, 3) or (H, W, 4)"
        )
    if values.dtype != np.uint8:
        if not np.issubdtype(values.dtype, np.floating):
            raise UserError(
                f"an array of {values.dtype} is no image; give uint8, or floating point from 0 to 1"
            )
        if not (values.min() >= 0 and values.max() <= 1):  # NaN fails both
            raise UserError(
                f"an array of values from {values.min():g} to {values.max():g} is no image; "
                "give floating point from 0 to 1, or uint8"
            )
        values = (values * 255).round().astype(np.uint8)
    return picture_to_rgb(Image.fromarray(values))
