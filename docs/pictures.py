"""Makes the pictures of the docs from runs: `python docs/pictures.py --help`.

Each is what `iavit explain`, the demo or a browser shows, made smaller; nothing is drawn by hand.
"""

from __future__ import annotations

import argparse
import io
import subprocess
import tempfile
from pathlib import Path

import matplotlib

import iavit
from iavit.data.datasets import load_dataset
from iavit.handover.classifier import Classifier

# isort: split
from matplotlib.figure import Figure
from PIL import Image

from iavit.report.maps import blend, resized

PICTURES = Path(__file__).parent / "pictures"
CHROMIUM = ["--headless", "--no-sandbox", "--disable-gpu", "--no-first-run", "--hide-scrollbars"]
SHOWN = (
    "contributions", "interpreter", "rollout", "generic_attention", "integrated_gradients", "random"
)  # fmt: skip


def keep(picture: Image.Image, name: str, width: int = 1440) -> None:
    """Write a picture as WebP, no wider than `width`."""
    if picture.width > width:
        height = round(picture.height * width / picture.width)
        picture = picture.resize((width, height), Image.Resampling.LANCZOS)
    path = PICTURES / f"{name}.webp"
    picture.convert("RGB").save(path, quality=86, method=6)
    print(f"{path.name}: {picture.width} x {picture.height}, {path.stat().st_size / 1000:.0f} kB")


def explained(
    model: Classifier, picture: Image.Image, name: str, target: str | None = None
) -> None:
    """The figure that `iavit explain` writes."""
    with io.BytesIO(model.explain(picture, target)._repr_png_()) as file:
        keep(Image.open(file), name)


def scene(model: Classifier, number: int) -> Image.Image:
    """A test image of the run, by its number."""
    assert model.config is not None
    images = load_dataset(model.config).test
    pixels = images.normalisation.restore(images[[number]].images)[0]
    return Image.fromarray(pixels.permute(1, 2, 0).numpy())


def compared(model: Classifier, picture: Image.Image, name: str) -> None:
    """One image by several explainers, side by side."""
    side = 200
    figure = Figure(figsize=(11, 1.9), dpi=110, facecolor="white")
    for column, explainer in enumerate(("image", *SHOWN)):
        if explainer == "image":
            panel = resized(picture, (side, side))
        else:
            one = model.explain(picture, explainer=explainer)
            panel = blend(picture, one.map, one.signed, side)
        axes = figure.add_axes((column / 7 + 0.004, 0.02, 1 / 7 - 0.008, 0.84))
        axes.imshow(panel)
        axes.set_axis_off()
        axes.set_title(explainer.replace("_", " "), fontsize=9)
    with io.BytesIO() as file:
        figure.savefig(file, format="png")
        keep(Image.open(file), name)


def screenshot(page: Path, name: str, width: int = 1100, height: int = 760) -> None:
    """The first screen of a page, in Chromium."""
    with tempfile.TemporaryDirectory() as folder:
        shot = Path(folder) / "shot.png"
        window = f"--window-size={width},{height}"
        subprocess.run(
            ["chromium", *CHROMIUM, window, f"--screenshot={shot}", page.resolve().as_uri()],
            check=True,
            capture_output=True,
        )
        keep(Image.open(shot), name, width)


def main() -> None:
    """Make what the options name a run for."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--demo", type=Path, help="what `iavit demo` left")
    parser.add_argument("--scene", type=int, default=2, help="the test image that is explained")
    parser.add_argument("--other", default="9", help="the class that it is also explained for")
    parser.add_argument("--photographs", type=Path, help="a run on photographs")
    parser.add_argument("--photo", type=Path, help="the photograph that it explains")
    options = parser.parse_args()
    matplotlib.use("agg")
    PICTURES.mkdir(exist_ok=True)
    if options.demo is not None:
        model = iavit.load(options.demo)
        picture = scene(model, options.scene)
        explained(model, picture, "digit")
        explained(model, picture, "digit-other", options.other)
        compared(model, picture, "explainers")
        keep(Image.open(options.demo / "preview.png"), "preview")
        screenshot(options.demo / "report" / "index.html", "report")
    if options.photographs is not None:
        model = iavit.load(options.photographs)
        explained(model, Image.open(options.photo), "photograph")


if __name__ == "__main__":
    main()
