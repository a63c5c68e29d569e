"""The three parts joined: feature extractor h, predictor f, interpreter g."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor, nn

from iavit.model.attention import Counted
from iavit.model.backbones import ImageSize, create_backbone
from iavit.model.extractor import Extractor
from iavit.model.interpreter import Interpreter, InterpreterHead
from iavit.types import Output


@dataclass(frozen=True)
class Architecture:
    """All that is needed to build a model again, weights aside.

    img_size: pixels a side, or (height, width) where they differ.
    attention_layers, attention_queries: what `Output.extractor_attention` is a mean over; see
        `Extractor`.
    """

    backbone: str
    num_classes: int
    img_size: int | tuple[int, int]
    interpreter_head: InterpreterHead = "mean"
    attention_layers: int | None = None
    attention_queries: Counted = "patches"


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
        attention_gradient: bool = False,
        attention_layers: int | None = None,
        attention_queries: Counted = "patches",
        drop_path: float = 0.0,
    ) -> IAViT:
        """Build a model over a timm backbone; the arguments are those of the parts.

        Raises `UserError` where the backbone cannot be built (see `create_backbone`), or has not
        the layers or the class token whose attention is to count.
        """
        vit = create_backbone(
            backbone,
            num_classes=num_classes,
            img_size=img_size,
            pretrained=pretrained,
            drop_path=drop_path,
        )
        extractor = Extractor(
            vit,
            attention_gradient=attention_gradient,
            attention_layers=attention_layers,
            attention_queries=attention_queries,
        )
        height, width = extractor.grid
        interpreter = Interpreter(vit.embed_dim, height * width, num_classes, interpreter_head)
        tall, wide = (int(pixels) for pixels in vit.patch_embed.img_size)
        size = tall if tall == wide else (tall, wide)
        architecture = Architecture(
            backbone,
            num_classes,
            size,
            interpreter_head,
            attention_layers,
            attention_queries,
        )
        return cls(extractor, interpreter, architecture)

    def forward(self, images: Tensor, *, first: int | None = None, aligned: bool = True) -> Output:
        """(B, 3, H, W) normalised images to `Output`.

        first: interpret the first so many images only, and predict all; for training, which
            also predicts images with patches missing.
        aligned: whether to compute `extractor_attention`, which nothing but the alignment in
            training and the explainer of its name asks for; it is empty, (B, 0), without.
        """
        return self.read(*self.see(images, first=first, aligned=aligned), first=first)

    def see(
        self, images: Tensor, *, first: int | None = None, aligned: bool = True
    ) -> tuple[Tensor, Tensor]:
        """The extractor's part of `forward`: final tokens (B, T, D), its attention (B, N)."""
        if aligned:
            seen: tuple[Tensor, Tensor] = self.extractor(images, first)
            return seen
        tokens = self.extractor.tokens(images)
        return tokens, tokens.new_zeros(len(tokens[:first]), 0)

    def read(
        self, tokens: Tensor, extractor_attention: Tensor, *, first: int | None = None
    ) -> Output:
        """What both branches make of the extractor's final tokens (B, T, D)."""
        patches = self.extractor.patches(tokens[:first])
        interpreter_logits, interpreter_attention = self.interpreter(patches)
        return Output(
            logits=self.extractor.predict(tokens),
            interpreter_logits=interpreter_logits,
            extractor_attention=extractor_attention,
            interpreter_attention=interpreter_attention,
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
