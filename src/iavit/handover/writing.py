"""Picture files in, explanations out as files: any number of them, a few held at a time."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import count
from pathlib import Path
from typing import Any

from PIL import Image

from iavit.data.decoding import PixelRange, check_header, image_endings, read_image, shown
from iavit.errors import UserError
from iavit.handover.explained import FORMATS, ExplainedImage

ENDINGS = {ending.removeprefix("."): ending for ending in FORMATS}  # png, json, npz


def find_pictures(given: Sequence[Path]) -> list[Path]:
    """Image files by their names, by folders that hold them at any depth, and by patterns.

    Raises `UserError` where nothing is found, and for a file that is no image by its first
    bytes, before anything is explained.
    """
    found = [path for name in given for path in _found(name)]
    for path in found:
        check_header(path)
    return found


def read_pictures(
    paths: Iterable[Path], pixel_range: PixelRange | None, unreadable: list[str]
) -> Iterator[tuple[str, Image.Image]]:
    """Each file's name and picture, read when it is asked for.

    unreadable: takes a line for each file that turns out to be damaged and is left out.
    """
    for path in paths:
        try:
            picture = read_image(path, pixel_range)
        except UserError as error:
            unreadable.append(str(error))
        else:
            yield str(path), picture


def name_explanations(
    images: Sequence[str], folder: Path, endings: Sequence[str] = (".png",)
) -> dict[str, str]:
    """For each image the name of its explanations' files below a folder, without their endings.

    It is the image's own name. Where that is another's, or would replace one of the images
    themselves, its folder is added to it.
    endings: of the files of an image.
    """
    taken = {Path(image).resolve() for image in images}
    names: dict[str, str] = {}
    for image in images:
        if image in names:
            continue
        for name in _names(Path(image)):
            places = {(folder / f"{name}{ending}").resolve() for ending in endings}
            if taken.isdisjoint(places):
                break
        names[image] = name
        taken |= places
    return names


def write_explanations(
    explained: Iterable[ExplainedImage],
    folder: Path,
    names: Mapping[str, str],
    *,
    formats: Sequence[str] = ("png",),
    name_explainer: bool = False,
) -> Iterator[dict[str, Any]]:
    """Write each explanation into the folder as it comes; yields its facts and where it is.

    names: of an image's files, see `name_explanations`.
    formats: of `ENDINGS`; the file's place is `map` for the picture, else the format's name.
    name_explainer: whether the explainer is part of a file's name, where there are several.
    """
    for one in explained:
        start = names[one.name] + (f"-{one.explainer}" if name_explainer else "")
        written = {
            "map" if form == "png" else form: str(one.save(folder / f"{start}{ENDINGS[form]}"))
            for form in formats
        }
        yield {**one.facts(), **written}


def _found(name: Path) -> list[Path]:
    if name.is_dir():
        endings = image_endings()
        paths = (path for path in name.rglob("*") if path.suffix.lower() in endings)
        found = sorted(path for path in paths if path.is_file())
    elif name.exists() or not any(sign in str(name) for sign in "*?["):
        return [name]
    else:
        matching = Path(name.anchor).glob(str(name.relative_to(name.anchor)))
        found = sorted(path for path in matching if path.is_file())
    if not found:
        raise UserError(f"{shown(name)}: there is no image there")
    return found


def _names(path: Path) -> Iterator[str]:
    """Names for a picture's explanation: its own, with its folder, with numbers."""
    stem = path.stem or "picture"
    longer = f"{path.absolute().parent.name}-{stem}"
    yield from (stem, longer)
    yield from (f"{longer}-{number}" for number in count(2))
