"""`table` and `celeba`: files that say which image is what."""

from __future__ import annotations

import csv
import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

import torch

from iavit.data.decoding import shown
from iavit.data.file_splits import SPLIT_NAMES, split_listings
from iavit.data.images import IMAGENET, Request, Split, Splits
from iavit.data.listing import Listing
from iavit.errors import UserError

COLUMNS = ("image", "label", "group", "split", "mask")  # the first two are needed
CELEBA_FILES = ("list_eval_partition.txt", "list_attr_celeba.txt", "img_align_celeba")
CELEBA_SPLITS: dict[str, Split] = {"0": "train", "1": "val", "2": "test"}

Rows = list[dict[str, str]]


def load_table(request: Request) -> Splits:
    """A CSV or Parquet file with columns image, label and, if wanted, group, split, mask.

    Paths are absolute or relative to the table. Classes and groups are the values found, in
    order: as numbers where all are, else by name. A mask's non-zero pixels are evidence.

    Raises `UserError` for a missing column or cell, a row of too many cells, a split of an unknown
    name, one class only.
    """
    path = request.root
    rows, remarks = _read_rows(path, request)
    classes = _values(rows, "label")
    if len(classes) < 2:
        raise UserError(f"{shown(path)} has one class only, {shown(classes[0])}; add another")
    groups = _values(rows, "group") if "group" in rows[0] else ()
    by_split: dict[Split, Rows] = {}
    for number, row in enumerate(rows, 1):
        by_split.setdefault(_split_of(row, number, path), []).append(row)
    if "train" not in by_split:
        raise UserError(f"{shown(path)} has no row whose split is train; add some")

    def listing(rows: Rows) -> Callable[[], Listing]:
        return lambda: replace(_listed(rows, path.parent, classes, groups), remarks=remarks)

    given = {split: listing(rows) for split, rows in by_split.items()}
    return split_listings(given, classes, request, request.backbone_normalisation, groups)


def load_celeba(request: Request) -> Splits:
    """202,599 faces (Liu et al., 2015) in the official partition.

    The class is one of the 40 attributes, the group another (`target_attribute`,
    `sensitive_attribute`).
    """
    root = request.root
    folder = find_celeba(root)
    if folder is None:
        raise UserError(
            f"{shown(root)} lacks {', '.join(CELEBA_FILES)}; download them from "
            "https://mmlab.ie.cuhk.edu.hk/projects/CelebA.html and unpack them there"
        )
    target, sensitive = request.options.target_attribute, request.options.sensitive_attribute

    @cache
    def by_split() -> dict[Split, Rows]:
        rows: dict[Split, Rows] = {split: [] for split in SPLIT_NAMES}
        split_of = _read_partition(folder / CELEBA_FILES[0])
        for name, present in _read_attributes(folder / CELEBA_FILES[1], target, sensitive):
            if name not in split_of:
                raise UserError(f"{shown(folder / CELEBA_FILES[0])} lacks {name}; fetch it again")
            row = {"image": name, "label": present[0], "group": present[1]}
            rows[split_of[name]].append(row)
        return rows

    def listing(split: Split) -> Callable[[], Listing]:
        values = ("-1", "1")
        return lambda: _listed(by_split()[split], folder / CELEBA_FILES[2], values, values)

    given = {split: listing(split) for split in SPLIT_NAMES if by_split()[split]}
    classes, groups = _with_and_without(target), _with_and_without(sensitive)
    return replace(split_listings(given, classes, request, IMAGENET, groups), attribute=sensitive)


def find_table(root: Path | None) -> Path | None:
    """The file, if it is there."""
    return root if root is not None and root.is_file() else None


def find_celeba(root: Path | None) -> Path | None:
    """The folder with the official files, at `root` or where torchvision puts them."""
    folders = () if root is None else (root, root / "celeba")
    complete = (f for f in folders if all((f / name).exists() for name in CELEBA_FILES))
    return next(complete, None)


def _with_and_without(attribute: str) -> tuple[str, str]:
    return f"not {attribute}", attribute


def _read_partition(path: Path) -> dict[str, Split]:
    """File name to split, from lines such as `000001.jpg 0`."""
    try:
        words = [line.split() for line in path.read_text(encoding="utf-8").splitlines()]
        return {name: CELEBA_SPLITS[number] for name, number in filter(None, words)}
    except (OSError, ValueError, KeyError) as error:
        raise UserError(f"{shown(path)} is damaged; fetch it again") from error


def _read_attributes(path: Path, *wanted: str) -> Iterable[tuple[str, list[str]]]:
    """File name to the wanted attributes, each "1" or "-1".

    The first line has the number of images, the second the attributes' names.
    """
    try:
        _, heading, *lines = path.read_text(encoding="utf-8").splitlines()
        names = heading.split()
    except (OSError, ValueError) as error:
        raise UserError(f"{shown(path)} is damaged; fetch it again") from error
    for option, name in zip(("target", "sensitive"), wanted, strict=True):
        if name not in names:
            raise UserError(
                f"`{option}_attribute`: celeba has no attribute '{name}'; it has {', '.join(names)}"
            )
    columns = [1 + names.index(name) for name in wanted]
    for number, line in enumerate(lines, 3):
        words = line.split()
        if not words:
            continue
        if len(words) != 1 + len(names) or not {words[c] for c in columns} <= {"1", "-1"}:
            raise UserError(f"{shown(path)} is damaged in line {number}; fetch it again")
        yield words[0], [words[column] for column in columns]


def _read_rows(path: Path, request: Request) -> tuple[Rows, tuple[str, ...]]:
    """All rows, the columns that are known, every cell as text; and what was left out.

    A row without an image, a label or, where there are groups, a group is a mistake, or left out
    where unreadable images are.
    """
    if not path.is_file():
        raise UserError(f"`root` {shown(path)}: there is no such table; name a .csv or .parquet")
    rows = _read_parquet(path) if path.suffix.lower() in (".parquet", ".pq") else _read_csv(path)
    if not rows:
        raise UserError(f"{shown(path)} has no rows; add some")
    for column in COLUMNS[:2]:
        if column not in rows[0]:
            raise UserError(
                f"{shown(path)} has no column '{column}'; it needs {' and '.join(COLUMNS[:2])}"
            )
    known = [column for column in COLUMNS if column in rows[0]]
    needed = known[: 3 if "group" in known else 2]
    for column in needed[1:]:
        _name_whole_numbers(rows, column)
    complete = []
    for number, row in enumerate(rows, 1):
        missing = next((column for column in needed if not row[column]), None)
        if missing is None:
            complete.append({column: row[column] for column in known})
        elif not request.skip:
            raise UserError(
                f"{shown(path)} has no {missing} in row {number}; fill it in, or set `bad_images` "
                "to skip"
            )
    if not complete:
        raise UserError(f"{shown(path)} has no row with {' and '.join(needed)}; fill them in")
    skipped = len(rows) - len(complete)
    return complete, (f"{skipped:,} rows without {' or '.join(needed)}",) if skipped else ()


def _name_whole_numbers(rows: Rows, column: str) -> None:
    """Where all cells are numbers, `1.0` is named 1, as `1` is, and `nan` is a missing cell.

    A column of whole numbers becomes one of fractions in many tools as soon as a cell is empty.
    """
    cells = {row[column] for row in rows}
    try:
        numbers = {cell: float(cell) for cell in cells if cell}
    except ValueError:
        return
    names = {cell: cell for cell in cells}
    for cell, number in numbers.items():
        if math.isnan(number):
            names[cell] = ""
        elif "." in cell and number.is_integer():
            names[cell] = str(int(number))
    for row in rows:
        row[column] = names[row[column]]


def _read_csv(path: Path) -> Rows:
    try:
        with path.open(newline="", encoding="utf-8-sig") as file:
            table = csv.reader(file)
            names = [name.strip() for name in next(table, [])]
            _check_names(names, path)
            rows: Rows = []
            for cells in table:
                if not cells:  # an empty line
                    continue
                if len(cells) > len(names):
                    raise UserError(
                        f"{shown(path)} has {len(cells)} cells in row {len(rows) + 1} and "
                        f"{len(names)} columns; put cells with a comma into quotes"
                    )
                padded = [*cells, *[""] * (len(names) - len(cells))]
                rows.append({name: cell.strip() for name, cell in zip(names, padded, strict=True)})
            return rows
    except UnicodeDecodeError as error:
        raise UserError(f"{shown(path)} is not in UTF-8; save it so") from error
    except (OSError, csv.Error) as error:
        raise UserError(f"{shown(path)} is no table in CSV ({error}); save it again") from error


def _read_parquet(path: Path) -> Rows:
    try:
        from pyarrow import ArrowException, parquet
    except ImportError as error:
        raise UserError(
            f"{shown(path)}: reading Parquet needs pyarrow; pip install 'iavit[parquet]'"
        ) from error
    try:
        schema = parquet.read_schema(path)
        names = [name for name in COLUMNS if name in schema.names]
        _check_names(schema.names, path)
        for name in names:
            _check_cells(schema.field(name).type, name, path)
        rows = parquet.read_table(path, columns=names).to_pylist()
    except (OSError, ArrowException) as error:
        reason = " ".join(str(error).split())[:200]
        raise UserError(f"{shown(path)} is no table in Parquet ({reason})") from error
    return [{key: "" if cell is None else str(cell) for key, cell in row.items()} for row in rows]


def _check_names(names: Sequence[str], path: Path) -> None:
    twice = next((name for name in COLUMNS if names.count(name) > 1), None)
    if twice is not None:
        raise UserError(f"{shown(path)} has two columns '{twice}'; keep one")


def _check_cells(kind: Any, name: str, path: Path) -> None:
    """Refuse a column of bytes or of several values a cell, such as pictures themselves."""
    from pyarrow import types

    if types.is_nested(kind) or types.is_binary(kind) or types.is_large_binary(kind):
        raise UserError(
            f"{shown(path)} has a column '{name}' of {str(kind)[:40]}, not of text or numbers; "
            "write pictures as files, and their names into the table"
        )


def _values(rows: Rows, column: str) -> tuple[str, ...]:
    """As numbers where all are, else by name; what is equal as a number, by name."""
    found = {row[column] for row in rows}
    try:
        return tuple(sorted(found, key=lambda cell: (float(cell), cell)))
    except ValueError:
        return tuple(sorted(found))


def _split_of(row: dict[str, str], number: int, path: Path) -> Split:
    """What the row says, or training, out of which missing splits are taken."""
    name = row.get("split", "").lower()
    if not name:
        return "train"
    for split, names in SPLIT_NAMES.items():
        if name in names:
            return split
    raise UserError(f"{shown(path)} has the split {name!r} in row {number}; use train, val or test")


def _listed(rows: Rows, folder: Path, classes: Sequence[str], groups: Sequence[str]) -> Listing:
    label_of = {name: label for label, name in enumerate(classes)}
    group_of = {name: group for group, name in enumerate(groups)}
    masks = tuple(str(folder / row["mask"]) if row.get("mask") else "" for row in rows)
    return Listing(
        tuple(str(folder / row["image"]) for row in rows),
        torch.tensor([label_of[row["label"]] for row in rows]),
        torch.tensor([group_of[row["group"]] for row in rows]) if groups else None,
        masks if any(masks) else None,
    )
