"""Mistakes and outputs that cannot be written: one line, a status, nothing left behind."""

from __future__ import annotations

import os
import resource
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from iavit.cli import main
from iavit.config import Config
from iavit.data import digits
from iavit.errors import UserError
from iavit.files import write_yaml
from iavit.training.callbacks import MetricsFile
from iavit.training.directory import load_run, read_config
from tests.commands import mistake

SMALL = (
    "from iavit.data import digits; import sys;"
    "digits.SCENES.update(train=96, val=60, test=60);"
    "from iavit.cli import main; sys.exit(main(sys.argv[1:]))"
)
RUN = ["train", "--batch-size", "16", "--validate-every", "10", "--log-every", "2", "--steps"]


@pytest.mark.parametrize(
    ("options", "named"),
    [
        ("--accelerator abacus", "--accelerator abacus"),
        ("--accelerator cpu --devices 0", "--devices 0"),
        ("--accelerator cpu --devices=-1", "--devices -1"),
        ("--accelerator cpu --devices [0]", "--devices [0]"),
        ("--accelerator cpu --precision 16", "--precision 16"),
        ("--strategy relay", "--strategy relay"),
        ("--seed=-1", "--seed is -1"),
        ("--seed 1099511627776", "--seed is 1099511627776"),
        ("--warmup 1e400", "--warmup is inf"),
        ("--warmup 2", "--warmup is 2.0"),
        ("--momentum 5", "--momentum is 5.0"),
        ("--weight-decay=-1", "--weight-decay is -1.0"),
        ("--clip=-1", "--clip is -1.0"),
        ("--lr nan", "--lr"),
        ("--workers 100000", "--workers is 100000"),
        ("--backbone vit_tiny_patch16_224.nope", "--backbone vit_tiny_patch16_224.nope"),
        ("--img-size 99999999", "--img-size"),
        ("--weights /", "--weights /"),
        ("--augment nonsense", "--augment"),
        ("--", "'--' is no option"),
    ],
)
def test_a_senseless_training_is_refused_and_leaves_nothing(
    options: str, named: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    line = mistake(capsys, *RUN, "2", "--output", tmp_path / "runs" / "run", *options.split())
    assert named in line
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("command", "named"),
    [
        ("evaluate {run} --device meta", "--device"),
        ("evaluate {run} --copies 99999999999999999999", "--copies is 99999999999999999999"),
        ("evaluate {run} --points 99999999", "--points is 99999999"),
        ("evaluate {run} --output {long}", "File name too long"),
        ("explain {run} {picture} --output {long}", "File name too long"),
        ("explain {run} {picture} --device meta", "--device"),
        ("reproduce digits --seeds 99999999999", "--seeds is 99999999999"),
        ("demo --steps 0 --output {there}/demo", "--steps is 0"),
        ("evaluate --", "'--' is no option"),
    ],
)
def test_a_senseless_command_is_refused(
    command: str,
    named: str,
    tiny_run: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    picture = tmp_path / "a.png"
    Image.effect_noise((40, 40), 80).save(picture)
    names = {"run": tiny_run, "long": tmp_path / ("a" * 300), "picture": picture, "there": tmp_path}
    assert named in mistake(capsys, *command.format(**names).split())
    assert [path.name for path in tmp_path.iterdir()] == ["a.png"]


@pytest.mark.parametrize("value", ["1e5", "0x10", "1_000", "null", "yes", "ünï", "~", "2026-11-26"])
def test_settings_are_read_back_as_they_were_by_us_and_as_an_option(
    value: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    config = Config.from_flat({"root": value})
    write_yaml(tmp_path / "config.yaml", config.flat())
    assert read_config(tmp_path).data.root == value
    with pytest.raises(SystemExit):
        main(["train", "--config", str(tmp_path / "config.yaml"), "--print_config"])


@pytest.mark.parametrize(
    ("line", "named"),
    [
        ("lr: fast", "`lr` is 'fast'"),
        ("steps: 1.5", "`steps` is 1.5"),
        ("freeze: 1", "`freeze` is 1"),
        ("precision: 32", "`precision` is 32"),
        ("augment: nonsense", "`augment` is 'nonsense'"),
    ],
)
def test_settings_edited_by_hand_are_checked(
    line: str, named: str, tiny_run: Path, tmp_path: Path
) -> None:
    text = (tiny_run / "config.yaml").read_text()
    name = line.split(":")[0]
    lines = [kept for kept in text.splitlines() if not kept.startswith(f"{name}:")]
    (tmp_path / "config.yaml").write_text("\n".join([*lines, line]))
    with pytest.raises(UserError, match=r"config\.yaml: ") as refused:
        read_config(tmp_path)
    assert named in str(refused.value)


def test_weights_that_are_no_numbers_are_refused(
    tiny_run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    state = load_run(tiny_run).saved.model.state_dict()
    state["extractor.backbone.pos_embed"][0, 0, 0] = torch.nan
    torch.save(state, tmp_path / "a.pth")
    output = tmp_path / "run"
    line = mistake(capsys, *RUN, "2", "--weights", tmp_path / "a.pth", "--output", output)
    assert "pos_embed has values that are no numbers" in line
    assert not output.exists()


def test_a_class_without_a_name_is_no_model(tiny_run: Path, tmp_path: Path) -> None:
    shutil.copytree(tiny_run, tmp_path / "run")
    path = tmp_path / "run" / "model" / "config.json"
    path.write_text(path.read_text().replace('"0",', "", 1))
    with pytest.raises(UserError, match="no model that can be read"):
        load_run(tmp_path / "run")


@pytest.mark.parametrize("text", ["step\nnine\n", "loss\n1\n"])
def test_a_damaged_metrics_file_is_named(text: str, tmp_path: Path) -> None:
    (tmp_path / "metrics.csv").write_text(text)
    with pytest.raises(UserError, match=r"metrics\.csv is damaged"):
        MetricsFile(tmp_path / "metrics.csv", 0).keep_until(9)


@pytest.fixture
def started(tmp_path: Path) -> tuple[subprocess.Popen[str], Path]:
    """A training run that has validated once."""
    folder = tmp_path / "run"
    command = [sys.executable, "-c", SMALL, *RUN, "100000", "--output", str(folder)]
    process = subprocess.Popen(command, stdout=-1, stderr=-1, text=True)
    assert process.stdout is not None
    for line in process.stdout:
        if line.startswith("step "):
            return process, folder
    raise AssertionError(process.communicate()[1])


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_ends_training_with_its_status_and_how_to_go_on(
    started: tuple[subprocess.Popen[str], Path], number: signal.Signals
) -> None:
    process, folder = started
    for _ in range(2):  # the second comes while the first is obeyed
        process.send_signal(number)
    _, error = process.communicate(timeout=120)
    assert process.returncode == 128 + number
    assert error == (
        f"iavit: stopped by {number.name}; go on with `iavit train --resume --output {folder}`\n"
    )
    assert not list(folder.rglob(".*"))


def command(*arguments: str | Path, **options: object) -> subprocess.CompletedProcess[str]:
    words = [sys.executable, "-c", SMALL, *map(str, arguments)]
    return subprocess.run(words, stderr=-1, text=True, timeout=120, check=False, **options)  # type: ignore[call-overload]


@pytest.mark.slow
def test_nobody_reads_on(tiny_run: Path, tmp_path: Path) -> None:
    paths = [tmp_path / f"{number}.png" for number in range(3)]
    for path in paths:
        Image.fromarray(np.zeros((20, 20, 3), np.uint8)).save(path)
    reads, writes = os.pipe()
    os.close(reads)
    done = command("explain", tiny_run, *paths, "--output", tmp_path / "maps", stdout=writes)
    os.close(writes)
    assert (done.returncode, done.stderr) == (128 + signal.SIGPIPE, "")


@pytest.mark.slow
@pytest.mark.skipif(not Path("/dev/full").exists(), reason="there is no /dev/full")
def test_standard_output_is_full(tiny_run: Path, tmp_path: Path) -> None:
    path = tmp_path / "a.png"
    Image.fromarray(np.zeros((20, 20, 3), np.uint8)).save(path)
    with Path("/dev/full").open("w") as full:
        done = command("explain", tiny_run, path, "--output", tmp_path / "maps", stdout=full)
    assert (done.returncode, done.stderr) == (2, "iavit: No space left on device\n")


@pytest.mark.slow
def test_files_may_not_grow_so_long(tmp_path: Path) -> None:
    """`ulimit -f`: checkpoints are too long for it, what is written before them is not."""

    def limit() -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (200_000, 200_000))

    folder = tmp_path / "run"
    done = command(*RUN, "20", "--output", folder, preexec_fn=limit, stdout=-1)
    assert done.returncode == 2
    assert done.stderr == (
        f"iavit: {folder}/checkpoints/best.ckpt cannot be written (File too large); "
        f"go on with `iavit train --resume --output {folder}`\n"
    )
    assert not list(folder.rglob(".*"))
    assert main(["train", "--resume", "--output", str(folder)]) == 0
    assert digits.SCENES["train"] == 96
    assert load_run(folder).config.training.steps == 20


@pytest.mark.slow
def test_the_folder_vanishes(started: tuple[subprocess.Popen[str], Path]) -> None:
    process, folder = started
    folder.rename(folder.with_name("moved"))
    _, error = process.communicate(timeout=120)
    assert process.returncode == 2
    assert error.startswith(f"iavit: {folder}/")
    assert "cannot be written (No such file or directory)" in error
    assert error.count("\n") == 1
