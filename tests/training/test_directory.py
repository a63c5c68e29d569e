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
from iavit.training.directory import add_bad_images, bad_images, load_run, read_config


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
