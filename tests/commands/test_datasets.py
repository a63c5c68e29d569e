"""`iavit datasets`: what is there, and where it is looked for."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from iavit.cli import main
from iavit.data.datasets import DATASETS


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


def test_a_set_has_a_row_with_its_size_and_where_it_comes_from(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("COLUMNS", "400")
    assert main(["datasets"]) == 0
    lines = capsys.readouterr().out.replace("┃", "│").splitlines()
    rows = [[cell.strip() for cell in line.split("│")[1:-1]] for line in lines]
    titles = ["data set", "images (train + val + test)", "classes", "here", "how to get", "what"]
    assert rows[1] == titles
    (digits,) = (row for row in rows if row and row[0] == "digits")
    source = DATASETS["digits"]
    assert digits == ["digits", source.images, "10", "yes", source.get, source.about]


@pytest.mark.slow
def test_names_of_data_sets_wait_for_nothing_heavy() -> None:
    code = (
        "import sys; from iavit.cli import main; main(['datasets']);"
        "print([name for name in ('timm', 'lightning', 'sklearn') if name in sys.modules])"
    )
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert run.stdout.splitlines()[-1] == "[]"
