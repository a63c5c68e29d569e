from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from PIL import Image

from iavit import __version__, explain
from iavit.cli import main
from iavit.commands import COMMANDS
from iavit.commands.command import Command
from iavit.commands.console import say
from iavit.errors import UserError
from iavit.evaluate.evaluation_json import read_evaluation

EXPLAINERS = [name for name in explain.EXPLAINERS if name not in explain.SLOW]
QUICK = ["--explainers", "quick"]


def mistake(capsys: pytest.CaptureFixture[str], *arguments: str | Path) -> str:
    """Run a command that must fail as a user's mistake does; returns its one line."""
    assert main([str(argument) for argument in arguments]) == 2
    told = capsys.readouterr().err
    assert told.startswith("iavit: ")
    assert told.count("\n") == 1
    return told


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


def test_datasets_lists_them(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["datasets"]) == 0
    told = capsys.readouterr().out
    for name in ("digits", "fashion_mnist", "cifar100", "celeba", "shards"):
        assert name in told


def test_datasets_looks_where_it_is_told(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    def here() -> set[str]:
        assert main(["datasets", "--root", str(tmp_path)]) == 0
        rows = [line.split("│") for line in capsys.readouterr().out.splitlines()]
        return {row[1].strip() for row in rows if len(row) > 4 and row[4].strip() == "yes"}

    assert here() == {"digits"}
    (tmp_path / "cifar-10-batches-py").mkdir()
    assert here() == {"digits", "cifar10", "folder"}


@pytest.mark.parametrize("command", list(COMMANDS))
def test_every_command_prints_its_options(command: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as left:
        main([command, "--help"])
    assert left.value.code == 0
    assert "--config" in capsys.readouterr().out


def test_printed_settings_are_read_back(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["train", "--img-size", "28", "--lr", "0.5", "--print_config"])
    printed = capsys.readouterr().out
    (tmp_path / "settings.yaml").write_text(printed)
    with pytest.raises(SystemExit):
        main(["train", "--config", str(tmp_path / "settings.yaml"), "--print_config"])
    assert capsys.readouterr().out == printed
    assert "lr: 0.5" in printed
    assert "backbone: vit_digits" in printed  # the preset of the data set


@pytest.mark.parametrize(
    ("given", "read"), [(["--freeze"], "true"), (["--freeze", "false"], "false"), ([], "false")]
)
def test_a_switch_needs_no_value(
    given: list[str], read: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit):
        main(["train", *given, "--print_config"])
    assert f"\nfreeze: {read}\n" in capsys.readouterr().out


def test_the_settings_of_a_run_repeat_it(
    tiny_run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    again = tmp_path / "again"
    assert main(["train", "--config", str(tiny_run / "config.yaml"), "--output", str(again)]) == 0
    name = "model/model.safetensors"
    assert (again / name).read_bytes() == (tiny_run / name).read_bytes()


def test_resume_takes_the_settings_of_the_run(
    tiny_run: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["train", "--resume", "--output", str(tiny_run)]) == 0
    assert "--lr" in mistake(capsys, "train", "--resume", "--output", tiny_run, "--lr", "1")


def test_evaluate_writes_what_the_contract_says(
    tiny_run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    few = ["--images", "40", *QUICK]
    assert main(["evaluate", str(tiny_run), *few, "--output", str(tmp_path)]) == 0
    found = json.loads((tmp_path / "evaluation.json").read_text())
    assert found["dataset"] == "digits"
    assert found["split"] == "test"
    assert found["images"] == 40
    assert set(found["provenance"]) == {"version", "commit", "seed", "torch", "device", "seconds"}
    figure = {"mean", "low", "high"}
    for key in ("predictor_accuracy", "interpreter_accuracy", "agreement"):
        assert set(found["prediction"][key]) == figure
    assert 0 <= found["prediction"]["predictor_ece"] <= 1
    assert list(found["faithfulness"]) == EXPLAINERS
    for of in found["faithfulness"].values():
        for metric in ("deletion", "insertion", "difference"):
            assert set(of[metric]) == figure
            assert of[metric]["low"] <= of[metric]["mean"] <= of[metric]["high"]
        difference = of["insertion"]["mean"] - of["deletion"]["mean"]
        assert of["difference"]["mean"] == pytest.approx(difference, abs=1e-6)
        assert of["seconds_per_image"] > 0
        bands = {f"{name}_{end}" for name in ("insertion", "deletion") for end in ("low", "high")}
        assert bands < set(of["curves"])
        assert len({len(values) for values in of["curves"].values()}) == 1
        assert "substrates" not in of  # of one alone, they are the figures above
    assert list(found["localisation"]) == EXPLAINERS
    for of in found["localisation"].values():
        assert set(of) == {"pointing_game", "evidence_mass", "relevance_rank_accuracy"}
    pairs = {(pair["metric"], pair["a"], pair["b"]) for pair in found["comparisons"]}
    assert ("difference", "contributions", "rollout") in pairs
    keys = {"metric", "a", "b", *figure, "p", "adjusted_p", "inside_noise"}
    assert all(set(pair) == keys for pair in found["comparisons"])
    told = capsys.readouterr().out
    assert "rollout" in told
    assert f"iavit report {tiny_run} --evaluation {tmp_path}" in told
    noise = [
        pair["b"]
        for pair in found["comparisons"]
        if pair["metric"] == "difference" and pair["inside_noise"]
    ]
    assert noise  # of a model that learned nothing
    (line,) = (line for line in told.splitlines() if "noise" in line)
    assert all(name in line for name in noise)


def test_evaluate_narrows_to_the_explainers_named(
    tiny_run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    chosen = ["--explainers", "random,rollout", "--images", "20"]
    assert main(["evaluate", str(tiny_run), *chosen, "--output", str(tmp_path)]) == 0
    found = json.loads((tmp_path / "evaluation.json").read_text())
    assert list(found["faithfulness"]) == ["random", "rollout"]
    sufficient = found["sufficient"]
    assert (sufficient["coverage_asked"], sufficient["calibrated_on"]) == (0.9, 20)
    for name in ("random", "rollout"):
        share = sufficient[name]["share_of_patches"]["mean"]
        assert share == sufficient[name]["patches"] / 64
        assert 0 <= sufficient[name]["coverage"]["low"] <= 1
    read = read_evaluation(tmp_path).sufficient
    assert read is not None
    assert read.explainers["rollout"].patches == sufficient["rollout"]["patches"]
    assert "first patches that keep the answer in 90 %" in capsys.readouterr().out


def test_evaluate_measures_what_it_is_asked_for(
    tiny_run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    asked = {
        "--explainers": "rollout",
        "--images": "5",
        "--metrics": "infidelity,max_sensitivity",
        "--substrates": "blur,drop",
        "--points": "4",
        "--copies": "7",
        "--target": "true",
        "--score": "logit",
        "--protocol": "chefer,torchcam",
    }
    words = [word for option in asked.items() for word in option]
    assert main(["evaluate", str(tiny_run), *words, "--output", str(tmp_path)]) == 0
    found = json.loads((tmp_path / "evaluation.json").read_text())
    assert (found["explained_class"], found["score"]) == ("true", "logit")
    of = found["faithfulness"]["rollout"]
    assert {"infidelity", "max_sensitivity"} < set(of)
    assert "randomisation" not in of
    assert list(of["substrates"]) == ["blur", "drop"]
    assert len(of["curves"]["fractions"]) == 4
    assert {name: set(by["rollout"]) for name, by in found["protocols"].items()} == {
        "chefer": {"positive", "negative"},
        "torchcam": {"deletion", "insertion"},
    }
    told = capsys.readouterr().out
    for word in ("infidelity", "over substrates", "protocol chefer"):
        assert word in told


def test_two_evaluations_say_the_same(
    tiny_run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    said = []
    for name in ("a", "b"):
        folder = str(tmp_path / name)
        assert main(["evaluate", str(tiny_run), "--images", "20", *QUICK, "--output", folder]) == 0
        found = json.loads((tmp_path / name / "evaluation.json").read_text())
        del found["provenance"]
        for of in found["faithfulness"].values():
            del of["seconds_per_image"]
        said.append(found)
    assert said[0] == said[1]


def test_explain_writes_a_picture_and_a_line_for_each_image(
    tiny_run: Path, picture: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    other = tmp_path / "elsewhere" / picture.name
    other.parent.mkdir()
    Image.new("L", (9, 300)).save(other)
    arguments = ["explain", str(tiny_run), str(picture), str(other)]
    assert main([*arguments, "--output", str(tmp_path / "maps")]) == 0
    lines = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [line["image"] for line in lines] == [str(picture), str(other)]
    assert len({line["map"] for line in lines}) == 2
    for line in lines:
        assert isinstance(line["agreement"], bool)
        for branch in ("predictor", "interpreter"):
            probabilities = [top["probability"] for top in line[branch]]
            assert probabilities == sorted(probabilities, reverse=True)
            assert 0 < sum(probabilities) <= 1.0001
        with Image.open(line["map"]) as overlay:
            assert overlay.format == "PNG"


def test_report_is_one_page(
    tiny_run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    told = mistake(capsys, "report", tiny_run, "--output", tmp_path / "early")
    assert "iavit evaluate" in told
    assert not (tmp_path / "early").exists()


def test_report_of_an_evaluation_that_was_moved(
    tiny_run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    moved = tmp_path / "moved"
    evaluate = ["evaluate", str(tiny_run), "--images", "5", "--explainers", "random"]
    assert main([*evaluate, "--output", str(moved)]) == 0
    assert main(["report", str(tiny_run), "--evaluation", str(moved)]) == 0
    assert (
        "5 of 60 test images, drawn evenly over classes"
        in (moved / "report" / "index.html").read_text()
    )
    assert not (tiny_run / "report").exists()


def test_the_demo_goes_the_whole_way_and_may_be_repeated(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / "demo"
    for _ in range(2):
        assert main(["demo", "--output", str(folder), "--steps", "3"]) == 0
    assert json.loads((folder / "evaluation.json").read_text())["images"] == 60
    assert list((folder / "explanations").glob("*.png"))
    assert "<html" in (folder / "report" / "index.html").read_text()
    assert "trained already" in capsys.readouterr().out


def test_a_mistyped_command_option_or_name_is_told_with_the_nearest(
    tiny_run: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert "train" in mistake(capsys, "trian")
    assert "--batch-size" in mistake(capsys, "train", "--batchsize", "3")
    assert "vit_small_patch16_224" in mistake(
        capsys, "train", "--backbone", "vit_smal_patch16_224", "--output", "/nonexistent/run"
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


@pytest.mark.parametrize("names", ["rolout", "rollout,rolout", ","])
def test_an_unknown_explainer_of_a_picture(
    tiny_run: Path, picture: Path, names: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert "--explainer" in mistake(capsys, "explain", tiny_run, picture, "--explainer", names)


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


def test_names_are_neither_markup_nor_orders_to_the_terminal(
    capsys: pytest.CaptureFixture[str],
) -> None:
    say("run [exp] 1 [/x] :smile: \x1b[31mred\x07\nnext")
    assert capsys.readouterr().out == "run [exp] 1 [/x] :smile: \\x1b[31mred\\x07\nnext\n"


@pytest.mark.parametrize(
    ("what", "line"),
    [
        ("explainers", "rise            no"),
        ("metrics", "deletion                   lower    always"),
        ("metrics", "road                       higher   --metrics road"),
        ("backbones", "vit_small_patch16_224"),
    ],
)
def test_names_that_options_take_are_listed(
    what: str, line: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "160")
    assert main(["list", what]) == 0
    printed = [" ".join(row.split()) for row in capsys.readouterr().out.splitlines()]
    assert any(row.startswith(" ".join(line.split())) for row in printed)
    assert not any(row.startswith("swin") for row in printed)  # refused, and so not offered


def test_a_backbone_that_is_suggested_is_not_refused_next(
    capsys: pytest.CaptureFixture[str],
) -> None:
    line = mistake(capsys, "train", "--backbone", "swim_tiny_patch4_window7_224", "--output", "x")
    assert "swin" not in line


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


def test_names_of_data_sets_wait_for_nothing_heavy() -> None:
    code = (
        "import sys; from iavit.cli import main; main(['datasets']);"
        "print([name for name in ('timm', 'lightning', 'sklearn') if name in sys.modules])"
    )
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert run.stdout.splitlines()[-1] == "[]"


def test_bad_settings_files_are_told(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert "nowhere.yaml" in mistake(capsys, "train", "--config", tmp_path / "nowhere.yaml")
    (tmp_path / "odd.yaml").write_text("warp_factor: 9\n")
    assert "warp_factor" in mistake(capsys, "train", "--config", tmp_path / "odd.yaml")
    (tmp_path / "broken.yaml").write_text("lr: [")
    mistake(capsys, "train", "--config", tmp_path / "broken.yaml")


def test_runs_that_are_none_are_told(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert "no such run" in mistake(capsys, "evaluate", tmp_path / "nowhere")
    assert "config.yaml" in mistake(capsys, "report", tmp_path)


def test_one_bad_image_among_good_ones_leaves_nothing_behind(
    tiny_run: Path, picture: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    bad = tmp_path / "bad.png"
    bad.write_bytes(b"\x89PNG but not really")
    maps = tmp_path / "maps"
    assert "bad.png" in mistake(capsys, "explain", tiny_run, picture, bad, "--output", maps)
    assert not maps.exists()
    gone = tmp_path / "gone.png"
    assert "gone.png" in mistake(capsys, "explain", tiny_run, gone, "--output", maps)


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
        assert "--output" in mistake(capsys, *command, "--output", tmp_path / "file" / "in")


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ([], {"objective": "faithful", "path_weight": "2.0", "interpreter": "after"}),
        (["--objective", "paper"], {"objective": "paper", "path_weight": "0.0"}),
        (["--objective=plain", "--path-weight", "2"], {"objective": "plain", "path_weight": "2.0"}),
        (
            ["--data", "fashion_mnist", "--objective", "paper"],
            {"objective": "paper", "interpreter": "joint", "lr": "0.003"},
        ),
        (["--data", "folder", "--preset", "cifar10"], {"data": "folder", "backbone": "vit_photos"}),
    ],
)
def test_a_recipe_sets_the_objective_and_options_override_it(
    given: list[str], expected: dict[str, str], capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit):
        main(["train", *given, "--print_config"])
    printed = dict(line.split(": ", 1) for line in capsys.readouterr().out.splitlines())
    assert {name: printed[name] for name in expected} == expected


def test_a_recipe_may_be_named_in_a_file(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "mine.yaml").write_text("objective: paper\nmasked_weight: 0.7\n")
    with pytest.raises(SystemExit):
        main(["train", "--config", str(tmp_path / "mine.yaml"), "--print_config"])
    printed = dict(line.split(": ", 1) for line in capsys.readouterr().out.splitlines())
    assert (printed["objective"], printed["path_weight"]) == ("paper", "0.0")
    assert printed["masked_weight"] == "0.7"
    assert "papers" in mistake(capsys, "train", "--objective", "papers")
