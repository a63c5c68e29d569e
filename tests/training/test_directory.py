from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml

from iavit.config import Config
from iavit.errors import UserError
from iavit.files import write_yaml
from iavit.training.directory import (
    add_bad_images,
    bad_images,
    check_folder,
    load_run,
    read_config,
)


def test_bad_images_are_listed_once_a_line(tmp_path: Path) -> None:
    assert bad_images(tmp_path) == []
    add_bad_images(tmp_path, [])
    assert not (tmp_path / "bad_images.txt").exists()
    add_bad_images(tmp_path, ["b\nc.png", "é a.png", "x\udcff.png"])
    add_bad_images(tmp_path, ["é a.png", "back\\slash.png"])
    assert bad_images(tmp_path) == ["b\\nc.png", "x\\udcff.png", "é a.png", "back\\\\slash.png"]
    more = [f"{number}.png" for number in range(9)]
    add_bad_images(tmp_path, reversed(more))
    assert bad_images(tmp_path)[4:] == more  # what comes at once, by name


def as_of_0_1(run: Path, folder: Path, **settings: Any) -> Path:
    """A run as iavit 0.1 wrote it: with settings and an architecture that have lost parts since."""
    shutil.copytree(run, folder)
    path = folder / "config.yaml"
    values = yaml.safe_load(path.read_text())
    del values["objective"]
    gone = {"attention_layers": None, "attention_queries": "patches"}
    values |= {**gone, "subset_simulation_weight": 0.0, **settings}
    path.write_text(yaml.safe_dump(values))
    path = folder / "model" / "config.json"
    described = json.loads(path.read_text())
    gone = {name: settings.get(name, value) for name, value in gone.items()}
    described["architecture"] |= gone
    path.write_text(json.dumps(described))
    return folder


def test_a_run_of_an_earlier_version_is_read(tiny_run: Path, tmp_path: Path) -> None:
    old, new = load_run(as_of_0_1(tiny_run, tmp_path / "old")), load_run(tiny_run)
    assert old.config == new.config
    images = torch.randn(2, 3, 32, 32)
    assert torch.equal(old.saved.model(images).logits, new.saved.model(images).logits)


@pytest.mark.parametrize(
    ("name", "value"), [("subset_simulation_weight", 0.3), ("attention_layers", 1)]
)
def test_a_run_whose_settings_have_gone_is_refused_with_its_version(
    tiny_run: Path, tmp_path: Path, name: str, value: float
) -> None:
    folder = as_of_0_1(tiny_run, tmp_path / "old", **{name: value})
    with pytest.raises(UserError) as refusal:
        read_config(folder)
    expected = f"{folder / 'config.yaml'}: `{name}` is {value}, which this version has no more; "
    assert str(refusal.value) == expected + "use iavit 0.1, which wrote it"


def test_a_hand_written_setting_of_the_wrong_type_is_refused_by_name(
    tiny_run: Path, tmp_path: Path
) -> None:
    folder = tmp_path / "run"
    shutil.copytree(tiny_run, folder)
    text = (folder / "config.yaml").read_text()
    (folder / "config.yaml").write_text(text.replace("batch_size: 16", "batch_size: sixteen"))
    with pytest.raises(UserError, match=r"config\.yaml: `batch_size` is 'sixteen'; it must be"):
        read_config(folder)


@pytest.mark.parametrize("missing", ["model/model.safetensors", "config.yaml"])
def test_a_half_written_run_is_refused(tiny_run: Path, tmp_path: Path, missing: str) -> None:
    folder = tmp_path / "half"
    shutil.copytree(tiny_run, folder)
    (folder / missing).unlink()
    with pytest.raises(UserError):
        load_run(folder)


@pytest.mark.parametrize(
    ("file", "content", "told"),
    [
        ("model/config.json", '{"format": 99, "iavit": "9.0"}', "format 99"),
        ("model/config.json", "{", "damaged"),
        ("model/model.safetensors", "no tensors", "its checksum is not that of"),
        ("config.yaml", "data: [", "damaged"),
        ("config.yaml", "warp_factor: 9", "warp_factor"),
    ],
)
def test_a_damaged_or_foreign_run_is_refused(
    tiny_run: Path, tmp_path: Path, file: str, content: str, told: str
) -> None:
    folder = tmp_path / "damaged"
    shutil.copytree(tiny_run, folder)
    (folder / file).write_text(content)
    with pytest.raises(UserError, match=told):
        load_run(folder)


def test_the_settings_are_read_back_as_they_were(tiny_run: Path, tiny_config: Config) -> None:
    assert read_config(tiny_run) == tiny_config


def changed(config: Config, **changes: Any) -> Config:
    """The settings with others, of whatever group."""
    return Config.from_flat(config.flat() | changes)


@pytest.fixture
def stopped(tiny_config: Config, tmp_path: Path) -> Path:
    """A run that was stopped: its settings alone."""
    write_yaml(tmp_path / "config.yaml", tiny_config.flat())
    return tmp_path


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"root": "r", "cache": "c", "accelerator": "cpu", "log_every": 7, "workers": 3},
        {"devices": "2", "batch_size": 8},
        {"devices": "4", "batch_size": 4, "strategy": "ddp"},
    ],
)
def test_a_run_goes_on_with_what_moves_no_weight(
    stopped: Path, tiny_config: Config, changes: dict[str, Any]
) -> None:
    check_folder(changed(tiny_config, **changes), stopped, resume=True)


ALIKE = "resume with as many images a step, `batch_size` times `devices`"


@pytest.mark.parametrize(
    ("changes", "line"),
    [
        ({"lr": 0.5, "seed": 3}, "`lr` 0.002 -> 0.5, `seed` 0 -> 3); resume with the same, or"),
        ({"devices": "2"}, f"`devices` 1 -> 2); {ALIKE}, or choose another `output`"),
        ({"batch_size": 8}, f"`batch_size` 16 -> 8); {ALIKE}"),
        ({"devices": "auto"}, f"`devices` 1 -> auto); {ALIKE}"),
        ({"strategy": "fsdp"}, f"`strategy` auto -> fsdp); {ALIKE}"),
        ({"batch_size": 8, "lr": 0.5}, "`batch_size` 16 -> 8, `lr` 0.002 -> 0.5); resume with the"),
        ({"steps": 9}, "`steps` 6 -> 9); resume with the same"),
    ],
)
def test_a_run_does_not_go_on_with_what_moves_a_weight(
    stopped: Path, tiny_config: Config, changes: dict[str, Any], line: str
) -> None:
    with pytest.raises(UserError) as refused:
        check_folder(changed(tiny_config, **changes), stopped, resume=True)
    start = f"`resume`: the settings differ from {stopped / 'config.yaml'} ("
    assert str(refused.value).startswith(start + line)


@pytest.mark.parametrize("changes", [{"workers": 3}, {"devices": "2", "batch_size": 8}])
def test_who_reads_shards_reads_the_same_again(
    tmp_path: Path, tiny_config: Config, changes: dict[str, Any]
) -> None:
    shards = changed(tiny_config, data="shards")
    write_yaml(tmp_path / "config.yaml", shards.flat())
    check_folder(shards, tmp_path, resume=True)
    with pytest.raises(UserError, match=r"resume with the same, or choose another `output`"):
        check_folder(changed(shards, **changes), tmp_path, resume=True)


@pytest.mark.parametrize("changes", [{"steps": 9}, {"steps": None, "epochs": 2.0}])
def test_more_of_a_run_that_is_finished_is_another_run(
    tiny_run: Path, tiny_config: Config, changes: dict[str, Any]
) -> None:
    with pytest.raises(UserError) as refused:
        check_folder(changed(tiny_config, **changes), tiny_run, resume=True)
    weights = tiny_run / "model" / "model.safetensors"
    assert str(refused.value) == (
        f"{tiny_run} is trained, and its learning rate has fallen to 0; for more steps start a "
        f"run from it: `weights` {weights}, another `output`"
    )
    with pytest.raises(UserError, match="resume with the same"):
        check_folder(changed(tiny_config, lr=0.5, **changes), tiny_run, resume=True)


def test_a_new_run_wants_an_empty_folder(tiny_config: Config, tmp_path: Path) -> None:
    (tmp_path / ".lock").touch()
    check_folder(tiny_config, tmp_path, resume=False)
    (tmp_path / "a").touch()
    with pytest.raises(UserError) as refused:
        check_folder(tiny_config, tmp_path, resume=False)
    assert str(refused.value) == (
        f"{tmp_path} is not empty; give `resume` to go on, or choose another `output`"
    )


def test_what_is_no_run_is_named(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=f"{tmp_path}/none: there is no such run; train one"):
        read_config(tmp_path / "none")
    with pytest.raises(UserError, match=f"{tmp_path} is no run: it has no config.yaml; name the"):
        read_config(tmp_path)
    write_yaml(tmp_path / "config.yaml", {"warp": 9, "lr": 0.5, "drive": 1})
    with pytest.raises(UserError, match=r"does not know \(drive, warp\); use the version that"):
        read_config(tmp_path)
    write_yaml(tmp_path / "config.yaml", {"lr": 0.5})
    with pytest.raises(UserError) as refused:
        load_run(tmp_path)
    assert str(refused.value) == (
        f"{tmp_path} has no finished model; go on with `iavit train --resume --output {tmp_path}`"
    )
    (tmp_path / "config.yaml").write_text("lr: 1\nlr: 2\n")
    with pytest.raises(UserError) as refused:
        read_config(tmp_path)
    assert str(refused.value).count("config.yaml") == 1
