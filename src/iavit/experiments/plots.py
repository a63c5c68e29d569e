"""The paper's figures 1, 3 and 4, drawn from what was measured, as PNG and PDF."""

from __future__ import annotations

import io
import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import torch
from matplotlib import rc_context
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.layout_engine import ConstrainedLayoutEngine
from matplotlib.patches import Patch
from PIL import Image
from torch import Tensor

from iavit.data.images import Images
from iavit.experiments.tokens import correlation, views
from iavit.explain import EXPLAINERS
from iavit.files import make_folder, write_bytes
from iavit.model.explainable import extractor_of
from iavit.model.weights import Saved
from iavit.report.maps import blend, painted, resized
from iavit.types import Batch

DPI = 160
SIDE = 220  # pixels a side of a picture
INK, QUIET, RULE = "#1b1b1b", "#5c5c5c", "#d0d0cc"
# Told apart without colour, too: each has a marker of its own.
SERIES = (("#2b66d9", "o"), ("#b3541e", "s"), ("#2d8a67", "D"), ("#60235a", "^"))
SHOWN = 4  # images of figure 1
ROWS = 6  # images of figure 4

# Data set to model to explainer to its figure.
Differences = Mapping[str, Mapping[str, Mapping[str, Mapping[str, float | None]]]]


def save(figure: Figure, folder: Path, name: str) -> list[Path]:
    """Write `folder/name.png` and `.pdf`; the same figure gives the same bytes."""
    make_folder(folder)
    written = []
    for kind, metadata in (("png", {"Software": None}), ("pdf", {"CreationDate": None})):
        file = io.BytesIO()
        with warnings.catch_warnings(), rc_context({"pdf.fonttype": 42}):
            # A class name in a script that the font lacks is drawn as boxes: no reason for noise.
            warnings.filterwarnings("ignore", message="Glyph .* missing from")
            figure.savefig(file, format=kind, dpi=DPI, metadata=metadata, facecolor="white")
        written.append(folder / f"{name}.{kind}")
        write_bytes(written[-1], file.getvalue())
    return written


def token_figure(saved: Saved, images: Images, statistic: str) -> Figure:
    """Figure 1: what class token and mean patch token say, and where they look.

    images: the first of them are shown. statistic: that over the test set, in a line.
    """
    batch = _on_device(saved, images[range(min(SHOWN, len(images)))])
    both = views(extractor_of(saved.model), batch.images)
    pixels = _pictures(images, batch)
    alike = correlation(both.class_maps, both.patch_maps)
    count = len(pixels)
    height = 1.9 * count + 1.0
    below_title = ConstrainedLayoutEngine(rect=(0, 0, 1, 1 - 0.45 / height))
    figure = Figure(figsize=(9.6, height), layout=below_title)
    grid = figure.subplots(count, 4, squeeze=False, width_ratios=(1, 2.1, 1, 1))
    figure.suptitle(statistic, fontsize=9.5, color=INK, y=0.995, va="top", parse_math=False)
    for row, (axes, picture) in enumerate(zip(grid, pixels, strict=True)):
        truth = saved.classes[int(batch.labels[row])]
        _picture(axes[0], resized(picture, (SIDE, SIDE)), f"image: {_short(truth)}")
        _distributions(axes[1], both.class_logits[row], both.patch_logits[row], saved.classes, row)
        for at, (name, maps) in enumerate(
            {"class token": both.class_maps, "mean patch token": both.patch_maps}.items(), 2
        ):
            _picture(axes[at], blend(picture, maps[row].cpu().numpy(), False, SIDE), name)
        axes[3].set_xlabel(f"correlation {float(alike[row]):.2f}", fontsize=8, color=QUIET)
    return figure


def difference_figure(found: Differences) -> Figure:
    """Figure 3: insertion minus deletion by explainer, a panel a data set, with intervals."""
    models = list(dict.fromkeys(model for by_model in found.values() for model in by_model))
    names = _ranked(found)
    figure = Figure(
        figsize=(3.0 + 3.4 * len(found), 1.9 + 0.17 * len(names) * (len(models) + 0.8)),
        layout="constrained",
    )
    panels = figure.subplots(1, len(found), squeeze=False, sharey=True)[0]
    for axes, (data, by_model) in zip(panels, found.items(), strict=True):
        _intervals(axes, by_model, models, names)
        axes.set_title(data, fontsize=11, color=INK, loc="left")
        axes.set_xlabel("insertion minus deletion", fontsize=9, color=INK)
    handles, labels = panels[0].get_legend_handles_labels()
    figure.legend(
        handles, labels, loc="outside upper left", fontsize=8.5, frameon=False, ncols=len(found)
    )
    return figure


def explanation_figure(
    saved: Saved, images: Images, explainers: Sequence[str], seed: int
) -> Figure:
    """Figure 4: images by explainers, each map for the class that the predictor chooses."""
    batch = _on_device(saved, images[range(min(ROWS, len(images)))])
    with torch.no_grad(), torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        logits = saved.model(batch.images).logits
        targets = logits.argmax(dim=-1)
        found = {name: EXPLAINERS[name](saved.model, batch.images, targets) for name in explainers}
    pixels = _pictures(images, batch)
    across = 1 + len(found)
    figure = Figure(figsize=(0.2 + 1.05 * across, 0.75 + 1.2 * len(pixels)), layout="constrained")
    grid = figure.subplots(len(pixels), across, squeeze=False)
    for row, (axes, picture) in enumerate(zip(grid, pixels, strict=True)):
        said, truth = int(targets[row]), int(batch.labels[row])
        _picture(axes[0], resized(picture, (SIDE, SIDE)), "image" if row == 0 else "")
        right = "" if said == truth else f", is {_short(saved.classes[truth], 10)}"
        axes[0].set_xlabel(
            f"{_short(saved.classes[said], 12)}{right}", fontsize=7, color=QUIET, parse_math=False
        )
        for at, (name, explanation) in enumerate(found.items(), 1):
            heat = explanation.maps[row].detach().cpu().numpy()
            title = name.replace("_", "\n", 1).replace("_", " ") if row == 0 else ""
            _picture(axes[at], blend(picture, heat, explanation.signed, SIDE), title)
    words = {
        ("for the class", True): 1.0,
        ("against it", True): -1.0,
        ("more important", False): 1.0,
    }
    keys = [
        Patch(color=painted(np.full((1,), 0.5), np.array(value), signed).tolist(), label=word)
        for (word, signed), value in words.items()
    ]
    figure.legend(
        handles=keys, loc="outside lower left", fontsize=7, frameon=False, ncols=3, labelcolor=QUIET
    )
    return figure


def _distributions(
    axes: Axes, class_logits: Tensor, patch_logits: Tensor, classes: Sequence[str], row: int
) -> None:
    """Both distributions as pairs of bars, over the classes that matter in either."""
    both = torch.stack([class_logits, patch_logits]).float().softmax(dim=-1).cpu().numpy()
    most = np.sort(np.argsort(-both.max(axis=0), kind="stable")[:10])
    place = np.arange(len(most))
    for values, offset, name, (colour, _), hatch in zip(
        both, (-0.2, 0.2), ("class token", "mean patch token"), SERIES, ("", "////"), strict=False
    ):
        axes.bar(
            place + offset,
            values[most],
            0.4,
            label=name,
            facecolor="white" if hatch else colour,
            edgecolor=colour,
            hatch=hatch,
        )
    axes.set_xticks(place, [_short(classes[index], 9) for index in most], fontsize=7)
    if max(len(_short(classes[index], 9)) for index in most) > 4:
        axes.tick_params(axis="x", rotation=40)
    axes.set_ylim(0, 1.02)
    _dress(axes)
    axes.set_ylabel("probability", fontsize=8, color=QUIET)
    if row == 0:
        axes.legend(
            fontsize=8,
            frameon=False,
            loc="lower right",
            bbox_to_anchor=(1, 1),
            ncols=2,
            borderpad=0,
        )


def _ranked(found: Differences) -> list[str]:
    """Explainers, the best mean over models and data sets first."""
    values: dict[str, list[float]] = {}
    for models in found.values():
        for explainers in models.values():
            for name, figure in explainers.items():
                if figure["mean"] is not None:
                    values.setdefault(name, []).append(figure["mean"])
    return sorted(values, key=lambda name: -float(np.mean(values[name])))


def _intervals(
    axes: Axes,
    by_model: Mapping[str, Mapping[str, Mapping[str, float | None]]],
    models: Sequence[str],
    names: Sequence[str],
) -> None:
    """A marker and its interval for each explainer and model, the models side by side."""
    step = 0.8 / max(1, len(models))
    for number, model in enumerate(models):
        colour, marker = SERIES[number % len(SERIES)]
        points = [
            (at, figure)
            for at, name in enumerate(names)
            if (figure := by_model.get(model, {}).get(name)) is not None
            and figure["mean"] is not None
        ]
        at = np.array([at for at, _ in points]) + (number - (len(models) - 1) / 2) * step
        mean, low, high = (
            np.array([f[end] if f[end] is not None else f["mean"] for _, f in points], float)
            for end in ("mean", "low", "high")
        )
        axes.errorbar(
            mean,
            at,
            xerr=np.stack([mean - low, high - mean]) if len(points) else None,
            fmt=marker,
            color=colour,
            markersize=4,
            linewidth=1.3,
            capsize=2,
            label=model,
        )
    axes.axvline(0, color=QUIET, linewidth=0.8)
    axes.set_yticks(range(len(names)), [name.replace("_", " ") for name in names], fontsize=8.5)
    axes.set_ylim(len(names) - 0.4, -0.6)
    _dress(axes)
    axes.grid(axis="x", color=RULE, linewidth=0.6)
    axes.set_axisbelow(True)


def _dress(axes: Axes) -> None:
    axes.spines[["top", "right"]].set_visible(False)
    axes.spines[["left", "bottom"]].set_color(RULE)
    axes.tick_params(labelsize=8, length=2, color=RULE, labelcolor=INK)


def _picture(axes: Axes, picture: Image.Image, title: str) -> None:
    axes.imshow(np.asarray(picture), interpolation="nearest")
    axes.set_xticks([])
    axes.set_yticks([])
    for spine in axes.spines.values():
        spine.set_visible(False)
    axes.set_title(title, fontsize=8, color=INK, parse_math=False)


def _pictures(images: Images, batch: Batch) -> list[Image.Image]:
    pixels = images.normalisation.restore(batch.images).permute(0, 2, 3, 1).cpu().numpy()
    return [Image.fromarray(each) for each in pixels]


def _on_device(saved: Saved, batch: Batch) -> Batch:
    return batch.to(next(saved.model.parameters()).device)


def _short(text: str, length: int = 16) -> str:
    return text if len(text) <= length else text[: length - 1] + "…"
