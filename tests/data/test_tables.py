from __future__ import annotations

import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from iavit.config import Config, DataConfig, ModelConfig
from iavit.data.datasets import load_dataset
from iavit.data.images import Splits
from iavit.errors import UserError
from tests.data.files import celeba, save


def opened(root: Path, name: str = "table", **options: object) -> Splits:
    data = replace(DataConfig(name, str(root)), **options)  # type: ignore[arg-type]
    return load_dataset(Config(data, ModelConfig("vit_digits", img_size=8)))


def refusal(root: Path, name: str = "table", **options: object) -> str:
    with pytest.raises(UserError) as caught:
        _ = opened(root, name, **options).train
    assert "\n" not in str(caught.value)
    return str(caught.value)


def table(folder: Path, text: str) -> Path:
    path = folder / "my images.csv"
    path.write_text(text, encoding="utf-8")
    return path


@pytest.fixture
def pictures(tmp_path: Path) -> Path:
    for number in range(6):
        save(tmp_path / "pictures" / f"{number}.png", 10 * number, (8, 8))
    mask = Image.new("L", (8, 8))
    mask.putpixel((3, 2), 1)
    mask.save(tmp_path / "mask.png")
    return tmp_path


FULL = """image,label,group,split,mask,remark
pictures/0.png,10,"old, tall",train,mask.png,x
pictures/1.png,9,young,train,,x
pictures/2.png,9,young,val,,x
pictures/3.png,10,"old, tall",test,mask.png,x
pictures/4.png,9,young,test,,x
"""


def test_every_column_is_read(pictures: Path) -> None:
    splits = opened(table(pictures, FULL))
    assert splits.classes == ("9", "10")
    assert splits.groups == ("old, tall", "young")
    assert [len(s) for s in (splits.train, splits.val, splits.test)] == [2, 1, 2]
    batch = splits.test[[0, 1]]
    assert batch.labels.tolist() == [1, 0]
    assert batch.groups is not None
    assert batch.groups.tolist() == [0, 1]
    assert batch.evidence is not None
    assert batch.evidence.nonzero().tolist() == [[0, 2, 3]]
    assert (splits.normalisation.restore(batch.images)[1] == 40).all()


def test_parquet_says_the_same(pictures: Path) -> None:
    import pyarrow as pa
    from pyarrow import parquet

    columns = {
        "image": [f"pictures/{n}.png" for n in range(5)],
        "label": [10, 9, 9, 10, 9],
        "mask": ["mask.png", None, None, "mask.png", None],
        "split": ["train", "train", "val", "test", "test"],
        "width": [1.5] * 5,
    }
    parquet.write_table(pa.table(columns), pictures / "t.parquet")
    splits = opened(pictures / "t.parquet")
    assert splits.classes == ("9", "10")
    batch = splits.test[[0, 1]]
    assert batch.labels.tolist() == [1, 0]
    assert batch.evidence is not None
    assert batch.evidence.sum(dim=(1, 2)).tolist() == [1, 0]
    assert batch.groups is None


def test_image_and_label_are_enough(pictures: Path) -> None:
    rows = "".join(f"{pictures}/pictures/{n}.png,{'ab'[n % 2]}\n" for n in range(6))
    splits = opened(table(pictures, "\ufeffimage,label\n" + rows))
    assert splits.classes == ("a", "b")
    assert [len(s) for s in (splits.train, splits.val, splits.test)] == [2, 2, 2]
    assert splits.test[[0]].evidence is None


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "no rows"),
        ("image,label\na, b.png,1\n", "3 cells in row 1 and 2 columns; put cells with a comma"),
        ("image,label,label\na.png,1,2\n", "two columns 'label'"),
        ("image,label\n,\n", "no image in row 1"),
        ('image,label\n"a.png,1\n', "no label in row 1"),
        ("image,label\n", "no rows"),
        ("file,label\na.png,1\n", "no column 'image'"),
        ("image,label\na.png,1\n,2\n", "no image in row 2"),
        ("image,label,group\na.png,1,\n", "no group in row 1"),
        ("image,label\na.png,1\nb.png,1\n", "one class only"),
        ("image,label,split\na.png,1,train\nb.png,2,dev\n", "'dev' in row 2"),
        ("image,label,split\na.png,1,test\nb.png,2,test\n", "split is train"),
        ("image,label\n" + "".join(f"{n}.png,{n % 2}\n" for n in range(6)), "no such"),
    ],
)
def test_a_table_that_cannot_be_used_is_told_in_one_line(
    tmp_path: Path, text: str, message: str
) -> None:
    assert message in refusal(table(tmp_path, text))


def labels(splits: Splits) -> list[int]:
    parts = (splits.train, splits.val, splits.test)
    return [int(label) for part in parts for label in part[range(len(part))].labels]


def test_labels_that_are_whole_numbers_are_named_so(pictures: Path) -> None:
    cells = ("1.0,train", "0.0,train", "10.0,train", "1,val", "0,test", "10,test")
    rows = "".join(f"pictures/{n}.png,{cell}\n" for n, cell in enumerate(cells))
    splits = opened(table(pictures, "image,label,split\n" + rows))
    assert splits.classes == ("0", "1", "10")
    assert labels(splits) == [1, 0, 2, 1, 0, 2]


def test_parquet_of_fractions_names_whole_numbers_and_misses_nan(pictures: Path) -> None:
    import pyarrow as pa
    from pyarrow import parquet

    columns = {
        "image": [f"pictures/{n}.png" for n in range(6)],
        "label": [0.0, 1.0, 0.0, 1.0, 0.0, float("nan")],
    }
    parquet.write_table(pa.table(columns), pictures / "t.parquet")
    assert "no label in row 6; fill it in" in refusal(pictures / "t.parquet")
    splits = opened(pictures / "t.parquet", bad_images="skip")
    assert splits.classes == ("0", "1")
    assert len(labels(splits)) == 5
    assert "1 rows without image or label" in splits.remarks()


def test_labels_that_are_no_numbers_are_in_the_order_of_their_names(pictures: Path) -> None:
    cells = ("owl", "cat", "10", "fox", "ape", "elk")
    rows = "".join(f"pictures/{n}.png,{cell}\n" for n, cell in enumerate(cells))
    assert opened(table(pictures, "image,label\n" + rows)).classes == (
        "10",
        "ape",
        "cat",
        "elk",
        "fox",
        "owl",
    )


@pytest.fixture
def equal(pictures: Path) -> Path:
    """A table with labels that are equal as numbers."""
    cells = ("07", "7", "007", "3.50", "3.5", "2")
    rows = "".join(f"pictures/{n}.png,{cell}\n" for n, cell in enumerate(cells))
    return table(pictures, "image,label\n" + rows)


def test_labels_that_are_equal_as_numbers_are_ordered_as_text(equal: Path) -> None:
    assert opened(equal).classes == ("2", "3.5", "3.50", "007", "07", "7")


@pytest.mark.slow
def test_their_order_is_the_same_in_every_process(equal: Path) -> None:
    code = """
import sys
from iavit.config import Config, DataConfig
from iavit.data.datasets import load_dataset
print(load_dataset(Config(DataConfig("table", sys.argv[1]))).classes)
"""
    done = subprocess.run(
        [sys.executable, "-c", code, str(equal)],
        env={**os.environ, "PYTHONHASHSEED": "1"},  # by which a set has 3.50 before 3.5
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout == "('2', '3.5', '3.50', '007', '07', '7')\n"


def test_a_missing_group_is_a_mistake_or_left_out(pictures: Path) -> None:
    rows = "".join(f"pictures/{n}.png,{n % 2},{'ab'[n % 2] if n else ''}\n" for n in range(6))
    path = table(pictures, "image,label,group\n" + rows)
    assert "no group in row 1" in refusal(path)
    splits = opened(path, bad_images="skip")
    assert splits.groups == ("a", "b")
    assert splits.remarks()[0] == "1 rows without image or label or group"


def test_rows_listed_twice_are_used_once(pictures: Path) -> None:
    rows = "".join(f"pictures/{n}.png,{n % 2}\n" for n in (*range(6), *range(4)))
    splits = opened(table(pictures, "image,label\n" + rows))
    assert sorted(labels(splits)) == [0, 0, 0, 1, 1, 1]
    assert "4 listed again (used once)" in splits.remarks()
    again = table(pictures, "image,label\n" + rows + "pictures/../pictures/0.png,1\n")
    assert "0.png is listed as 0 and as 1" in refusal(again)


def test_masks_are_read_as_masks(pictures: Path) -> None:
    ids = np.zeros((8, 8), dtype=np.uint16)
    ids[2, 3] = 300
    Image.fromarray(ids).save(pictures / "mask.png")
    batch = opened(table(pictures, FULL)).test[[0, 1]]
    assert batch.evidence is not None
    assert batch.evidence.nonzero().tolist() == [[0, 2, 3]]


def test_pictures_inside_a_table_are_refused_shortly(pictures: Path) -> None:
    import pyarrow as pa
    from pyarrow import parquet

    content = (pictures / "pictures" / "0.png").read_bytes() * 300
    for images in ([content] * 2, [{"bytes": content, "path": "0.png"}] * 2):
        parquet.write_table(pa.table({"image": images, "label": [0, 1]}), pictures / "t.parquet")
        message = refusal(pictures / "t.parquet")
        assert "has a column 'image' of" in message
        assert "write pictures as files" in message
        assert len(message) < 400


def test_what_is_no_table_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert "no such table" in refusal(tmp_path / "none.csv")
    (tmp_path / "latin.csv").write_bytes(b"image,label\n\xff\xfe,1\n")
    assert "UTF-8" in refusal(tmp_path / "latin.csv")
    (tmp_path / "odd.parquet").write_text("no")
    assert "Parquet" in refusal(tmp_path / "odd.parquet")
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    assert "iavit[parquet]" in refusal(tmp_path / "odd.parquet")


FACES = [
    (f"{number:06}.jpg", part, {"Bald": sign, "Gray_Hair": grey, "Male": -grey})
    for number, (part, sign, grey) in enumerate(
        [(0, 1, 1), (0, -1, -1), (0, -1, 1), (1, 1, -1), (2, 1, -1), (2, -1, 1), (2, 1, 1)]
    )
]


@pytest.mark.parametrize("below", [".", "celeba"])
def test_celeba_in_its_official_partition(tmp_path: Path, below: str) -> None:
    celeba(tmp_path / below, FACES)
    splits = opened(tmp_path, "celeba")
    assert [len(s) for s in (splits.train, splits.val, splits.test)] == [3, 1, 3]
    batch = splits.test[[0, 1, 2]]
    assert batch.labels.tolist() == [0, 1, 1]
    assert batch.groups is not None
    assert batch.groups.tolist() == [1, 0, 0]
    assert splits.classes == ("not Gray_Hair", "Gray_Hair")
    assert splits.groups == ("not Male", "Male")
    assert splits.normalisation.mean[0] == 0.485


def test_celeba_with_other_attributes(tmp_path: Path) -> None:
    celeba(tmp_path, FACES)
    options = {"target_attribute": "Bald", "sensitive_attribute": "Gray_Hair"}
    batch = opened(tmp_path, "celeba", **options).test[[0, 1, 2]]
    assert batch.labels.tolist() == [1, 0, 1]
    assert batch.groups is not None
    assert batch.groups.tolist() == [0, 1, 1]
    assert "`target_attribute`" in refusal(tmp_path, "celeba", target_attribute="Grey")
    assert "`sensitive_attribute`" in refusal(tmp_path, "celeba", sensitive_attribute="Sex")


def test_celeba_that_is_missing_or_damaged_is_told(tmp_path: Path) -> None:
    assert "list_eval_partition.txt" in refusal(tmp_path, "celeba")
    celeba(tmp_path, FACES)
    attributes = tmp_path / "list_attr_celeba.txt"
    attributes.write_text(attributes.read_text() + "000009.jpg 1\n")
    assert "line 10" in refusal(tmp_path, "celeba")
    (tmp_path / "list_eval_partition.txt").write_text("000000.jpg 7\n")
    assert "list_eval_partition.txt is damaged" in refusal(tmp_path, "celeba")
