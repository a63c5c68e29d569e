"""`iavit attach`: an interpreter for a classifier that stays as it is."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import timm
import torch
import yaml
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from iavit.cli import main
from iavit.commands import attach as command
from iavit.commands import train
from iavit.config import RECIPES, Config
from iavit.model import backbones, hub, published
from tests.commands import mistake
from tests.data.files import folder, save
from tests.model.models import SIZE, convolutional, export, trace

DIGITS = tuple("0123456789")
SHORT = ["--interpreter-steps", "3", "--batch-size", "8", "--validate-every", "3"]


def pictures(root: Path, count: int = 30) -> Path:
    """Pictures of noise without labels."""
    for number in range(count):
        save(root / f"{number}.png", size=(32, 32), grain=number + 1)
    return root


def attach(root: Path, output: Path, *options: str | Path) -> list[str]:
    """The command on one's own images."""
    given = ["--data", "folder", "--root", root, "--output", output, *SHORT, *options]
    return ["attach", *map(str, given)]


def predictor(path: Path) -> dict[str, Tensor]:
    """A predictor's weights by timm's names."""
    prefix = "extractor.backbone."
    state = load_file(path)
    return {k.removeprefix(prefix): v for k, v in state.items() if k.startswith(prefix)} or state


def same(ours: dict[str, Tensor], theirs: dict[str, Tensor]) -> bool:
    return ours.keys() == theirs.keys() and all(torch.equal(ours[k], theirs[k]) for k in ours)


def description(run: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((run / "model" / "config.json").read_text())
    return found


@pytest.fixture
def backbone_file(tiny_run: Path, tmp_path: Path) -> Path:
    """Weights of the predictor alone, as a stranger's training would leave them."""
    path = tmp_path / "vit.safetensors"
    save_file(predictor(tiny_run / "model" / "model.safetensors"), path)
    return path


def test_pictures_without_labels_are_enough_and_the_predictor_stays_bit_for_bit(
    backbone_file: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = tmp_path / "run"
    options = ("--backbone", "vit_digits", "--img-size", "32", "--weights", backbone_file)
    assert main(attach(pictures(tmp_path / "loose"), run, *options)) == 0
    said = capsys.readouterr().out
    assert "folder: no labels; images: 22 training, 2 validation, 6 test" in said
    assert "prediction and explanation take one forward pass together" in said
    assert same(predictor(run / "model" / "model.safetensors"), load_file(backbone_file))
    assert tuple(description(run)["classes"]) == DIGITS


def test_what_it_leaves_is_a_run_that_labels_measure(
    tiny_run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = tmp_path / "run"
    assert main(attach(pictures(tmp_path / "loose"), run, "--run", tiny_run)) == 0
    trained = tiny_run / "model" / "model.safetensors"
    assert same(predictor(run / "model" / "model.safetensors"), predictor(trained))
    assert description(run)["normalisation"] == description(tiny_run)["normalisation"]
    line = mistake(capsys, "evaluate", run)
    assert "has no labels" in line or "have no labels" in line
    assert not (run / "evaluation.json").exists()
    labelled = folder(tmp_path / "labelled", dict.fromkeys(DIGITS, 6), (32, 32))
    measure = ["--explainers", "contributions", "--root", str(labelled), "--coverage", "0"]
    assert main(["evaluate", str(run), *measure]) == 0
    assert json.loads((run / "evaluation.json").read_text())["images"] == 10


def test_a_folder_that_timm_wrote_says_all_that_is_needed(tmp_path: Path) -> None:
    vit = timm.create_model("vit_tiny_patch16_224", num_classes=3, img_size=32)
    vit.pretrained_cfg["std"] = (0.25, 0.5, 0.75)
    saved = tmp_path / "saved"
    timm.models.save_for_hf(vit, saved, model_config={"label_names": ["ant", "bee", "cat"]})
    run = tmp_path / "run"
    assert main(attach(pictures(tmp_path / "loose"), run, "--weights", saved)) == 0
    assert same(predictor(run / "model" / "model.safetensors"), vit.state_dict())
    found = description(run)
    assert found["classes"] == ["ant", "bee", "cat"]
    assert found["architecture"]["backbone"] == "vit_tiny_patch16_224"
    assert found["architecture"]["img_size"] == 32
    assert found["normalisation"]["std"] == [0.25, 0.5, 0.75]


@pytest.mark.slow
def test_published_weights_tell_how_many_classes_there_are(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    torch.manual_seed(3)
    fetched = timm.create_model("vit_tiny_patch16_224")

    def create(name: str, *, pretrained: bool, **options: Any) -> Any:
        assert pretrained
        vit = timm.create_model(name, **options)
        vit.load_state_dict(fetched.state_dict())
        return vit

    monkeypatch.setattr(hub, "is_reachable", lambda address: False)
    monkeypatch.setattr(backbones, "timm", timm_with(create))
    run = tmp_path / "run"
    options = ("--backbone", "vit_tiny_patch16_224", "--pretrained")
    assert main(attach(pictures(tmp_path / "loose", 8), run, *options)) == 0
    assert same(predictor(run / "model" / "model.safetensors"), fetched.state_dict())
    assert len(description(run)["classes"]) == 1000


class timm_with:  # noqa: N801  # it stands for a module
    """timm, with another `create_model`."""

    def __init__(self, create_model: Any) -> None:
        self.create_model = create_model

    def __getattr__(self, name: str) -> Any:
        return getattr(timm, name)


def refused(capsys: pytest.CaptureFixture[str], root: Path, *options: str | Path) -> str:
    """The line of a command that writes nothing."""
    output = root.parent / "none"
    line = mistake(capsys, *attach(root, output, *options))
    assert not output.exists() or list(output.iterdir()) in ([], [output / ".lock"])
    shutil.rmtree(output, ignore_errors=True)
    return line


def test_weights_of_another_backbone_say_which_tensors_and_shapes(
    backbone_file: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    options = ("--backbone", "vit_photos", "--img-size", "32", "--weights", backbone_file)
    line = refused(capsys, pictures(tmp_path / "loose"), *options)
    assert f"--weights {backbone_file}: " in line
    assert "cls_token is 1 x 1 x 64 there and 1 x 1 x 96 in this backbone" in line
    assert "more differ" in line


def test_a_head_of_another_number_of_classes(
    backbone_file: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    root = folder(tmp_path / "labelled", {"ant": 6, "bee": 6, "cat": 6})
    options = ("--backbone", "vit_digits", "--img-size", "32", "--weights", backbone_file)
    line = refused(capsys, root, *options)
    assert "the classifier tells 10 classes apart, and the images are of 3: ant, bee, cat" in line
    line = refused(capsys, root, "--backbone", "vit_tiny_patch16_224", "--pretrained")
    assert "tells 1000 classes apart" in line


def test_classes_of_other_names(
    tiny_run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    names = [f"class {digit}" for digit in DIGITS]
    saved = tmp_path / "saved"
    shutil.copytree(tiny_run / "model", saved)
    named = description(tiny_run) | {"classes": names}
    (saved / "config.json").write_text(json.dumps(named))
    root = folder(tmp_path / "labelled", dict.fromkeys(DIGITS, 6))
    line = refused(capsys, root, "--weights", saved)
    assert "classifier's classes are class 0, class 1, " in line
    assert "and the images' 0, 1, 2, 3, 4, ..." in line


def test_a_size_that_the_weights_were_not_trained_at(
    backbone_file: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    root = pictures(tmp_path / "loose")
    options = ("--backbone", "vit_digits", "--img-size", "16", "--weights", backbone_file)
    line = refused(capsys, root, *options)
    assert "pos_embed would have to be resampled" in line
    options = ("--backbone", "vit_tiny_patch16_224", "--pretrained", "--img-size", "32")  # type: ignore[assignment]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(hub, "is_reachable", lambda address: False)
        patch.setattr(
            backbones,
            "timm",
            timm_with(lambda name, *, pretrained, **options: timm.create_model(name, **options)),
        )
        line = refused(capsys, root, *options)
    assert "--img-size is 32, and vit_tiny_patch16_224 was published for 224 pixels" in line


@pytest.mark.parametrize(
    ("options", "named"),
    [
        (
            ["--backbone", "vit_digits"],
            "a predictor that is not trained has to come from somewhere; give --run, --weights, "
            "--pretrained or --classifier",
        ),
        (["--backbone", "vit_digits", "--weights", "w.pt", "--steps", "5"], "--steps is 5"),
        (["--weights", "nowhere.pth"], "--weights nowhere.pth: there is no such file"),
        (["--weights", "w.pt", "--mean", "0.5,0.5"], "--mean is '0.5,0.5'; give three numbers"),
        (["--weights", "w.pt", "--std", "0.5,0,0.5"], "--std is '0.5,0,0.5'; give three numbers"),
        (
            ["--weights", "w.pt", "--std", "0.5,nan,0.5"],
            "--std is '0.5,nan,0.5'; give three numbers",
        ),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_mistakes_are_told_in_one_line(
    options: list[str], named: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert named in refused(capsys, pictures(tmp_path / "loose", 12), *options)


def test_a_head_that_tells_no_classes_apart(
    backbone_file: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    state = {k: v for k, v in load_file(backbone_file).items() if not k.startswith("head")}
    save_file(state, backbone_file)
    options = ("--backbone", "vit_digits", "--img-size", "32", "--weights", backbone_file)
    assert "there is no head that tells classes apart" in refused(
        capsys, pictures(tmp_path / "loose"), *options
    )


def test_training_a_predictor_needs_labels(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    root = pictures(tmp_path / "loose")
    line = mistake(capsys, "train", "--data", "folder", "--root", root, "--output", tmp_path / "r")
    assert f"--root {root}: has no subfolders, so its images have no labels" in line


@pytest.mark.parametrize("write", [trace, export])
def test_a_classifier_in_a_file_is_explained_measured_and_kept(
    write: Callable[[nn.Module, Path], Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = write(convolutional().eval(), tmp_path / "model.pt")
    run = tmp_path / "run"
    options = ("--classifier", path, "--img-size", str(SIZE), "--backbone", "vit_digits")
    assert main(attach(pictures(tmp_path / "loose"), run, *options)) == 0
    said = capsys.readouterr().out
    assert (
        "one forward pass of the classifier, which predicts, and one of the interpreter's" in said
    )
    assert (run / "model" / "classifier.pt").read_bytes() == path.read_bytes()
    assert description(run)["classes"] == ["0", "1", "2"]
    labelled = folder(tmp_path / "labelled", {"0": 6, "1": 6, "2": 6}, (SIZE, SIZE))
    measure = ["--explainers", "contributions,occlusion,rollout", "--root", str(labelled)]
    line = mistake(capsys, "evaluate", run, *measure, "--coverage", "0")
    assert "the classifier is only asked for answers" in line
    measure[1] = "contributions,occlusion"
    assert main(["evaluate", str(run), *measure, "--coverage", "0"]) == 0
    found = json.loads((run / "evaluation.json").read_text())
    assert list(found["faithfulness"]) == ["contributions", "occlusion"]
    assert main(["explain", str(run), str(labelled / "0" / "0.png")]) == 0
    assert main(["report", str(run)]) == 0
    page = (run / "report" / "index.html").read_text()
    assert "A classifier from a file that tells 3 classes apart" in page
    capsys.readouterr()
    line = mistake(capsys, "export", run, tmp_path / "model.onnx")
    assert "is not exported" in line
    assert not (tmp_path / "model.onnx").exists()


@pytest.mark.parametrize(
    ("options", "named"),
    [
        (["--img-size", "16", "--classifier", "loose"], "--classifier loose: there is no such"),
        (["--classifier", "model.pt"], "say with --img-size how many pixels a side it reads"),
        (["--classifier", "model.pt", "--img-size", "4"], "--img-size"),
        (
            ["--classifier", "model.pt", "--img-size", "16", "--weights", "w.pt"],
            "leave --weights and --pretrained out",
        ),
        (
            ["--classifier", "model.pt", "--img-size", "16", "--alignment-weight", "1"],
            "which reads attention, at 0",
        ),
    ],
    ids=lambda value: " ".join(value[-2:]) if isinstance(value, list) else "",
)
def test_mistakes_with_a_file_are_told_in_one_line(
    options: list[str],
    named: str,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(tmp_path)
    trace(nn.Sequential(nn.Flatten(), nn.Linear(3 * SIZE**2, 3)), tmp_path / "model.pt")
    assert named in refused(capsys, pictures(tmp_path / "loose", 12), *options)


def test_a_classifier_of_another_number_of_classes_than_the_labels(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = trace(convolutional().eval(), tmp_path / "model.pt")
    root = folder(tmp_path / "labelled", {"ant": 6, "bee": 6})
    line = refused(capsys, root, "--classifier", path, "--img-size", str(SIZE))
    assert "the classifier tells 3 classes apart, and the images are of 2: ant, bee" in line


def test_the_interpreters_backbone_is_chosen_by_the_size_that_a_file_reads(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(backbones, "default_backbone", lambda pixels: f"of {pixels} pixels")
    for given, pixels in (("48", 48), ("4x", 0), (None, 0)):
        assert command._for_file(given) == {"backbone": f"of {pixels} pixels", "img_size": None}


@pytest.mark.parametrize(
    ("data", "mean", "normalised"),
    [
        ("folder", (0.5, 0.25, 0.125), True),
        ("digits", (0.5, 0.25, 0.125), False),
        ("no such", (0.5, 0.25, 0.125), False),
        ("folder", None, False),
    ],
)
def test_a_description_decides_backbone_size_and_normalisation(
    data: str, mean: object, normalised: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """How pixels are normalised is a setting of one's own images alone."""
    found = SimpleNamespace(backbone="vit", img_size=48, mean=mean, std=(1.0, 2.0, 4.0))
    monkeypatch.setattr(published, "read_published", lambda folder: {tmp_path: found}[folder])
    assert command._described(tmp_path, data) == {}
    (tmp_path / "config.json").touch()
    expected = {"backbone": "vit", "img_size": 48}
    pixels = {"mean": "0.5,0.25,0.125", "std": "1.0,2.0,4.0"} if normalised else {}
    assert command._described(tmp_path, data) == expected | pixels


def test_what_is_attached_to_is_said_and_what_comes_next(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    asked: list[tuple[Any, ...]] = []

    def train_run(config: Config, folder: Path, *, resume: bool) -> Any:
        asked.append((config, folder, resume))
        return SimpleNamespace(saved=SimpleNamespace(model=SimpleNamespace(cost="two passes")))

    monkeypatch.setattr(train, "train_run", train_run)
    monkeypatch.setattr(train, "say_plan", lambda config: asked.append(("planned", config)))
    words = ["attach", "--weights", "w.pth", "--backbone", "vit_digits", "--img-size", "32"]
    assert main([*words, "--output", "there", "--dry-run"]) == 0
    ((_, config),) = asked
    assert (config.training.steps, config.training.interpreter_steps) == (0, 2000)
    assert (config.model.weights, config.objective) == ("w.pth", RECIPES["faithful"])
    assert capsys.readouterr().out == ""
    assert main([*words, "--output", "there"]) == 0
    assert asked[1] == (config, Path("there"), False)
    assert capsys.readouterr().out == (
        "there explains the classifier: two passes.\nnext: iavit evaluate there\n"
    )
    assert mistake(capsys, *words) == "iavit: --output: name a folder for the run\n"


def test_a_run_brings_its_settings_and_its_predictor(
    tiny_run: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit):
        main(["attach", "--run", str(tiny_run), "--print_config"])
    values = yaml.safe_load(capsys.readouterr().out)
    assert (values["batch_size"], values["validate_every"]) == (16, 3)
    assert (values["weights"], values["pretrained"]) == (str(tiny_run / "model"), False)
    assert (values["steps"], values["epochs"], values["interpreter_steps"]) == (0, None, 2000)
    other = ("--run", tiny_run, "--weights", "w.pth", "--output", "o")
    line = mistake(capsys, "attach", *other)
    assert line == "iavit: --run and --weights: give one of the two\n"
