"""What a data set was found to be, in the line that a training begins with."""

from __future__ import annotations

from iavit.data.decoding import shown
from iavit.data.images import Splits

NAMED = 6  # classes that are named


def describe(splits: Splits) -> str:
    """One line: classes, images of each split, what files hold, and what was left out and why.

    Reads the training and validation images, as a training does; test images are counted only
    where that needs no reading.
    """
    names = ", ".join(shown(name) for name in splits.classes[:NAMED])
    more = f" and {len(splits.classes) - NAMED} more" if len(splits.classes) > NAMED else ""
    counts = [f"{len(splits.train):,} training", f"{len(splits.val):,} validation"]
    tested = splits.test_count()
    counts += [] if tested is None else [f"{tested:,} test"]
    labels = f"{len(splits.classes)} classes ({names}{more})" if splits.classes else "no labels"
    parts = [labels, f"images: {', '.join(counts)}"]
    if splits.groups:
        parts.append(f"{len(splits.groups)} groups by {shown(splits.attribute)}")
    return "; ".join([*parts, *splits.remarks()])
