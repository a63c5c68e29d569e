from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from pathlib import Path

import pytest
from PIL import Image

from iavit import __version__, cli
from iavit.cli import main
from iavit.commands import COMMANDS
from iavit.commands.command import Command
from iavit.errors import Stopped, UserError
from tests.commands import mistake


@pytest.fixture
def picture(tmp_path: Path) -> Path:
    path = tmp_path / "a picture.png"
    Image.effect_noise((60, 40), 80).convert("RGB").save(path)
    return path


def test_help_has_a_line_a_command(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--help"]) == 0
    told = capsys.readouterr().out
    for name in (
        "demo",
        "datasets",
        "train",
        "evaluate",
        "explain",
        "report",
        "export",
        "card",
        "reproduce",
    ):
        assert sum(line.strip().startswith(f"{name} ") for line in told.splitlines()) == 1


def test_help_imports_nothing_heavy() -> None:
    code = (
        "import sys, iavit.cli; iavit.cli.main(['--help']);"
        "print([name for name in ('torch', 'timm', 'lightning', 'sklearn') if name in sys.modules])"
    )
    told = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert told.stdout.splitlines()[-1] == "[]"


def test_version(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--version"]) == 0
    assert capsys.readouterr().out.strip() == f"iavit {__version__}"


@pytest.mark.parametrize("command", list(COMMANDS))
def test_every_command_prints_its_options(command: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as left:
        main([command, "--help"])
    assert left.value.code == 0
    assert "--config" in capsys.readouterr().out


def test_a_mistyped_command_option_or_name_is_told_with_the_nearest(
    tiny_run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert "train" in mistake(capsys, "trian")
    assert "--batch-size" in mistake(capsys, "train", "--batchsize", "3")
    assert "vit_small_patch16_224" in mistake(
        capsys, "train", "--backbone", "vit_smal_patch16_224", "--output", tmp_path / "run"
    )
    assert "digits" in mistake(capsys, "train", "--data", "digts")
    assert "rollout" in mistake(capsys, "evaluate", tiny_run, "--explainers", "rolout")
    assert "positional" in mistake(capsys, "train", "--interpreter-head", "position")
    assert "--lr" in mistake(capsys, "train", "--lr", "fast")
    assert "run" in mistake(capsys, "evaluate")
    assert "--device" in mistake(capsys, "evaluate", tiny_run, "--device", "abacus")
    for option, value, told in (
        ("--images", "0", "--images"),
        ("--points", "1", "--points"),
        ("--copies", "0", "--copies"),
        ("--metrics", "infidelty", "infidelity"),
        ("--substrates", "zeroes", "zeros"),
        ("--substrates", "none", "--substrates"),
        ("--protocol", "chefr", "chefer"),
        ("--target", "label", "--target"),
        ("--score", "margin", "--score"),
        ("--coverage", "90", "--coverage"),
    ):
        assert told in mistake(capsys, "evaluate", tiny_run, option, value)


def test_the_library_names_parameters_and_the_command_line_options(
    tiny_run: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(options: object) -> None:
        raise UserError("`batch_size` is 3 and `run` odd; `iavit train` and `warp` stay")

    words = Command("x", COMMANDS["train"].add_options, refuse)
    monkeypatch.setitem(COMMANDS, "train", words)
    line = mistake(capsys, "train")
    assert line == "iavit: --batch-size is 3 and `run` odd; `iavit train` and `warp` stay\n"
    monkeypatch.setitem(COMMANDS, "report", Command("x", COMMANDS["report"].add_options, refuse))
    line = mistake(capsys, "report", tiny_run)
    assert line == "iavit: `batch_size` is 3 and RUN odd; `iavit train` and `warp` stay\n"


def test_help_shows_what_most_need_and_help_all_the_rest(
    capsys: pytest.CaptureFixture[str],
) -> None:
    pages = []
    for option in ("--help", "--help-all"):
        with pytest.raises(SystemExit):
            main(["train", option])
        pages.append(capsys.readouterr().out)
    short, full = pages
    assert all(option in short for option in ("--data", "--backbone", "--epochs", "--help-all"))
    assert "--ema" not in short
    assert "--ema" in full
    assert len(short.splitlines()) < 90 < len(full.splitlines())


def test_the_help_of_attach_names_the_classifier_and_not_how_one_is_trained(
    capsys: pytest.CaptureFixture[str],
) -> None:
    with pytest.raises(SystemExit):
        main(["attach", "--help"])
    words = capsys.readouterr().out.split()
    assert {"--classifier", "--run", "--interpreter-steps", "--interpreter-lr"} <= set(words)
    assert not {"--steps", "--epochs", "--lr", "--freeze", "--objective"} & set(words)
    assert "runs/DATA" not in words  # which is where a training without --output goes


def test_bad_settings_files_are_told(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert "nowhere.yaml" in mistake(capsys, "train", "--config", tmp_path / "nowhere.yaml")
    (tmp_path / "odd.yaml").write_text("warp_factor: 9\n")
    assert "warp_factor" in mistake(capsys, "train", "--config", tmp_path / "odd.yaml")
    (tmp_path / "broken.yaml").write_text("lr: [")
    mistake(capsys, "train", "--config", tmp_path / "broken.yaml")


def test_runs_that_are_none_are_told(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert "no such run" in mistake(capsys, "evaluate", tmp_path / "nowhere")
    assert "config.yaml" in mistake(capsys, "report", tmp_path)


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write anywhere")
def test_a_folder_that_cannot_be_written_is_told(
    tiny_run: Path, picture: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    locked = tmp_path / "locked"
    locked.mkdir(mode=0o500)
    commands: list[list[str | Path]] = [["explain", tiny_run, picture], ["evaluate", tiny_run]]
    for command in commands:
        assert "cannot be written" in mistake(capsys, *command, "--output", locked / "here")


def test_a_file_where_a_folder_should_be_is_told(
    tiny_run: Path, picture: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "file").touch()
    commands: list[list[str | Path]] = [["explain", tiny_run, picture], ["evaluate", tiny_run]]
    for command in commands:
        line = mistake(capsys, *command, "--output", tmp_path / "file" / "in")
        assert f"{tmp_path / 'file' / 'in'} cannot be written" in line
        assert "choose another folder" in line


@pytest.mark.parametrize(
    ("end", "status", "line"),
    [
        (Stopped(15), 143, "iavit: stopped by SIGTERM; go on with `iavit train --resume`\n"),
        (Stopped(2), 130, "iavit: stopped by SIGINT; go on with `iavit train --resume`\n"),
        (
            OSError(28, "No space left on device", "a.png"),
            2,
            "iavit: a.png: No space left on device\n",
        ),
        (OSError("odd"), 2, "iavit: odd\n"),
        (BrokenPipeError(), 141, ""),
    ],
)
def test_a_command_that_is_ended_has_a_status_and_a_line(
    end: BaseException,
    status: int,
    line: str,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def stop(options: object) -> None:
        if isinstance(end, Stopped):
            end.add_note("go on with `iavit train --resume`")
        raise end

    monkeypatch.setattr("iavit.cli._drop_output", lambda: None)
    monkeypatch.setitem(COMMANDS, "train", Command("x", COMMANDS["train"].add_options, stop))
    assert main(["train"]) == status
    assert capsys.readouterr().err == line


def test_the_overview_and_the_words_that_are_not_given(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "argv", ["iavit"])
    printed = []
    for given in (None, [], ["-h"], ["--help"]):
        assert main(given) == 0
        printed.append(capsys.readouterr().out)
    assert len(set(printed)) == 1
    lines = printed[0].splitlines()
    assert lines[:4] == [
        f"iavit {__version__}: image classifiers that explain themselves, trained and audited",
        "",
        "usage: iavit COMMAND [options]",
        "",
    ]
    assert lines[4] == "  demo       train, evaluate, explain and report on data that is here"
    assert lines[-2:] == ["", "`iavit COMMAND --help` lists a command's options."]
    assert len(lines) == 6 + len(COMMANDS)
    monkeypatch.setattr(sys, "argv", ["iavit", "--version"])
    assert main() == 0


@pytest.mark.parametrize(
    ("given", "line"),
    [
        (["trian"], "there is no command 'trian'; did you mean train?"),
        (["xyz"], "there is no command 'xyz'; see --help"),
        (["train", "--batch-sise=3"], "'--batch-sise' is no option of iavit train; did you mean "
         "--batch-size, --cache, --branch-width?"),
        (["train", "--preset", "no"], "--preset is 'no'; there are digits, fashion_mnist, cifar10"),
        (["train", "--batch-size", "x"], "--batch-size is x; it must be a whole number"),
        (["train", "--img-size", "x"], "--img-size is x; it must be a whole number"),
        (["train", "--lr", "inf"], "--lr is inf; it must be a number"),
        (["train", "--epochs", "x"], "--epochs is x; it must be a number"),
        (["train", "--freeze", "x"], "--freeze is x; it must be true or false"),
        (["train", "--precision", "64"], "--precision is 64; it must be one of 32, bf16, 16"),
        (["list", "foo"], "WHAT is foo; it must be one of backbones, explainers, metrics"),
        (["report"], "the following arguments are required: run"),
    ],
)  # fmt: skip
def test_a_mistake_is_answered_in_a_line(
    given: list[str], line: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert mistake(capsys, *given) == f"iavit: {line}\n"


def test_a_parsers_lines_become_one() -> None:
    with pytest.raises(UserError) as refused:
        cli._Parser(prog="x").error('Parser key "lr": is\n\n  \n  - no number: "7":\n')
    assert str(refused.value) == '--lr: is no number: "7":'


@pytest.mark.parametrize(
    "words",
    [
        ["--config", "{file}"],
        ["--config", "{file}", "--lr", "3"],
        ["--lr", "3", "--config", "{file}"],
        ["--lr", "3", "--config={file}"],
    ],
)
def test_a_file_of_settings_is_read_before_the_parser_reads_it(
    words: list[str], tmp_path: Path
) -> None:
    (tmp_path / "s.yaml").write_text("lr: 1\nlr: 2\n")
    (tmp_path / "fine.yaml").write_text("lr: 1\n")
    with pytest.raises(UserError, match="sets lr twice"):
        cli._check_files([word.format(file=tmp_path / "s.yaml") for word in words])
    cli._check_files([word.format(file=tmp_path / "fine.yaml") for word in words])
    cli._check_files(["--root", str(tmp_path / "s.yaml"), "--config"])


def test_the_first_signal_stops_and_those_after_it_do_not() -> None:
    before = [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)]

    @cli._signals()
    def stopped_twice() -> None:
        try:
            os.kill(os.getpid(), signal.SIGTERM)
        finally:
            os.kill(os.getpid(), signal.SIGTERM)
            os.kill(os.getpid(), signal.SIGINT)

    with pytest.raises(Stopped) as stopped:
        stopped_twice()
    assert stopped.value.number == signal.SIGTERM
    assert [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)] == before


def test_a_thread_of_another_program_may_run_a_command(capsys: pytest.CaptureFixture[str]) -> None:
    statuses: list[int] = []
    thread = threading.Thread(target=lambda: statuses.append(main(["--version"])))
    thread.start()
    thread.join()
    assert statuses == [0]


def test_output_that_nobody_takes_is_dropped_for_good(tmp_path: Path) -> None:
    """Else Python would try it again when it ends, and say so."""
    code = (
        "import os, sys; from iavit import cli; os.dup2(os.open('/dev/full', os.O_WRONLY), 1);"
        "sys.exit(cli.main(['--version']))"
    )
    command = [sys.executable, "-c", code]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (2, "iavit: No space left on device\n")


def test_a_files_name_cannot_steer_the_terminal(capsys: pytest.CaptureFixture[str]) -> None:
    line = mistake(capsys, "report", "a\n\x1b[31mb")
    assert line.startswith("iavit: a \\x1b[31mb: there is no such run")
