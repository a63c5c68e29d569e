"""Listed files as a data set: the splits that are given, the others held out of training."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import cache

import torch
from torch import Tensor

from iavit.data.images import Images, Request, Split, Splits
from iavit.data.listing import Listing, listed_once, pictures
from iavit.data.on_disk import FromFiles, open_listing, pixel_remarks
from iavit.data.splitting import TEST, TEST_SEED, VALIDATION, hold_out
from iavit.data.transforms import Normalisation

SPLIT_NAMES: dict[Split, tuple[str, ...]] = {
    "train": ("train", "training"),
    "val": ("val", "valid", "validation"),
    "test": ("test", "testing"),
}


def split_listings(
    given: Mapping[Split, Callable[[], Listing]],
    classes: Sequence[str],
    request: Request,
    normalisation: Normalisation,
    groups: tuple[str, ...] = (),
) -> Splits:
    """The splits that are given, and the others taken from the training files by seed.

    Each file is used once. A picture that is there twice, under two names, is in one split alone:
    of those that are given, in the test split before validation before training.

    given: split to its files, called when a split is first needed; `train` at least.

    Raises `UserError`, when the files are listed, for a file that has two labels.
    """
    opened: dict[Split, FromFiles] = {}

    @cache
    def listings() -> dict[Split, Listing]:
        return divide(
            {split: listed_once(listing(), classes) for split, listing in given.items()}, request
        )

    def read(split: Split) -> Images:
        opened[split] = open_listing(listings()[split], split, request, normalisation)
        return opened[split]

    def remarks() -> tuple[str, ...]:
        lines = [line for listing in listings().values() for line in listing.remarks]
        pixels = [images.pixels for images in opened.values() if images.pixels is not None]
        lines += pixel_remarks(pixels, normalisation)
        lines += [line for images in opened.values() for line in images.remarks]
        return tuple(dict.fromkeys(lines))

    return Splits(
        tuple(classes),
        normalisation,
        read,
        groups,
        test_count=lambda: len(listings()["test"]),
        remarks=remarks,
    )


def divide(given: Mapping[Split, Listing], request: Request) -> dict[Split, Listing]:
    """All three splits of the listed files; no picture is in two of them."""
    order: tuple[Split, ...] = ("test", "val", "train")
    present = [split for split in order if split in given]
    numbers = pictures([path for split in present for path in given[split].paths])
    listings: dict[Split, Listing] = {}
    pictured: dict[Split, Tensor] = {}
    elsewhere = torch.empty(0, dtype=torch.int64)
    for split, own in zip(present, numbers.split([len(given[s]) for s in present]), strict=True):
        kept = (~torch.isin(own, elsewhere)).nonzero()[:, 0]
        listings[split], pictured[split] = given[split], own
        if len(kept) < len(own):
            remark = f"{len(own) - len(kept):,} of {split} that are in another split"
            chosen = given[split].chosen(kept)
            listings[split] = replace(chosen, remarks=(*chosen.remarks, remark))
            pictured[split] = own[kept]
        elsewhere = torch.cat([elsewhere, own])
    rest, copies = listings["train"], pictured["train"]
    shares: tuple[tuple[Split, float, int], ...] = (
        ("test", TEST, TEST_SEED),
        ("val", VALIDATION, request.seed),
    )
    for split, share, seed in shares:
        if split not in given:
            kept, held = hold_out(rest.labels, share, seed, str(request.root), copies)
            listings[split] = rest.chosen(held)
            rest, copies = rest.chosen(kept), copies[kept]
    return {**listings, "train": rest}
