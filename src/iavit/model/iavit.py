"""The three parts joined: feature extractor h, predictor f, interpreter g."""

from __future__ import annotations

from dataclasses import dataclass
from os import PathLike
from pathlib import Path

import torch
from torch import Tensor, nn

from iavit.errors import UserError
from iavit.model.backbones import ImageSize, create_backbone, default_backbone
from iavit.model.black_box import BlackBox, OwnBackbone
from iavit.model.branch import Branch, default_width
from iavit.model.extractor import Backbone, Extracted, Extractor, ExtractorAttention
from iavit.model.interpreter import Interpreter, InterpreterHead
from iavit.model.programs import Program
from iavit.types import Output


@dataclass(frozen=True)
class Architecture:
    """All that is needed to build a model again, weights aside.

    img_size: pixels a side, or (height, width) where they differ.
    branch_width: channels of the interpreter's own branch; 0 for none.
    """

    backbone: str
    num_classes: int
    img_size: int | tuple[int, int]
    interpreter_head: InterpreterHead = "mean"
    branch_width: int = 0


class IAViT(nn.Module):
    """A vision transformer that explains itself in the forward pass (arXiv 2309.08035).

    The predictor is the backbone's own pooling and head: of most, on the class token. The
    interpreter reads the patch tokens after the final norm, as in the paper, or those of a
    branch of its own, which lets no gradient into the extractor: see `Branch`. A classifier that
    is no plain vision transformer is a `BlackBox`, and the branch a backbone: see `beside`.

    Example:
        >>> model = IAViT.create("vit_digits", num_classes=10)
        >>> output = model(images)                      # (B, 3, 32, 32)
        >>> output.logits, output.interpreter_attention  # (B, 10), (B, 64)
    """

    def __init__(
        self,
        extractor: Extractor | BlackBox,
        interpreter: Interpreter,
        architecture: Architecture,
        branch: Branch | OwnBackbone | None = None,
    ) -> None:
        super().__init__()
        self.extractor = extractor
        self.branch = branch
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
        branch_width: int | None = 0,
        drop_path: float = 0.0,
    ) -> IAViT:
        """Build a model over a timm backbone; the arguments are those of the parts.

        branch_width: channels of the interpreter's own branch, 0 for none; None for the default
            beside this backbone (see `branch.default_width`).

        Raises `UserError` where the backbone cannot be built (see `create_backbone`).
        """
        vit = create_backbone(
            backbone,
            num_classes=num_classes,
            img_size=img_size,
            pretrained=pretrained,
            drop_path=drop_path,
        )
        return cls.around(
            vit, backbone, interpreter_head=interpreter_head, branch_width=branch_width
        )

    @classmethod
    def around(
        cls,
        vit: Backbone,
        name: str,
        *,
        interpreter_head: InterpreterHead = "mean",
        branch_width: int | None = 0,
    ) -> IAViT:
        """The model around a timm transformer, which is held as it is.

        name: of the backbone, by which it can be built again. The others are those of `create`.

        Raises `UserError` for a transformer whose blocks cannot be run (see `Extractor`).
        """
        extractor = Extractor(vit)
        height, width = extractor.grid
        own = default_width(vit.embed_dim) if branch_width is None else branch_width
        branch = Branch(vit.embed_dim, own, len(vit.blocks)) if own else None
        channels = own or vit.embed_dim
        interpreter = Interpreter(channels, height * width, vit.num_classes, interpreter_head)
        tall, wide = (int(pixels) for pixels in vit.patch_embed.img_size)
        size = tall if tall == wide else (tall, wide)
        architecture = Architecture(name, vit.num_classes, size, interpreter_head, own)
        return cls(extractor, interpreter, architecture, branch)

    @classmethod
    def beside(
        cls,
        classifier: nn.Module,
        img_size: int | tuple[int, int],
        backbone: str | None = None,
        *,
        interpreter_head: InterpreterHead = "mean",
        program: Program | None = None,
    ) -> IAViT:
        """The model around a classifier of any kind, and a backbone of the interpreter's own.

        classifier: images (B, 3, H, W) to logits (B, C). It is asked about an empty image.
        img_size: pixels a side of the images that it reads, or (height, width).
        backbone: the interpreter's, new; by default `default_backbone` for this size.
        program: the file that the classifier came from.

        Raises `UserError` for a classifier that does not answer such images with logits.
        """
        height, width = (img_size, img_size) if isinstance(img_size, int) else img_size
        name = backbone or default_backbone(max(height, width))
        own = OwnBackbone(create_backbone(name, num_classes=0, img_size=(height, width)))
        grid = own.extractor.grid
        box = BlackBox(classifier, 0, (height, width), grid, program)
        device = next((p.device for p in classifier.parameters()), None)
        try:
            with torch.no_grad():
                box.num_classes = box.logits(torch.zeros(2, 3, height, width, device=device)).shape[
                    1
                ]
        except (RuntimeError, TypeError, ValueError, AttributeError) as error:
            reason = (str(error).strip() or type(error).__name__).splitlines()[-1]
            raise UserError(
                f"the classifier does not answer images of shape (2, 3, {height}, {width}): "
                f"{reason}; set `img_size` to what it reads"
            ) from error
        channels = own.extractor.backbone.embed_dim
        patches = grid[0] * grid[1]
        interpreter = Interpreter(channels, patches, box.num_classes, interpreter_head)
        size = height if height == width else (height, width)
        architecture = Architecture(name, box.num_classes, size, interpreter_head)
        return cls(box, interpreter, architecture, own)

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
        if interpret == 0:
            tokens = self.extractor.tokens(images)
            nothing = tokens.new_empty(0, 0)
            logits = self.extractor.predict(tokens)
            return Output(logits, nothing, nothing, nothing, tokens, nothing)
        extracted = self.extractor(
            images, first=interpret, attention=attention, layers=self.branch is not None
        )
        patches = self._interpreter_tokens(extracted, interpret)
        interpreter_logits, interpreter_attention = self.interpreter(patches)
        return Output(
            logits=self.extractor.predict(extracted.tokens),
            interpreter_logits=interpreter_logits,
            extractor_attention=extracted.attention,
            interpreter_attention=interpreter_attention,
            tokens=extracted.tokens,
            interpreter_tokens=patches,
        )

    def _interpreter_tokens(self, extracted: Extracted, first: int | None) -> Tensor:
        """(B', N, D'): the extractor's final patch tokens, or those of the branch."""
        if self.branch is None:
            assert isinstance(self.extractor, Extractor)  # beside a black box there is a branch
            return self.extractor.patches(extracted.tokens[:first])
        tokens: Tensor = self.branch(extracted.layers)
        return tokens[:, self.extractor.prefix :]

    def predict(self, images: Tensor) -> Tensor:
        """The predictor's logits alone, (B, C), at the price of the plain backbone."""
        return self.extractor.logits(images)

    def contributions(self, images: Tensor) -> Tensor:
        """What each patch adds to each of the interpreter's logits, (B, N, C).

        Complete: `contributions.sum(dim=1) + model.interpreter.bias` are the interpreter's
        logits.
        """
        output: Output = self(images, attention="none")
        return self.interpreter.contributions(output.interpreter_tokens)

    @property
    def cost(self) -> str:
        """What an explanation costs beside the prediction, in words."""
        if isinstance(self.extractor, BlackBox):
            return (
                "an explanation takes one forward pass of the classifier, which predicts, and one "
                f"of the interpreter's own {self.architecture.backbone}"
            )
        own = [part for part in (self.branch, self.interpreter) if part is not None]
        added = sum(p.numel() for part in own for p in part.parameters())
        share = added / sum(p.numel() for p in self.extractor.parameters())
        return (
            "prediction and explanation take one forward pass together, and what explains has "
            f"{share:.0%} of the classifier's parameters"
        )

    @property
    def grid(self) -> tuple[int, int]:
        """(h, w), the patch grid."""
        return self.extractor.grid
