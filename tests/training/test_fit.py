"""A stage from its first step to its best weights; devices, and losses that are no numbers."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from iavit.config import Config
from iavit.errors import UserError
from iavit.objective.step import objective_terms
from iavit.training.directory import is_finished
from iavit.training.run import train
from tests.training.runs import rows, weights


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"accelerator": "gpu"}, "`accelerator` gpu"),
        ({"accelerator": "abacus"}, "`accelerator` abacus"),
        ({"devices": "0"}, "`devices` 0"),
        ({"devices": "-1"}, "`devices` -1"),
        ({"devices": "0,1"}, "`devices` 0,1"),
        ({"devices": "many"}, "`devices` many"),
        ({"strategy": "relay"}, "`strategy` relay"),
    ],
)
def test_devices_that_are_not_there_are_refused_before_anything_is_written(
    tiny_config: Config, tmp_path: Path, change: dict[str, Any], message: str
) -> None:
    if "accelerator" not in change:
        change = {**change, "accelerator": "cpu"}
    elif torch.cuda.is_available():
        pytest.skip("there is a GPU")
    config = replace(tiny_config, training=replace(tiny_config.training, **change))
    with pytest.raises(UserError, match=message) as refused:
        train(config, tmp_path / "runs" / "run")
    assert "\n" not in str(refused.value)
    assert not (tmp_path / "runs").exists()


def test_the_best_validated_weights_become_the_model(tiny_run: Path) -> None:
    """The predictor's by its cross-entropy, the interpreter's by its own loss, after it."""
    final = weights(tiny_run)
    stages = (("", "extractor.", "val/cross_entropy", 0), ("interpreter", "", "val/loss", 6))
    for stage, part, metric, first_step in stages:
        path = tiny_run / "checkpoints" / stage / "best.ckpt"
        checkpoint = torch.load(path, weights_only=True)
        best = {k.removeprefix("model."): v for k, v in checkpoint["state_dict"].items()}
        assert all(torch.equal(final[name], best[name]) for name in final if name.startswith(part))
        values = {int(row["step"]) - first_step: row[metric] for row in rows(tiny_run)}
        of_stage = {step: float(v) for step, v in values.items() if v and 0 < step <= 6}
        assert checkpoint["global_step"] == min(of_stage, key=lambda step: of_stage[step])


def test_a_loss_that_is_no_number_stops_with_the_step_and_keeps_the_checkpoint(
    tiny_config: Config, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def sick_from_step_five(*arguments: Any, **named: Any) -> dict[str, torch.Tensor]:
        terms = objective_terms(*arguments, **named)
        training = torch.is_grad_enabled()
        steps.append(training)
        return {**terms, "loss": terms["loss"] * (float("nan") if sum(steps) >= 5 else 1.0)}

    steps: list[bool] = []
    monkeypatch.setattr("iavit.training.task.objective_terms", sick_from_step_five)
    folder = tmp_path / "sick"
    with pytest.raises(UserError, match="since step 5") as refused:
        train(tiny_config, folder)
    assert refused.value.__notes__ == [
        f"try `iavit train --config {folder}/config.yaml --lr 0.00067 --output {folder}-2`, "
        "or a lower `clip`"
    ]
    kept = torch.load(folder / "checkpoints" / "last.ckpt", weights_only=True)
    assert kept["global_step"] == 3
    assert all(torch.isfinite(value).all() for value in kept["state_dict"].values())
    assert not is_finished(folder)
