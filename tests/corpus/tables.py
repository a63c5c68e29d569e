"""Tables that do not say which picture is what."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from tests.data.files import save, truncate

Make = Callable[[Path], object]

FOUR = "".join(f"{number}.png,{number % 2}\n" for number in range(4))
SPLITS = "image,label,split\n0.png,0,train\n1.png,1,train\n2.png,0,val\n3.png,1,test\n"


def text(content: str, encoding: str = "utf-8") -> Make:
    """A CSV with this content."""
    return lambda path: path.write_text(content, encoding=encoding)


def parquet(**columns: object) -> Make:
    """A Parquet file with these columns."""

    def write(path: Path) -> None:
        import pyarrow as pa
        from pyarrow import parquet as files

        files.write_table(pa.table(columns), path)

    return write


def cut_parquet(path: Path) -> None:
    parquet(image=["0.png", "1.png"], label=[0, 1])(path)
    path.write_bytes(path.read_bytes()[:-20])


def pictures(folder: Path) -> None:
    """What the tables name: four pictures, one file that is none, one that is cut off."""
    for number in range(4):
        save(folder / f"{number}.png", 10 * number)
    (folder / "text.png").write_text("no")
    truncate(folder / "cut.jpg")
    (folder / "folder.png").mkdir()


TABLES: dict[str, Make] = {
    "no such.csv": lambda path: None,
    "folder.csv": lambda path: path.mkdir(),
    "empty.csv": text(""),
    "mark only.csv": text("\ufeff"),
    "blank.csv": text("\n\n\n"),
    "header.csv": text("image,label\n"),
    "no image.csv": text("file,label\n0.png,1\n"),
    "no label.csv": text("image,class\n0.png,1\n"),
    "two labels.csv": text("image,label,label\n0.png,1,2\n"),
    "two images.csv": text("image,image,label\n0.png,1.png,2\n"),
    "semicolons.csv": text("image;label\n0.png;1\n"),
    "tabs.csv": text("image\tlabel\n0.png\t1\n"),
    "capitals.csv": text("IMAGE,LABEL\n0.png,1\n"),
    "comma.csv": text(f"image,label\n{FOUR}a, b.png,1\n"),
    "comma crlf.csv": text(f"image,label\n{FOUR}a, b.png,1\n".replace("\n", "\r\n")),
    "quote.csv": text(f'image,label\n{FOUR}"0.png,1\n'),
    "missing label.csv": text(f"image,label\n{FOUR}0.png,\n"),
    "missing cell.csv": text(f"image,label\n{FOUR}0.png\n"),
    "missing image.csv": text(f"image,label\n{FOUR},1\n"),
    "spaces.csv": text(f"image,label\n{FOUR}   ,1\n"),
    "nan.csv": text(f"image,label\n{FOUR}text.png,nan\n"),
    "missing group.csv": text("image,label,group\n0.png,0,a\n1.png,1,\n"),
    "one class.csv": text("image,label\n0.png,1\n1.png,1\n2.png,1.0\n"),
    "split.csv": text("image,label,split\n0.png,0,train\n1.png,1,dev\n"),
    "no train.csv": text("image,label,split\n0.png,0,test\n1.png,1,val\n"),
    "too few.csv": text("image,label\n0.png,0\n1.png,1\n"),
    "gone.csv": text("image,label\n" + "".join(f"gone {n}.png,{n % 2}\n" for n in range(6))),
    "outside.csv": text(f"{SPLITS}../../outside.png,1,train\n"),
    "etc.csv": text(f"{SPLITS}/etc/passwd,1,train\n/etc/hostname,0,train\n"),
    "device.csv": text(f"{SPLITS}/dev/zero,1,train\n"),
    "formula.csv": text(f"{SPLITS}=cmd|'/c calc'!A1,1,train\n"),
    "address.csv": text(f"{SPLITS}https://example.org/a.png,1,train\n"),
    "text picture.csv": text(f"{SPLITS}text.png,1,train\n"),
    "folder picture.csv": text(f"{SPLITS}folder.png,1,train\n"),
    "two names.csv": text(f"image,label\n{FOUR}0.png,1\n"),
    "two paths.csv": text(f"image,label\n{FOUR}./folder.png/../0.png,1\n"),
    "mask gone.csv": text("image,label,mask\n" + FOUR.replace("\n", ",no.png\n")),
    "mask text.csv": text("image,label,mask\n" + FOUR.replace("\n", ",text.png\n")),
    "mask cut.csv": text("image,label,mask\n" + FOUR.replace("\n", ",cut.jpg\n")),
    "utf16.csv": text(f"image,label\n{FOUR}", "utf-16"),
    "latin.csv": text(f"image,label\n{FOUR}é.png,1\n", "latin-1"),
    "nul.csv": text(f"{SPLITS}a\0b.png,1,train\n"),
    "long.csv": text(f"image,label\n{FOUR}{'x' * 200_000}.png,1\n"),
    "json.csv": text('[{"image": "0.png", "label": 1}]'),
    "escape.csv": text(f"{SPLITS}\x1b[31m.png,1,train\n"),
    "garbage.parquet": text("PAR1 no PAR1"),
    "empty.parquet": text(""),
    "csv.parquet": text(f"image,label\n{FOUR}"),
    "cut.parquet": cut_parquet,
    "bytes.parquet": parquet(image=[b"\x89PNG" * 9000, b"x"], label=[0, 1]),
    "struct.parquet": parquet(image=[{"bytes": b"x" * 9000, "path": "0.png"}] * 2, label=[0, 1]),
    "list.parquet": parquet(image=["0.png", "1.png"], label=[[0, 1], [1]]),
    "nan.parquet": parquet(image=["0.png", "1.png", "2.png"], label=[0.0, 1.0, float("nan")]),
    "null.parquet": parquet(image=["0.png", "1.png", None], label=["a", "b", "a"]),
    "no rows.parquet": parquet(image=[], label=[]),
    "no columns.parquet": parquet(width=[1, 2]),
}
