"""What stands where a patch is not: `SUBSTRATES`, name to substrate.

No substrate is neutral: a model may read a class out of black squares, or out of the edges of
blurred ones. A finding that holds on several of them is not owed to one.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F
from torchvision.transforms.functional import gaussian_blur

from iavit.data.transforms import Normalisation

# (B, 3, H, W) images to the picture that shows through, of the same shape. What it draws must
# not depend on which other images there are.
Picture = Callable[[Tensor], Tensor]


@dataclass(frozen=True)
class Imputation:
    """A substrate that is computed from what is still visible, for each masked copy.

    fill: images (n, 3, H, W) and the visible pixels (n, 1, H, W) bool to (n, 3, H, W). Where no
        pixel is visible it must not depend on the image.
    """

    fill: Callable[[Tensor, Tensor], Tensor]


@dataclass(frozen=True)
class Drop:
    """No substrate: the tokens of masked patches are left out of the sequence.

    A transformer may be asked about any set of patches, so nothing has to be invented for the
    missing ones, and a shorter sequence costs less. With a convolutional stem the neighbours of
    a missing patch have still seen its pixels.
    """


Substrate = Picture | Imputation | Drop


def zeros(images: Tensor) -> Tensor:
    """0 in normalised units: the mean colour of the data, as in the paper."""
    return torch.zeros_like(images)


def mean(images: Tensor) -> Tensor:
    """Each image's own mean colour."""
    return images.mean(dim=(2, 3), keepdim=True).expand_as(images)


def black(images: Tensor, *, normalisation: Normalisation | None = None) -> Tensor:
    """Pixel value 0.

    normalisation: how the images were normalised; by default mean and deviation 0.5. In
        `SUBSTRATES` it stands with that default: for others take
        `functools.partial(black, normalisation=...)`.
    """
    normalisation = normalisation or Normalisation()
    pixels = images.new_zeros(3, 1, 1, dtype=torch.uint8)
    return normalisation.normalise(pixels).to(images.dtype).expand_as(images)


def blur(images: Tensor, *, sigma: float | None = None) -> Tensor:
    """The image, blurred by a Gaussian.

    sigma: its standard deviation in pixels; by default a sixteenth of the shorter side (14 of
        224), which leaves colours and no shapes. Source: Fong and Vedaldi, ICCV 2017.
    """
    width = min(images.shape[2:]) / 16 if sigma is None else sigma
    reach = min(round(3 * width), min(images.shape[2:]) - 1)
    blurred: Tensor = gaussian_blur(images, [2 * reach + 1] * 2, [width, width])
    return blurred


def noise(images: Tensor, *, seed: int = 0) -> Tensor:
    """Standard normal noise in normalised units, one picture of it for all images."""
    return _drawn(images, seed)


def linear(images: Tensor, visible: Tensor, *, magnitude: float = 0.01, seed: int = 0) -> Tensor:
    """Noisy linear imputation: a missing pixel is the weighted mean of its eight neighbours.

    Neighbours at the side weigh 1/6, diagonal ones 1/12, those outside of the picture 0, and
    neighbours may themselves be missing: `A x = b`, a sparse, symmetric, positive definite system
    over the missing pixels of each copy and channel. It is solved for all copies at once, by
    conjugate gradients in float64. Where nothing is visible, the picture is 0.

    images: (n, 3, H, W). visible: (n, 1, H, W) bool.
    magnitude: standard deviation of the normal noise that is added to every imputed pixel, in
        units of the normalised image, so that a model cannot recognise them by their smoothness;
        the same picture of noise for all copies.

    Source: Rong et al., ICML 2022 (ROAD), section 4.2.
    """
    missing = (~visible).double()
    weight = _neighbours(torch.ones_like(missing[:1]))  # less than 1 at the border
    known = images.double() * visible
    right = _neighbours(known) * missing

    def system(x: Tensor) -> Tensor:
        return (weight * x - _neighbours(x)) * missing

    count = visible.sum(dim=(2, 3), keepdim=True).clamp_min(1)
    start = (known.sum(dim=(2, 3), keepdim=True) / count) * missing  # the mean of what is known
    imputed = _conjugate_gradients(system, right, start)
    imputed = imputed + magnitude * _drawn(imputed, seed)
    return torch.where(visible, images, imputed.to(images.dtype))


def _neighbours(pictures: Tensor) -> Tensor:
    """The weighted sum of each pixel's eight neighbours, (n, c, H, W).

    The weights are `([1, 2, 1] x [1, 2, 1] - 4) / 12`, the 4 at the middle: rows, then columns.
    """
    framed = F.pad(pictures, (1, 1, 1, 1))
    rows = framed[:, :, :-2] + 2 * framed[:, :, 1:-1] + framed[:, :, 2:]
    columns = rows[..., :-2] + 2 * rows[..., 1:-1] + rows[..., 2:]
    return (columns - 4 * pictures) / 12


def _conjugate_gradients(
    system: Callable[[Tensor], Tensor], right: Tensor, start: Tensor, tolerance: float = 1e-7
) -> Tensor:
    """`x` with `system(x) = right`, each picture (n, 3, H, W) on its own, in place of a matrix.

    Stops when no residual is longer than `tolerance` for each unit of its right-hand side.
    """

    def product(a: Tensor, b: Tensor) -> Tensor:
        return (a * b).sum(dim=(2, 3), keepdim=True)

    x = start
    residual = right - system(x)
    direction = residual
    length = product(residual, residual)
    enough = tolerance**2 * product(right, right)
    for _ in range(right.shape[2] * right.shape[3]):  # exact by then, but for rounding
        going = length > enough  # the others stay as they are, whatever shares their batch
        if not bool(going.any()):
            break
        turned = system(direction)
        step = length / product(direction, turned).clamp_min(torch.finfo(x.dtype).tiny)
        step = step.where(going, 0)
        x = x + step * direction
        residual = residual - step * turned
        longer = product(residual, residual)
        direction = residual + longer / length.clamp_min(torch.finfo(x.dtype).tiny) * direction
        length = longer
    return x


def _drawn(images: Tensor, seed: int) -> Tensor:
    """One picture of normal noise for all images, the same on every device."""
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(images.shape[1:], generator=generator).to(images).expand_as(images)


SUBSTRATES: dict[str, Substrate] = {
    "zeros": zeros,
    "mean": mean,
    "black": black,
    "blur": blur,
    "noise": noise,
    "linear": Imputation(linear),
    "drop": Drop(),
}
