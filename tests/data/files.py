"""Small data sets in the formats in which the real ones lie on disk."""

from __future__ import annotations

import gzip
import pickle
import struct
import tarfile
from io import BytesIO
from pathlib import Path

import numpy as np
from PIL import Image
from PIL.PngImagePlugin import PngInfo


def picture(colour: int, size: tuple[int, int] = (12, 8), grain: int = 0) -> Image.Image:
    """A picture of one grey, with noise where `grain` seeds it."""
    values = np.full((size[1], size[0], 3), colour, dtype=np.uint8)
    if grain:
        values = np.random.default_rng(grain).integers(0, 256, values.shape, dtype=np.uint8)
    return Image.fromarray(values)


def save(path: Path, colour: int = 128, size: tuple[int, int] = (12, 8), grain: int = 0) -> Path:
    """A picture in a file of its own bytes: its name is in it, so that it is no other's copy."""
    path.parent.mkdir(parents=True, exist_ok=True)
    name = str(path).encode("utf-8", "backslashreplace")
    information = PngInfo()
    information.add_text("name", name.decode())
    picture(colour, size, grain).save(path, pnginfo=information, comment=name)
    return path


def truncate(path: Path) -> Path:
    """A JPEG whose header says what it is and whose end is missing."""
    Image.effect_noise((64, 64), 90).convert("RGB").save(path, format="JPEG")
    path.write_bytes(path.read_bytes()[:900])
    return path


def folder(root: Path, counts: dict[str, int], size: tuple[int, int] = (12, 8)) -> Path:
    """Class subfolders with so many PNG files, each class of one grey."""
    for label, (name, count) in enumerate(counts.items()):
        (root / name).mkdir(parents=True)
        for number in range(count):
            save(root / name / f"{number}.png", 10 * (label + 1), size)
    return root


def idx(path: Path, values: np.ndarray) -> None:
    """Unsigned bytes as an idx file, gzipped if its name says so."""
    header = bytes([0, 0, 8, values.ndim]) + struct.pack(f">{values.ndim}I", *values.shape)
    content = header + values.astype(np.uint8).tobytes()
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(gzip.compress(content) if path.suffix == ".gz" else content)


def cifar10(root: Path, counts: dict[str, int]) -> None:
    """Python-pickled batches of 3,072 bytes an image, and the classes' names."""
    base = root / "cifar-10-batches-py"
    base.mkdir(parents=True)
    for name, count in counts.items():
        data = np.repeat(np.arange(count, dtype=np.uint8)[:, None], 3072, axis=1)
        labels = [number % 10 for number in range(count)]
        (base / name).write_bytes(pickle.dumps({"data": data, "labels": labels}))
    names = {"label_names": [f"class {number}" for number in range(10)]}
    (base / "batches.meta").write_bytes(pickle.dumps(names))


def cifar100(root: Path, counts: dict[str, int]) -> None:
    """The same in 100 fine classes."""
    base = root / "cifar-100-python"
    base.mkdir(parents=True)
    for name, count in counts.items():
        data = np.zeros((count, 3072), dtype=np.uint8)
        labels = [number % 100 for number in range(count)]
        (base / name).write_bytes(pickle.dumps({"data": data, "fine_labels": labels}))
    names = {"fine_label_names": [f"class {number}" for number in range(100)]}
    (base / "meta").write_bytes(pickle.dumps(names))


def stl10(root: Path, counts: dict[str, int]) -> None:
    """Bytes column by column, labels from 1, class names in a text file."""
    base = root / "stl10_binary"
    base.mkdir(parents=True)
    for name, count in counts.items():
        values = np.zeros((count, 3, 96, 96), dtype=np.uint8)
        values[:, 0, 7, :] = 200  # images, channels, columns, rows
        (base / f"{name}_X.bin").write_bytes(values.tobytes())
        labels = np.arange(count, dtype=np.uint8) % 10 + 1
        (base / f"{name}_y.bin").write_bytes(labels.tobytes())
    (base / "class_names.txt").write_text("\n".join(f"class {n}" for n in range(10)))


def celeba(root: Path, rows: list[tuple[str, int, dict[str, int]]]) -> None:
    """Name, part (0, 1, 2) and attributes (1 or -1) of each face, in the official files."""
    names = list(rows[0][2])
    partition = [f"{name} {part}" for name, part, _ in rows]
    attributes = [f"{name} " + " ".join(f"{a[n]:2}" for n in names) for name, _, a in rows]
    root.mkdir(parents=True, exist_ok=True)
    (root / "list_eval_partition.txt").write_text("\n".join(partition) + "\n")
    heading = [str(len(rows)), " ".join(names) + " "]
    (root / "list_attr_celeba.txt").write_text("\n".join([*heading, *attributes]) + "\n")
    for number, (name, _, _) in enumerate(rows):
        save(root / "img_align_celeba" / name, number, (178, 218))


def shard(path: Path, samples: list[tuple[str, int, bytes]]) -> Path:
    """Name, class and PNG of each sample, the two files of one side by side."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with tarfile.open(path, "w") as file:
        for name, label, content in samples:
            for ending, part in (("cls", str(label).encode()), ("png", content)):
                member = tarfile.TarInfo(f"{name}.{ending}")
                member.size = len(part)
                file.addfile(member, BytesIO(part))
    return path


def png(colour: int, size: tuple[int, int] = (8, 8)) -> bytes:
    """A picture of one grey as the content of a file."""
    content = BytesIO()
    picture(colour, size).save(content, "PNG")
    return content.getvalue()
