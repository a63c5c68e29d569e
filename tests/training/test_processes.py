"""Several processes train one model, by the command that a person gives."""

from __future__ import annotations

import logging
import os
import signal
import subprocess
import sys
import time
from dataclasses import replace
from multiprocessing import set_forkserver_preload
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, distributed, nn
from torch.multiprocessing.spawn import start_processes
from torch.nn.parallel import DistributedDataParallel

from iavit.config import RECIPES, starting_point
from iavit.model.iavit import IAViT
from iavit.objective.step import objective_terms
from iavit.training.checkpoints import last, read_checkpoint
from iavit.training.directory import load_run, read_config
from iavit.training.processes import Ended, WholeBatchNorm, WholeBatchNorms, is_of_another
from iavit.training.run import train as train_here
from tests.commands import mistake
from tests.data.files import save
from tests.training.runs import rows, stopped_in_step_five, weights

BATCH, SIZE = 8, 16
COMMAND = (
    f"train --data folder --img-size {SIZE} --backbone vit_digits --steps 6 --validate-every 6 "
    "--log-every 1 --accelerator cpu --strategy ddp --objective paper --explain-from 0.5"
)


@pytest.fixture(scope="module")
def pictures(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two classes of noise: a folder is read sooner than thousands of scenes are drawn."""
    root = tmp_path_factory.mktemp("pictures")
    for number in range(80):
        name = f"{('one', 'other')[number % 2]}/{number}.png"
        save(root / name, size=(SIZE, SIZE), grain=number + 1)
    return root


def command(pictures: Path, folder: Path, *options: str) -> list[str]:
    words = [sys.executable, "-m", "iavit", *COMMAND.split(), "--root", str(pictures)]
    return [*words, "--output", str(folder), *options]


def train(pictures: Path, folder: Path, *options: str) -> subprocess.CompletedProcess[str]:
    words = command(pictures, folder, *options)
    return subprocess.run(words, capture_output=True, text=True, timeout=500, check=False)


def no_effect(name: str) -> bool:
    """Whether the answers do not depend on this weight: its gradient is rounding alone.

    A batch norm takes out the bias before it, and a softmax that of the keys. AdamW makes whole
    steps of whatever gradient there is, so these wander.
    """
    stem = "patch_embed.backbone."
    before_norm = ("0.bias", "3.bias", "1.running_mean", "4.running_mean")
    return name.endswith((*(stem + end for end in before_norm), "qkv.bias", "key.bias"))


def largest_difference(ours: dict[str, Tensor], theirs: dict[str, Tensor]) -> float:
    """Over the weights that have an effect."""
    return max(
        float((weight.float() - theirs[name].float()).abs().max())
        for name, weight in ours.items()
        if not no_effect(name)
    )


@pytest.mark.slow
def test_two_processes_train_one_run_to_the_weights_of_one(pictures: Path, tmp_path: Path) -> None:
    two = train(pictures, tmp_path / "two", "--devices", "2", "--batch-size", "8")
    assert two.returncode == 0, two.stderr
    assert two.stdout.count("is trained; next: iavit evaluate") == 1
    logged = rows(tmp_path / "two")
    assert [row["step"] for row in logged] == ["1", "2", "3", "4", "5", "6"]
    # The interpreter begins half-way.
    assert [bool(row["train/simulation"]) for row in logged] == [False] * 3 + [True] * 3
    assert load_run(tmp_path / "two").saved.classes == ("one", "other")
    one = train(pictures, tmp_path / "one", "--devices", "1", "--batch-size", "16")
    assert one.returncode == 0, one.stderr
    assert largest_difference(weights(tmp_path / "two"), weights(tmp_path / "one")) < 1e-4


@pytest.mark.slow
def test_a_run_goes_on_in_another_number_of_processes_to_nearly_the_same_weights(
    pictures: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = starting_point("folder", "paper", small=True)
    training = replace(config.training, steps=6, validate_every=3, accelerator="cpu")
    data = replace(config.data, root=str(pictures), batch_size=16)
    config = replace(config, data=data, training=training)
    train_here(config, tmp_path / "whole")
    folder = tmp_path / "stopped"
    stopped_in_step_five(config, folder, monkeypatch)
    others = ["--resume", "--devices", "2", "--strategy", "ddp"]
    words = [sys.executable, "-m", "iavit", "train", "--output", str(folder), *others]
    refused = subprocess.run(words, capture_output=True, text=True, timeout=500, check=False)
    assert refused.returncode == 2
    assert refused.stderr.count("\n") == 1
    assert "(--devices 1 -> 2, --strategy auto -> ddp); resume with as many images a step, " in (
        refused.stderr
    )
    words += ["--batch-size", "8"]
    done = subprocess.run(words, capture_output=True, text=True, timeout=500, check=False)
    assert done.returncode == 0, done.stderr
    assert [row["step"] for row in rows(folder)] == [
        row["step"] for row in rows(tmp_path / "whole")
    ]
    # The last weights: the best ones, which are the model's, may be of before it was stopped.
    ends = [
        read_checkpoint(last(run / "checkpoints"))["state_dict"]
        for run in (folder, tmp_path / "whole")
    ]
    assert 0 < largest_difference(*ends) < 1e-4
    assert read_config(folder).data.batch_size == 8


@pytest.mark.slow
def test_two_processes_do_not_take_a_folder_with_another_run(
    pictures: Path, tmp_path: Path
) -> None:
    (tmp_path / "kept.txt").write_text("kept")
    done = train(pictures, tmp_path, "--devices", "2", "--batch-size", "8")
    assert done.returncode == 2
    assert "is not empty" in done.stderr
    assert "kept.txt" in [path.name for path in tmp_path.iterdir()]


@pytest.mark.slow
def test_two_processes_train_the_plain_predictor_with_and_without_an_interpreter(
    pictures: Path, tmp_path: Path
) -> None:
    options = ("--devices", "2", "--batch-size", "8", "--steps", "3", "--explain-from", "0")
    for objective in ("faithful", "plain"):
        more = ("--interpreter-steps", "2") if objective == "faithful" else ()
        done = train(pictures, tmp_path / objective, *options, "--objective", objective, *more)
        assert done.returncode == 0, done.stderr
    explained, plain = weights(tmp_path / "faithful"), weights(tmp_path / "plain")
    names = [name for name in explained if name.startswith("extractor.")]
    assert names == [name for name in plain if name.startswith("extractor.")]
    assert all(torch.equal(explained[name], plain[name]) for name in names)
    assert any(name.startswith("branch.") for name in explained)


def learn(rank: int, world: int, steps: int, folder: Path) -> None:
    """Steps of the paper's objective on this process's share of each batch."""
    torch.set_num_threads(1)
    meeting = f"file://{folder}/meet-{world}"
    distributed.init_process_group("gloo", init_method=meeting, rank=rank, world_size=world)
    torch.manual_seed(0)
    model = IAViT.create("vit_digits", 10, SIZE).train()
    norms = WholeBatchNorms()
    norms.apply(model)
    wrapped = DistributedDataParallel(model)
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3)
    generator = torch.Generator().manual_seed(1)
    for _ in range(steps):
        labels = torch.randint(10, (BATCH,), generator=generator)
        noise = torch.randn(BATCH, 3, SIZE, SIZE, generator=generator)
        images = noise + labels[:, None, None, None] / 5
        optimizer.zero_grad()
        own = slice(rank, None, world)
        terms = objective_terms(wrapped, images[own], labels[own], RECIPES["paper"], progress=1.0)  # type: ignore[arg-type]
        terms["loss"].backward()
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
    norms.revert(model)
    if rank == 0:
        torch.save(model.state_dict(), folder / f"{world}.pt")
    del wrapped  # before the group, which it uses when it goes
    distributed.destroy_process_group()


@pytest.mark.parametrize(
    ("world", "steps"),
    [
        (2, 10),
        pytest.param(2, 200, marks=pytest.mark.slow),
        pytest.param(4, 50, marks=pytest.mark.slow),
    ],
)
def test_processes_learn_what_one_learns(world: int, steps: int, tmp_path: Path) -> None:
    set_forkserver_preload([__name__])  # one process imports what all of them need
    for processes in (1, world):
        start_processes(
            learn, (processes, steps, tmp_path), nprocs=processes, start_method="forkserver"
        )
    one, shared = (torch.load(tmp_path / f"{number}.pt") for number in (1, world))
    assert largest_difference(shared, one) < 1e-3


@pytest.mark.slow
def test_a_killed_process_ends_the_other_in_one_line_and_the_run_goes_on(
    pictures: Path, tmp_path: Path
) -> None:
    folder = tmp_path / "run"
    options = ["--devices", "2", "--batch-size", "8", "--steps", "100000", "--validate-every", "2"]
    words = command(pictures, folder, *options)
    first = subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    until = time.monotonic() + 500
    while not (folder / "checkpoints" / "last.ckpt").is_file():
        assert time.monotonic() < until
        assert first.poll() is None, first.communicate()[1]
        time.sleep(0.2)
    (other,) = children(first.pid)
    os.kill(other, signal.SIGKILL)
    _, said = first.communicate(timeout=60)  # within a minute
    assert first.returncode in (
        2,
        -signal.SIGKILL,
    )  # by the transport's error, or lightning's watch
    line = "iavit: another of the processes that train together has ended; go on with "
    assert said.splitlines() == [f"{line}`iavit train --resume --output {folder}`"]
    saved = (folder / "checkpoints" / "last.ckpt").stat().st_mtime_ns
    alone = ["--resume", "--devices", "1", "--batch-size", "16"]  # the same images a step
    again = subprocess.Popen([*words, *alone])
    while (folder / "checkpoints" / "last.ckpt").stat().st_mtime_ns == saved:
        assert time.monotonic() < until
        assert again.poll() is None
        time.sleep(0.2)
    again.kill()
    again.wait()


def children(process: int) -> list[int]:
    """The processes that a process has started."""
    listed = Path(f"/proc/{process}/task/{process}/children").read_text()
    return [int(number) for number in listed.split()]


def test_sharded_training_is_refused_on_a_processor(
    pictures: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = command(pictures, tmp_path / "run", "--strategy", "fsdp")
    line = mistake(capsys, *words[words.index("train") :])
    assert "--strategy fsdp" in line
    assert "GPU" in line


@pytest.mark.parametrize("momentum", [0.1, None])
def test_the_whole_batch_norm_of_one_process_is_torchs(
    momentum: float | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What comes out, what is kept of two batches, and what is made of them afterwards."""
    monkeypatch.setattr(distributed, "get_world_size", lambda: 1)
    monkeypatch.setattr("iavit.training.processes.sum_over_processes", lambda part: part)
    alone, replaced = (nn.BatchNorm2d(3, momentum=momentum) for _ in range(2))
    whole = WholeBatchNorm(replaced)
    for scale in (1.0, 4.0):
        images = (scale * torch.randn(2, 3, 5, 7) + scale).requires_grad_()
        torch.testing.assert_close(whole(images), alone(images))
    assert not any(value.requires_grad for value in whole.buffers())
    for name, value in alone.named_buffers():
        torch.testing.assert_close(replaced.get_buffer(name), value)
    torch.testing.assert_close(whole.eval()(images), alone.eval()(images))


def test_the_whole_batch_norm_is_of_all_batches(monkeypatch: pytest.MonkeyPatch) -> None:
    """Two processes with one batch each: the sums are twice those of either."""
    monkeypatch.setattr(distributed, "get_world_size", lambda: 2)
    monkeypatch.setattr("iavit.training.processes.sum_over_processes", lambda part: 2 * part)
    alone, whole = nn.BatchNorm2d(3), WholeBatchNorm(nn.BatchNorm2d(3))
    images = torch.randn(2, 3, 5, 7)
    expected = alone(torch.cat([images, images]))
    torch.testing.assert_close(whole(images), expected[:2])
    torch.testing.assert_close(whole.running_mean, alone.running_mean)
    torch.testing.assert_close(whole.running_var, alone.running_var)


@pytest.mark.parametrize(
    ("error", "other"),
    [
        (RuntimeError("[gloo/transport/tcp/pair.cc:534] Connection closed by peer"), True),
        (distributed.DistNetworkError("gone"), True),
        (RuntimeError("shapes differ"), False),
    ],
)
def test_whose_end_it_is_that_ends_a_process(error: RuntimeError, other: bool) -> None:
    assert is_of_another(error) is other


def test_an_end_is_one_line_in_place_of_lightnings(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    names = ["lightning.fabric", "lightning.fabric.strategies.launchers.subprocess_script"]
    loggers = [logging.getLogger(name) for name in names]
    before = [(each.level, each.propagate, each.handlers) for each in loggers]
    try:
        Ended(tmp_path).watch()
        assert loggers[0].level == logging.ERROR
        loggers[1].info("Child process with PID 7 terminated with code 9. Forcefully ending")
        loggers[1].info("Launching")
        assert [type(handler) for handler in loggers[1].handlers] == [Ended]
        assert not loggers[1].propagate
    finally:
        for each, (level, propagate, handlers) in zip(loggers, before, strict=True):
            each.level, each.propagate, each.handlers = level, propagate, handlers
    assert capsys.readouterr().err == (
        "iavit: another of the processes that train together has ended; "
        f"go on with `iavit train --resume --output {tmp_path}`\n"
    )


def test_batch_norms_are_put_in_for_a_fit_and_taken_out_after_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(distributed, "get_backend", lambda: "gloo")
    model: Any = nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4), nn.Sequential(nn.BatchNorm2d(5)))
    parts = list(model.modules())
    norms = WholeBatchNorms()
    assert norms.apply(model) == model
    assert [type(part) for part in (model[1], model[2][0])] == [WholeBatchNorm] * 2
    model.eval()
    assert norms.revert(model) is model
    assert list(model.modules()) == parts
    assert not any(part.training for part in parts)
    assert norms.alone == []
