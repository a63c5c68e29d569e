"""An image explained while a model trains: the first picture comes before the run is over."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import torch
from lightning import Callback, Trainer
from PIL import Image
from rich.console import Console

from iavit.console import say
from iavit.data.images import Splits
from iavit.explain import EXPLAINERS
from iavit.files import write_bytes
from iavit.model.explainable import evaluating
from iavit.report.maps import blend, resized
from iavit.training.task import Task

PANEL = 320  # pixels a side of the image, and of the map beside it
FILE = "preview.png"


class Preview(Callback):
    """Draws a validation image and its map into `RUN/preview.png`, anew every so many steps.

    While the predictor trains there is no interpreter to ask, so the map is that of
    `generic_attention`; after that it is of the `contributions`. Nothing is drawn at random and
    nothing in the model changes: a run with a preview has the weights of one without.

    folder: the run's. every: optimiser steps between pictures.
    """

    def __init__(self, splits: Splits, folder: Path, console: Console, every: int) -> None:
        self.classes, self.image = splits.classes, splits.val[[0]]
        self.normalisation = splits.normalisation
        self.file, self.console, self.every = folder / FILE, console, every
        self.first = True

    def on_train_batch_end(  # type: ignore[override]
        self, trainer: Trainer, module: Task, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        if trainer.global_step % self.every == 0 or trainer.global_step == module.stage.steps:
            said = self.draw(module)
            if self.first:
                say(
                    f"step {trainer.global_step:>6}  the first image explained, {self.file}: "
                    f"{said}; drawn anew every {self.every} steps",
                    self.console,
                )
            self.first = False

    def draw(self, task: Task) -> str:
        """Write the picture; returns in words what is on it."""
        explainer = "generic_attention" if task.stage.learns == "predictor" else "contributions"
        image = self.image.to(task.device)
        with torch.no_grad(), evaluating(task.model):
            probabilities = task.model(image.images).logits.softmax(dim=-1)[0]
        target = probabilities.argmax()
        explanation = EXPLAINERS[explainer](task.model, image.images, target[None])
        pixels = self.normalisation.restore(self.image.images)[0].permute(1, 2, 0).numpy()
        picture = Image.fromarray(pixels)
        heat = explanation.maps[0].detach().float().cpu().numpy()
        strip = Image.new("RGB", (2 * PANEL, PANEL))
        strip.paste(resized(picture, (PANEL, PANEL)), (0, 0))
        strip.paste(blend(picture, heat, explanation.signed, PANEL), (PANEL, 0))
        with io.BytesIO() as file:
            strip.save(file, "png")
            write_bytes(self.file, file.getvalue())
        named, right = self.classes[int(target)], self.classes[int(self.image.labels)]
        share = 100 * float(probabilities[target])
        return f"a {right} that is taken for {named} ({share:.0f} %), map of {explainer}"
