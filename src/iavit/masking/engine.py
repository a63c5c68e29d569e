"""The perturbation engine: many masked copies of each image, one answer each.

The caller says which units of each image are visible in which copy, by their ranks or by masks;
units are patches or pixels. Copies are made a forward pass's worth at a time, on the images'
device, packed across images into full batches, and dropped again: memory depends on how many
copies share a pass, not on how many there are.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor, nn

from iavit.errors import UserError
from iavit.masking.copies import Copies, masked_copies
from iavit.masking.substrates import Substrate, zeros
from iavit.model.explainable import Predictor, explaining
from iavit.types import Explanation

# Elements of the token tensor, copies * tokens * channels, in one forward pass. On two cores
# larger passes fall out of the cache, on a GPU smaller ones leave it idle.
CPU_ELEMENTS = 2**20
GPU_ELEMENTS = 2**25


@dataclass(frozen=True)
class Perturbation:
    """How copies are masked, and what is read off them.

    substrate: what stands where a unit is not.
    score: of the class explained, its probability or its logit.
    copies: the most masked copies that are held at a time; by default as many as a pass over
        them is fast with.
    autocast: the type of the forward passes, such as `torch.bfloat16`; None leaves it alone.
    """

    substrate: Substrate = zeros
    score: Literal["probability", "logit"] = "probability"
    copies: int | None = None
    autocast: torch.dtype | None = None

    def __post_init__(self) -> None:
        if self.copies is not None and self.copies < 1:
            raise UserError(f"`copies` is {self.copies}; it must be at least 1")


@dataclass(frozen=True)
class Answers:
    """What the predictor says of every copy.

    scores: (B, P), of the class explained.
    chosen: (B, P) bool, whether that class has the largest logit.
    """

    scores: Tensor
    chosen: Tensor


def ranked_answers(
    model: nn.Module,
    images: Tensor,
    targets: Tensor,
    ranks: Tensor,
    ranges: Sequence[tuple[int, int]],
    perturbation: Perturbation | None = None,
) -> Answers:
    """Answers on copies that show units of some ranks: (B, P), a column for each range.

    images: (B, 3, H, W). targets: (B,).
    ranks: (B, h, w), each unit's place, 0 for the most important: see `patch_ranks`. On the
        model's grid or any other that divides the image, up to single pixels.
    ranges: P of them, `(low, high)`: units with `low <= rank < high` are visible. So
        `(0, k)` inserts the first k, `(k, h * w)` deletes them, `(0, h * w - k)` deletes the
        last k.

    Nothing is computed twice: equal ranges once, the whole image once, and the empty one once
    for all images where the substrate is the same for all.

    Raises `UserError` for images, targets or ranks that do not fit the model.
    """
    distinct = sorted(set(ranges))
    place = ranks.to(images.device)
    low, high = place.new_tensor(distinct).T  # (P,) each

    def visible(rows: Tensor, points: Tensor) -> Tensor:
        rank = place[rows]
        return (rank >= low[points, None, None]) & (rank < high[points, None, None])

    kept = (high - low).expand(len(ranks), -1)
    found = _answers(model, images, targets, ranks.shape[1:], visible, kept, perturbation)
    columns = [distinct.index(range_) for range_ in ranges]
    return Answers(found.scores[:, columns], found.chosen[:, columns])


def masked_answers(
    model: nn.Module,
    images: Tensor,
    targets: Tensor,
    visible: Tensor,
    perturbation: Perturbation | None = None,
) -> Answers:
    """Answers on copies with any visible units: (B, P), for visible (B, P, h, w) bool."""
    kept = visible.sum(dim=(2, 3)).to(images.device)

    def at(rows: Tensor, points: Tensor) -> Tensor:
        return visible[rows.to(visible.device), points.to(visible.device)].to(images.device)

    return _answers(model, images, targets, visible.shape[2:], at, kept, perturbation)


def patch_ranks(explanation: Explanation, grid: tuple[int, int]) -> Tensor:
    """Each unit's place in an explanation, 0 for the most important: (B, h, w) int64.

    grid: (h, w), the model's own for patches, or (H, W) for pixels. A finer map is averaged over
        each unit. Equal units are ordered at random, from a fixed seed, so that no explainer
        gains from the order in which units are numbered.

    Raises `UserError` for a map with values that are not finite, and for one of another shape.
    """
    maps = explanation.maps
    sides = maps.shape[1:]
    if maps.ndim != 3 or any(side % unit for side, unit in zip(sides, grid, strict=True)):
        raise UserError(
            f"{explanation.method}: maps of shape {tuple(maps.shape)} cannot be ranked on a grid "
            f"of {grid[0]} x {grid[1]}; return one map an image, on that grid or in pixels"
        )
    finite = maps.isfinite().flatten(1).all(dim=1)
    if not bool(finite.all()):
        raise UserError(
            f"{explanation.method}: the map of image {int((~finite).nonzero()[0])} has values "
            "that are not finite (NaN or infinite); leave the explainer or the image out"
        )
    pooled = on_units(maps, grid).flatten(1)
    generator = torch.Generator().manual_seed(0)
    shuffle = torch.rand(pooled.shape, generator=generator).argsort(dim=1).to(maps.device)
    by_value = pooled.gather(1, shuffle).argsort(dim=1, descending=True, stable=True)
    return shuffle.gather(1, by_value).argsort(dim=1).unflatten(1, grid)


def on_units(maps: Tensor, grid: tuple[int, int]) -> Tensor:
    """Maps (B, h', w') as each unit's mean, (B, h, w) float64; those on that grid stay."""
    return nn.functional.adaptive_avg_pool2d(maps[:, None].double(), grid)[:, 0]


# Rows of images and columns of points, (n,) each, to the visible units, (n, h, w) bool.
_Visible = Callable[[Tensor, Tensor], Tensor]


@torch.inference_mode()
def _answers(
    model: nn.Module,
    images: Tensor,
    targets: Tensor,
    grid: Sequence[int],
    visible: _Visible,
    kept: Tensor,
    perturbation: Perturbation | None,
) -> Answers:
    """The engine: as many images at a time as copies share a pass, all of their copies packed.

    kept: (B, P), how many units each copy shows.
    """
    perturbation = perturbation or Perturbation()
    halved, parts = 0, []
    with explaining(model, images, targets) as (predictor, images, targets):
        _check_units(images, kept, grid)
        at = 0
        while at < len(images):
            room = _room(predictor, images.device, perturbation.copies, halved)
            rows = slice(at, at + room.copies(room.tokens))

            def shown(row: Tensor, point: Tensor, start: int = at) -> Tensor:
                return visible(row + start, point)

            try:
                with torch.autocast(
                    images.device.type, perturbation.autocast, perturbation.autocast is not None
                ):
                    made = masked_copies(predictor, images[rows], grid, perturbation.substrate)
                    part = _chunk(
                        made,
                        targets[rows],
                        shown,
                        kept[rows],
                        grid[0] * grid[1],
                        room,
                        perturbation.score,
                    )
            except torch.OutOfMemoryError as error:
                if room.copies(room.tokens) == 1:
                    raise UserError(
                        "out of memory with a single masked copy a forward pass: take a smaller "
                        "model, smaller images, or another device"
                    ) from error
                halved += 1
                continue
            parts.append(part)
            at = rows.stop
    if halved:
        most = room.copies(room.tokens)
        warnings.warn(
            f"out of memory: went on with {most} masked copies a forward pass; "
            f"`copies` {most} starts there",
            stacklevel=4,  # who called the public function: the decorator is a frame, too
        )
    return Answers(
        torch.cat([part.scores for part in parts]), torch.cat([part.chosen for part in parts])
    )


def _check_units(images: Tensor, kept: Tensor, grid: Sequence[int]) -> None:
    sides = images.shape[2:]
    if len(kept) != len(images) or any(
        side % units for side, units in zip(sides, grid, strict=True)
    ):
        raise UserError(
            f"{len(kept)} maps on a grid of {grid[0]} x {grid[1]} for {len(images)} images of "
            f"{sides[0]} x {sides[1]} pixels: give one for each image, on a grid that divides it"
        )


@dataclass(frozen=True)
class _Room:
    """How much may be held at a time: copies, and elements of their tokens.

    tokens: of a whole sequence, prefix tokens among them.
    """

    most: int | None
    elements: int
    tokens: int
    prefix: int
    channels: int

    def copies(self, tokens: int) -> int:
        """Copies of so many tokens that share a forward pass: short ones are more."""
        fit = self.elements // (max(1, tokens) * self.channels)
        return max(1, fit if self.most is None else min(fit, self.most))


def _room(predictor: Predictor, device: torch.device, copies: int | None, halved: int) -> _Room:
    """The bound that the user set, else the device's, halved so many times."""
    tokens = predictor.prefix + predictor.grid[0] * predictor.grid[1]
    channels = predictor.channels
    if copies is None:
        elements = CPU_ELEMENTS if device.type == "cpu" else GPU_ELEMENTS
        fit = max(1, elements // (tokens * channels))
    else:
        fit = copies
    fit = max(1, fit >> halved)
    most = None if copies is None else fit
    return _Room(most, fit * tokens * channels, tokens, predictor.prefix, channels)


def _chunk(
    copies: Copies,
    targets: Tensor,
    visible: _Visible,
    kept: Tensor,
    units: int,
    room: _Room,
    score: Literal["probability", "logit"],
) -> Answers:
    """All copies of some images, each distinct one once; kept (B, P) of so many units."""
    sources = _sources(kept, units, copies.empty_alike)
    jobs, place = sources.unique(return_inverse=True)  # (jobs,), and for each copy its job
    jobs, empty = jobs[jobs < kept.numel()], jobs[jobs >= kept.numel()] - kept.numel()
    passes = list(_passes(kept.flatten()[jobs], room, copies.shortened))
    scores, chosen = [], []

    def read(logits: Tensor, classes: Tensor) -> None:
        logits = logits.to(torch.promote_types(logits.dtype, torch.float32))
        values = logits.softmax(dim=1) if score == "probability" else logits
        scores.append(values.gather(1, classes[:, None])[:, 0])
        chosen.append(logits.argmax(dim=1) == classes)

    for job in passes:
        rows, points = jobs[job] // kept.shape[1], jobs[job] % kept.shape[1]
        read(copies.logits(rows, visible(rows, points)), targets[rows])
    if len(empty):
        row, point = empty[:1], kept[empty[:1]].argmin(dim=1)
        logits = copies.logits(row, visible(row, point))
        read(logits.expand(len(empty), -1), targets[empty])
    order = torch.cat(passes).argsort() if passes else jobs
    order = torch.cat((order, torch.arange(len(empty), device=order.device) + len(order)))
    return Answers(torch.cat(scores)[order][place], torch.cat(chosen)[order][place])


def _sources(kept: Tensor, units: int, empty_alike: bool) -> Tensor:
    """For each copy the number, `image * P + point`, of the first that is equal to it: (B, P).

    Copies that show all units of an image are equal, and those that show none. Where these are
    the same for all images, they have the numbers from `B * P` on, one for each image: one pass
    answers for all of them, but each image reads its own class off it.
    """
    count, points = kept.shape
    number = torch.arange(count * points, device=kept.device).view(count, points)
    for same in (kept == units, kept == 0):
        first = number.where(same, count * points).amin(dim=1, keepdim=True)
        number = first.where(same, number)
    if empty_alike:
        rows = torch.arange(count, device=kept.device)[:, None]
        number = (count * points + rows).where(kept == 0, number)
    return number


def _passes(kept: Tensor, room: _Room, shortened: bool) -> Iterator[Tensor]:
    """The jobs (jobs,) of each forward pass: full ones, of copies equally long."""
    if not shortened:
        yield from torch.arange(len(kept), device=kept.device).split(room.copies(room.tokens))
        return
    by_length = kept.argsort(descending=True, stable=True)  # what needs most memory comes first
    lengths, counts = kept[by_length].unique_consecutive(return_counts=True)
    groups = by_length.split(counts.tolist())
    for length, group in zip(lengths.tolist(), groups, strict=True):
        yield from group.split(room.copies(length + room.prefix))
