"""Seeds, steps, optimiser and logging, as lightning calls them; the method is `objective_terms`."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import torch
from lightning import LightningModule
from lightning.pytorch.utilities.types import OptimizerLRScheduler
from torch import Tensor

from iavit.config import Config, TrainingConfig
from iavit.errors import DivergedError
from iavit.model.iavit import IAViT
from iavit.objective.step import begun, objective_terms, parts_read
from iavit.training.finetune import Mixing, parameter_groups, rest_frozen, seed
from iavit.training.stages import Stage, choose_what_learns
from iavit.types import Batch


class Task(LightningModule):
    """One stage of a run: trains the parts of the model that learn in it."""

    def __init__(self, model: IAViT, config: Config, stage: Stage) -> None:
        super().__init__()
        self.model = model
        self.config = config
        self.stage = stage
        choose_what_learns(model, stage)
        mixed = stage.needs_labels and (config.training.mixup or config.training.cutmix)
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
        number += self.stage.first_step * training.accumulate
        seed(training.seed, number * self.trainer.world_size + self.global_rank)
        if self.stage.learns == "interpreter":
            self.model.extractor.eval()
        elif training.freeze:
            rest_frozen(self.model)

    def training_step(self, batch: Batch, batch_idx: int) -> Tensor:
        images, labels = (batch.images, batch.labels) if self.mixing is None else self.mixing(batch)
        progress = self.global_step / self.stage.steps
        terms = objective_terms(
            self.model,
            images,
            labels if self.stage.needs_labels else None,
            self.stage.objective,
            progress,
        )
        self._note_if_not_finite(terms["loss"].detach())
        if (self.global_step + 1) % self.config.training.log_every == 0:  # lightning's own rows
            self._log("train", terms, len(labels))
            self.log("lr", self.optimizers().param_groups[0]["lr"])  # type: ignore[union-attr]
        return terms["loss"] + self._nothing()

    def _nothing(self) -> Tensor | float:
        """Zero, of every parameter of the interpreter.

        Processes that train together wait for the gradient of every parameter that is to learn,
        also while the labels alone are learned.
        """
        parameters = [p for p in self.model.interpreter.parameters() if p.requires_grad]
        return sum((0 * parameter.sum() for parameter in parameters), start=0.0)

    def on_before_optimizer_step(self, optimizer: torch.optim.Optimizer) -> None:
        """Take back the zeros that `_nothing` asked for: AdamW would count them as steps."""
        asked = begun(self.stage.objective, self.global_step / self.stage.steps)
        if "interpreter" not in parts_read(asked):
            for parameter in self.model.interpreter.parameters():
                parameter.grad = None

    def on_train_batch_end(self, outputs: Any, batch: Batch, batch_idx: int) -> None:
        if self.global_step % self.config.training.log_every == 0:
            self._stop_if_not_finite()
        if self.global_step >= self.stage.steps:
            self.trainer.should_stop = True  # lightning validates once more, then stops

    def on_validation_start(self) -> None:
        self._stop_if_not_finite()  # before a checkpoint is written
        seed(self.config.training.seed, 0)  # the same samples at every validation

    def validation_step(self, batch: Batch, batch_idx: int) -> None:
        """The terms without masked copies; labels are not smoothed, and all terms have begun."""
        objective = replace(self.stage.objective, label_smoothing=0.0, masked_share=0.0)
        labels = batch.labels if self.stage.needs_labels else None
        terms = objective_terms(self.model, batch.images, labels, objective)
        self._log("val", terms, len(batch))

    def configure_optimizers(self) -> OptimizerLRScheduler:
        training, steps = self.config.training, self.stage.steps
        optimizer = _optimizer(self.model, replace(training, lr=self.stage.lr))
        schedule = torch.optim.lr_scheduler.LambdaLR(
            optimizer, lambda step: warmup_cosine(step, steps, training.warmup)
        )
        return {
            "optimizer": optimizer,
            "lr_scheduler": {"scheduler": schedule, "interval": "step"},
        }

    def _log(self, stage: str, terms: dict[str, Tensor], images: int) -> None:
        self.log_dict(
            {f"{stage}/{name}": value.detach() for name, value in terms.items()},
            batch_size=images,
            sync_dist=stage == "val",
        )

    def _note_if_not_finite(self, loss: Tensor) -> None:
        bad = ~torch.isfinite(loss) & (self.first_bad_step < 0)
        self.first_bad_step = torch.where(bad, self.global_step + 1, self.first_bad_step)

    def _stop_if_not_finite(self) -> None:
        step = int(self.first_bad_step)
        if step >= 0:
            raise DivergedError(
                f"the loss is not a number since step {step}; what was saved before is kept"
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
