"""One training step and one validation step, as lightning calls them."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import torch
from lightning import LightningModule
from lightning.pytorch.utilities.types import OptimizerLRScheduler
from torch import Tensor

from iavit.config import Config, ObjectiveConfig, TrainingConfig
from iavit.errors import UserError
from iavit.masking.sampling import draw_visible, mask_images
from iavit.model.explainable import evaluating
from iavit.model.iavit import IAViT
from iavit.objective.joint import Masked, PathSample, asks_interpreter, joint_objective
from iavit.objective.paths import path_gradient
from iavit.objective.subsets import partial_logits
from iavit.training.finetune import Mixing, parameter_groups, rest_frozen, seed
from iavit.types import Batch, Output


class Task(LightningModule):
    """Trains the three parts together on the joint objective.

    steps: optimiser steps of the whole run.
    """

    def __init__(self, model: IAViT, config: Config, steps: int) -> None:
        super().__init__()
        self.model = model
        self.config = config
        self.steps = steps
        mixed = config.training.mixup or config.training.cutmix
        if not asks_interpreter(config.objective):
            model.interpreter.requires_grad_(False)
        self.mixing = Mixing(config.training, model.architecture.num_classes) if mixed else None
        # Step of the first loss that was no number, or -1; on the device, so that watching it
        # does not wait for the device at every step.
        self.first_bad_step = torch.tensor(-1)

    def on_train_start(self) -> None:
        self.first_bad_step = self.first_bad_step.to(self.device)

    def on_train_batch_start(self, batch: Batch, batch_idx: int) -> None:
        """Seed the step by its number, so that a resumed run draws what it would have drawn."""
        training = self.config.training
        number = self.current_epoch * training.validate_every * training.accumulate + batch_idx
        seed(training.seed, number * self.trainer.world_size + self.global_rank)
        if training.freeze:
            rest_frozen(self.model)

    def training_step(self, batch: Batch, batch_idx: int) -> Tensor:
        images, labels = (batch.images, batch.labels) if self.mixing is None else self.mixing(batch)
        output, tokens, masked = self._forward(images)
        path = self._path(images, tokens, output.logits)
        terms = joint_objective(output, labels, self._objective, masked, path)
        self._watch(terms["loss"].detach())
        if (self.global_step + 1) % self.config.training.log_every == 0:  # lightning's own rows
            self._log("train", terms, output, labels)
            self.log("lr", self.optimizers().param_groups[0]["lr"])  # type: ignore[union-attr]
        return terms["loss"] + self._nothing()

    def _nothing(self) -> Tensor | float:
        """Zero; of several processes that of the interpreter where nothing is asked of it.

        They wait for the gradient of every parameter that is to learn.
        """
        if self.trainer.world_size == 1 or asks_interpreter(self._objective):
            return 0.0
        return sum((0 * of.sum() for of in self.model.interpreter.parameters()), start=0.0)

    @property
    def _objective(self) -> ObjectiveConfig:
        """What is asked at this step: before `explain_from` of the run the labels alone.

        Until the predictor tells classes apart its attention and its gradient say nothing, and on
        the digits terms on them, or on parts of images, from the first step on prolonged the
        plateau before its loss begins to fall by hundreds of steps. Of the alignment that is no
        wonder: attentions that are all but equal have small distances, which are the measure of
        its kernels' widths, and so a large gradient. Imitation that comes before the others
        settles the interpreter's attention beside the evidence, where they leave it.
        """
        objective = self.config.objective
        if self.global_step >= objective.explain_from * self.steps:
            return objective
        return replace(
            objective,
            simulation_weight=0.0,
            alignment_weight=0.0,
            masked_share=0.0,
            path_share=0.0,
        )

    def _forward(self, images: Tensor) -> tuple[Output, Tensor, Masked | None]:
        """The images, their tokens, and in the same pass copies of some with patches missing."""
        objective = self._objective
        of_copies = (
            objective.masked_weight,
            objective.subset_weight,
            objective.subset_simulation_weight,
        )
        count = round(objective.masked_share * len(images)) if any(of_copies) else 0
        if not count:
            return *self._answer(images, len(images)), None
        grid = self.model.grid
        visible = draw_visible(count, grid[0] * grid[1], images.device)
        copies = mask_images(images[:count], visible, grid)
        # Of the copies only the prediction is asked for.
        whole, tokens = self._answer(torch.cat([images, copies]), len(images))
        logits, masked_logits = whole.logits.tensor_split([len(images)])
        partial = None
        if objective.subset_simulation_weight:
            interpreter = self.model.interpreter
            every = interpreter.contributions(self.model.extractor.patches(tokens[:count]))
            partial = partial_logits(every, interpreter.bias, visible)
        masked = Masked(visible, masked_logits, partial)
        return replace(whole, logits=logits), tokens[: len(images)], masked

    def _path(self, images: Tensor, tokens: Tensor, logits: Tensor) -> PathSample | None:
        """What each patch adds to the chosen class of the first images, or None where not asked.

        images: (B, 3, H, W). tokens: (B, T, D), their final ones. logits: (B, C).
        Its gradient reaches the extractor, which learns to tell the interpreter; the predictor's
        head is not moved.
        """
        objective = self._objective
        count = round(objective.path_share * len(images))
        if not (objective.path_weight and count):
            return None
        classes = logits[:count].argmax(dim=-1)
        with evaluating(self.model):
            gradient = path_gradient(self.model.predict, images[:count], classes, self.model.grid)
        patches = self.model.extractor.patches(tokens[:count])
        return PathSample(self.model.interpreter.contributions_to(patches, classes), gradient)

    def _answer(self, images: Tensor, first: int) -> tuple[Output, Tensor]:
        """The model's output, of the interpreter on the first images alone, and final tokens.

        Where nothing is asked of the interpreter, the output is empty but for the logits.
        """
        if asks_interpreter(self._objective):
            aligned = bool(self._objective.alignment_weight)
            tokens, attention = self.model.see(images, first=first, aligned=aligned)
            return self.model.read(tokens, attention, first=first), tokens
        # A plain classifier pays nothing for an interpreter that nothing is asked of.
        tokens = self.model.extractor.tokens(images)
        logits = self.model.extractor.predict(tokens)
        nothing = logits.new_empty(len(logits), 0)
        return Output(logits, nothing, nothing, nothing), tokens

    def on_train_batch_end(self, outputs: Any, batch: Batch, batch_idx: int) -> None:
        if self.global_step % self.config.training.log_every == 0:
            self._stop_if_not_finite()
        if self.global_step >= self.steps:
            self.trainer.should_stop = True  # lightning validates once more, then stops

    def on_validation_start(self) -> None:
        self._stop_if_not_finite()  # before a checkpoint is written

    def validation_step(self, batch: Batch, batch_idx: int) -> None:
        aligned = bool(self.config.objective.alignment_weight)
        output = self.model(batch.images, aligned=aligned)
        unsmoothed = replace(self.config.objective, label_smoothing=0.0)
        terms = joint_objective(output, batch.labels, unsmoothed)
        self._log("val", terms, output, batch.labels)

    def configure_optimizers(self) -> OptimizerLRScheduler:
        optimizer = _optimizer(self.model, self.config.training)
        schedule = torch.optim.lr_scheduler.LambdaLR(
            optimizer, lambda step: warmup_cosine(step, self.steps, self.config.training.warmup)
        )
        return {
            "optimizer": optimizer,
            "lr_scheduler": {"scheduler": schedule, "interval": "step"},
        }

    def _log(self, stage: str, terms: dict[str, Tensor], output: Output, labels: Tensor) -> None:
        classes = labels if labels.ndim == 1 else labels.argmax(dim=-1)  # mixed: the larger part
        right = output.logits.argmax(dim=-1) == classes
        named = {**terms, "predictor_accuracy": right.float().mean()}
        if output.interpreter_logits.shape[-1]:
            imitated = output.interpreter_logits.argmax(dim=-1) == classes
            named["interpreter_accuracy"] = imitated.float().mean()
        self.log_dict(
            {f"{stage}/{name}": value.detach() for name, value in named.items()},
            batch_size=len(labels),
            sync_dist=stage == "val",
        )

    def _watch(self, loss: Tensor) -> None:
        bad = ~torch.isfinite(loss) & (self.first_bad_step < 0)
        self.first_bad_step = torch.where(bad, self.global_step + 1, self.first_bad_step)

    def _stop_if_not_finite(self) -> None:
        step = int(self.first_bad_step)
        if step >= 0:
            raise UserError(
                f"the loss is not a number since step {step}; what was saved before is kept: "
                "lower --lr or --clip and train again"
            )


def warmup_cosine(step: int, steps: int, warmup: float) -> float:
    """The factor on the learning rate: up linearly over a share of the steps, then half a cosine.

    From above 0 at step 0 to 0 after the last one.
    """
    rising = round(warmup * steps)
    if step < rising:
        return (step + 1) / rising
    return 0.5 * (1 + math.cos(math.pi * min(1.0, (step - rising) / max(1, steps - rising))))


def _optimizer(model: IAViT, config: TrainingConfig) -> torch.optim.Optimizer:
    groups = parameter_groups(model, config)
    if config.optimizer == "sgd":
        return torch.optim.SGD(groups, lr=config.lr, momentum=config.momentum)
    return torch.optim.AdamW(groups, lr=config.lr)
