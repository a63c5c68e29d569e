"""Several processes that train one model: batch norms over all batches, and one that ends."""

from __future__ import annotations

import logging
import sys
from pathlib import Path

import torch
from lightning.pytorch.plugins.layer_sync import TorchSyncBatchNorm
from torch import Tensor, distributed, nn
from torch.nn.modules.batchnorm import _BatchNorm

from iavit.objective.processes import sum_over_processes

KINDS = (nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d)


class WholeBatchNorm(_BatchNorm):
    """Batch norm whose mean and variance are of the batches of all processes, equally large.

    What `nn.SyncBatchNorm` is on GPUs, of which torch has none for processors. The parameters and
    the running statistics are those of the module that it stands in for, not copies.
    """

    def __init__(self, alone: _BatchNorm) -> None:
        super().__init__(alone.num_features, alone.eps, alone.momentum)
        self.weight, self.bias = alone.weight, alone.bias
        self._buffers.update(alone._buffers)
        self.train(alone.training)

    def forward(self, input: Tensor) -> Tensor:  # noqa: A002 - its name in torch
        """(B, C) or (B, C, ...) to the same shape."""
        if not self.training:
            return super().forward(input)
        others = [axis for axis in range(input.ndim) if axis != 1]
        processes = distributed.get_world_size()
        count = processes * input.numel() // input.shape[1]
        mean = sum_over_processes(input.mean(others, keepdim=True)) / processes
        centred = input - mean
        variance = sum_over_processes(centred.square().mean(others, keepdim=True)) / processes
        self._keep(mean.flatten(), variance.flatten() * count / (count - 1))
        shape = [-1, *[1] * (input.ndim - 2)]
        scale = (variance + self.eps).rsqrt() * self.weight.view(shape)
        return centred * scale + self.bias.view(shape)

    @torch.no_grad()
    def _keep(self, mean: Tensor, variance: Tensor) -> None:
        assert self.running_mean is not None
        assert self.running_var is not None
        assert self.num_batches_tracked is not None
        self.num_batches_tracked += 1
        share = self.momentum or 1 / float(self.num_batches_tracked)
        self.running_mean.lerp_(mean, share)
        self.running_var.lerp_(variance, share)

    def _check_input_dim(self, input: Tensor) -> None:  # noqa: A002
        """Any."""


class WholeBatchNorms(TorchSyncBatchNorm):
    """Has lightning put them in for a fit of several processes, and take them out after it."""

    def __init__(self) -> None:
        self.alone: list[tuple[nn.Module, str, _BatchNorm]] = []

    def apply(self, model: nn.Module) -> nn.Module:
        if distributed.get_backend() != "gloo":
            return super().apply(model)
        self.alone = [
            (parent, name, part)
            for parent in model.modules()
            for name, part in parent.named_children()
            if isinstance(part, KINDS)
        ]
        for parent, name, part in self.alone:
            setattr(parent, name, WholeBatchNorm(part))
        return model

    def revert(self, model: nn.Module) -> nn.Module:
        if not self.alone:
            return super().revert(model)
        for parent, name, part in self.alone:
            setattr(parent, name, part.train(parent.training))
        self.alone = []
        return model


class Ended(logging.Handler):
    """One line on standard error in place of lightning's, which then kills all processes.

    It watches those that it started, every five seconds, because one that waits for another that
    is gone may wait for ever. folder: the run's.
    """

    def __init__(self, folder: Path) -> None:
        super().__init__()
        self.folder = folder

    def emit(self, record: logging.LogRecord) -> None:
        if "terminated with code" in record.getMessage():
            print(f"iavit: {ended(self.folder)}", file=sys.stderr, flush=True)

    def watch(self) -> None:
        """Take the place of what logs lightning's line, and of its other news of processes."""
        logging.getLogger("lightning.fabric").setLevel(logging.ERROR)
        watcher = logging.getLogger("lightning.fabric.strategies.launchers.subprocess_script")
        watcher.setLevel(logging.INFO)
        watcher.propagate = False
        watcher.handlers = [self]


def ended(folder: Path) -> str:
    """The line for where another of the processes that train together has ended."""
    return (
        "another of the processes that train together has ended; "
        f"go on with `iavit train --resume --output {folder}`"
    )


def is_of_another(error: RuntimeError) -> bool:
    """Whether this is what the transport says of a process that is there no more."""
    # gloo has no exception of its own: its message names its source file.
    return isinstance(error, distributed.DistError) or "gloo/transport" in str(error)
