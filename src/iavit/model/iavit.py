"""The three parts joined: feature extractor h, predictor f, interpreter g."""

from __future__ import annotations

from dataclasses import dataclass
from os import PathLike
from pathlib import Path
from typing import Literal

from torch import Tensor, nn

from iavit.model.backbones import ImageSize, create_backbone
from iavit.model.extractor import Extractor
from iavit.model.interpreter import Interpreter, InterpreterHead
from iavit.types import Output

# What becomes of the attention received in the extractor: it is not computed, a constant, or
# something that gradient flows through.
ExtractorAttention = Literal["none", "constant", "gradient"]


@dataclass(frozen=True)
class Architecture:
    """All that is needed to build a model again, weights aside.

    img_size: pixels a side, or (height, width) where they differ.
    """

    backbone: str
    num_classes: int
    img_size: int | tuple[int, int]
    interpreter_head: InterpreterHead = "mean"


class IAViT(nn.Module):
    """A vision transformer that explains itself in the forward pass (arXiv 2309.08035).

    The predictor is the backbone's own pooling and head: of most, on the class token. The
    interpreter reads the patch tokens after the final norm.

    Example:
        >>> model = IAViT.create("vit_digits", num_classes=10)
        >>> output = model(images)                      # (B, 3, 32, 32)
        >>> output.logits, output.interpreter_attention  # (B, 10), (B, 64)
    """

    def __init__(
        self, extractor: Extractor, interpreter: Interpreter, architecture: Architecture
    ) -> None:
        super().__init__()
        self.extractor = extractor
        self.interpreter = interpreter
        self.architecture = architecture

    @classmethod
    def create(
        cls,
        backbone: str,
        num_classes: int,
        img_size: ImageSize | None = None,
        pretrained: bool = False,
        *,
        interpreter_head: InterpreterHead = "mean",
        drop_path: float = 0.0,
    ) -> IAViT:
        """Build a model over a timm backbone; the arguments are those of the parts.

        Raises `UserError` where the backbone cannot be built (see `create_backbone`).
        """
        vit = create_backbone(
            backbone,
            num_classes=num_classes,
            img_size=img_size,
            pretrained=pretrained,
            drop_path=drop_path,
        )
        extractor = Extractor(vit)
        height, width = extractor.grid
        interpreter = Interpreter(vit.embed_dim, height * width, num_classes, interpreter_head)
        tall, wide = (int(pixels) for pixels in vit.patch_embed.img_size)
        size = tall if tall == wide else (tall, wide)
        architecture = Architecture(backbone, num_classes, size, interpreter_head)
        return cls(extractor, interpreter, architecture)

    @classmethod
    def from_pretrained(cls, source: str | PathLike[str]) -> IAViT:
        """A trained model in evaluation mode, from a folder or the hub's `owner/name`.

        Class names and normalisation come with `iavit.load`.

        Raises `UserError` for what is no model, and where the hub cannot be reached.
        """
        from iavit.model.hub import download
        from iavit.model.weights import load_model

        folder = Path(source)
        return load_model(folder if folder.is_dir() else download(str(source))).model

    def forward(
        self,
        images: Tensor,
        *,
        interpret: int | None = None,
        attention: ExtractorAttention = "constant",
    ) -> Output:
        """(B, 3, H, W) normalised images to `Output`.

        interpret: B', how many of the first images to interpret, all by default; all are
            predicted. With 0 the interpreter is not run at all.
        attention: whether to compute `extractor_attention`, which nothing but the alignment in
            training and the explainer of its name needs, and whether with gradient. Without, it
            is (B', 0).
        """
        if attention == "none" or interpret == 0:
            tokens = self.extractor.tokens(images)
            extractor_attention = tokens.new_empty(len(tokens[:interpret]), 0)
        else:
            tokens, extractor_attention = self.extractor(
                images, first=interpret, attention_gradient=attention == "gradient"
            )
        if interpret == 0:
            nothing = tokens.new_empty(0, 0)
            return Output(self.extractor.predict(tokens), nothing, nothing, nothing, tokens)
        patches = self.extractor.patches(tokens[:interpret])
        interpreter_logits, interpreter_attention = self.interpreter(patches)
        return Output(
            logits=self.extractor.predict(tokens),
            interpreter_logits=interpreter_logits,
            extractor_attention=extractor_attention,
            interpreter_attention=interpreter_attention,
            tokens=tokens,
        )

    def predict(self, images: Tensor) -> Tensor:
        """The predictor's logits alone, (B, C), at the price of the plain backbone."""
        return self.extractor.logits(images)

    def contributions(self, images: Tensor) -> Tensor:
        """What each patch adds to each of the interpreter's logits, (B, N, C).

        Complete: `contributions.sum(dim=1) + model.interpreter.bias` are the interpreter's
        logits.
        """
        patches = self.extractor.patches(self.extractor.tokens(images))
        return self.interpreter.contributions(patches)

    @property
    def grid(self) -> tuple[int, int]:
        """(h, w), the patch grid."""
        return self.extractor.grid
