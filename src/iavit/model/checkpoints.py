"""Weights from a file, in whatever form a vision transformer was saved, if it is tensors only."""

from __future__ import annotations

import pickle
import traceback
import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from os import PathLike
from pathlib import Path
from typing import Any
from zipfile import BadZipFile

import numpy as np
import torch
from safetensors import SafetensorError
from timm.models import beit, eva, load_state_dict, vision_transformer, vision_transformer_relpos
from timm.models.beit import Beit
from timm.models.deit import VisionTransformerDistilled
from timm.models.eva import Eva
from timm.models.vision_transformer import VisionTransformer
from timm.models.vision_transformer_relpos import VisionTransformerRelPos
from torch import Tensor, nn

from iavit.errors import UserError
from iavit.model import authors
from iavit.model.iavit import IAViT
from iavit.model.layouts import description, unwrapped
from iavit.model.published import weights_in

State = dict[str, Tensor]

# timm's translations of published checkpoints, which also resample position embeddings.
_vit_filter = partial(vision_transformer.checkpoint_filter_fn, adapt_layer_scale=True)
FILTERS: dict[type[nn.Module], Callable[[Any, Any], State]] = {
    VisionTransformer: _vit_filter,
    VisionTransformerDistilled: _vit_filter,
    Eva: eva.checkpoint_filter_fn,
    Beit: beit.checkpoint_filter_fn,
    VisionTransformerRelPos: vision_transformer_relpos.checkpoint_filter_fn,
}
# What a file of another kind makes of its reader.
_UNREADABLE = (
    AssertionError,
    AttributeError,
    IndexError,
    KeyError,
    RuntimeError,
    TypeError,
    ValueError,
)


@dataclass(frozen=True)
class Loaded:
    """What a file of weights was good for.

    new: the parameters that it had nothing for. unused: what was left over.
    resampled: what was made to fit another number of patches.
    """

    path: Path
    new: tuple[str, ...]
    unused: tuple[str, ...]
    resampled: tuple[str, ...] = ()

    def __str__(self) -> str:
        line = f"weights of {self.path}"
        if self.new:
            line += f"; new: {_few(self.new)}"
        if self.resampled:
            line += f"; resampled: {_few(self.resampled)}"
        return line + (f"; left over in the file: {_few(self.unused)}" if self.unused else "")


def load_weights(model: IAViT, path: str | PathLike[str]) -> Loaded:
    """Put the weights of a file into a model; all of them or, with an error, none.

    path: `.safetensors`; `.npz`, the JAX form of ViTs; or a file of `torch.save` that holds
        tensors only; or a folder with one (see `published`). It may be of the backbone alone
        (under the names of timm, torchvision or transformers, or those of a checkpoint that timm
        translates), of an `IAViT`, or of the authors' notebooks; under any prefix that a wrapper
        gave it.

    Position embeddings are resampled. A head for another number of classes stays new.

    Raises `UserError` for a file that is missing, damaged, holds code or values that are no
    numbers, or belongs to another architecture.
    """
    path = _file(Path(path))
    if path.suffix == ".npz":
        return _load_jax(model, path)
    state = unwrapped(_read(path))
    backbone, interpreter = _parts(state, model, path)
    resampled = [k for k, v in _under_own_names(state).items() if _resampled(v, backbone.get(k))]
    taken, new, unused = _fit(model.extractor.backbone, backbone, path, description(state))
    whole = {f"extractor.backbone.{name}": value for name, value in taken.items()}
    branch = _under(state, "branch.")
    if branch or model.branch is not None:
        explains = {k: v for k, v in state.items() if k.startswith(("branch.", "interpreter."))}
        if _shapes(explains) == _shapes(_explaining(model)):
            whole |= explains
        else:
            new += ["branch", "interpreter"] if model.branch is not None else ["interpreter"]
    elif interpreter:
        taken, heads = _fit_interpreter(model, interpreter, path)
        whole |= {f"interpreter.{name}": value for name, value in taken.items()}
        new += heads
    else:
        new += ["interpreter"]
    model.load_state_dict({**model.state_dict(), **whole})
    return Loaded(path, tuple(new), tuple(unused), tuple(resampled))


def classes_of(path: Path) -> int | None:
    """How many classes the head in a file or folder of weights tells apart; None without one.

    Raises `UserError` for a file that is missing or holds more than tensors.
    """
    path = _file(path)
    if path.suffix == ".npz":
        try:
            # numpy leaves a file of its own open where it is no archive.
            with path.open("rb") as file, np.load(file) as arrays:
                return int(arrays["head/bias"].shape[0])
        except (OSError, EOFError, BadZipFile, *_UNREADABLE):
            return None
    weight = _under_own_names(unwrapped(_read(path))).get("head.weight")
    return len(weight) if isinstance(weight, Tensor) and weight.ndim == 2 else None


def _file(path: Path) -> Path:
    """The file itself, of a folder the one in it."""
    if path.is_dir():
        return weights_in(path)
    if not path.is_file():
        raise UserError(f"`weights` {path}: there is no such file")
    return path


def _under_own_names(state: State) -> State:
    """A transformer's tensors by timm's names, also where they are part of an `IAViT`."""
    return _under(state, "extractor.backbone.") or state


def _resampled(before: Tensor, after: Tensor | None) -> bool:
    return after is not None and before.numel() != after.numel()


def _read(path: Path) -> dict[str, Any]:
    """Named tensors, and whatever other plain values lie beside them."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # advice on pickles, beside the error itself
            state: dict[str, Any] = load_state_dict(str(path), weights_only=True)
        if any(isinstance(value, Tensor | Mapping) for value in state.values()):
            return state
    except (pickle.UnpicklingError, SafetensorError, EOFError, OSError, *_UNREADABLE) as error:
        code = _code(path)
        raise UserError(
            f"`weights` {path}: holds code ({_few(code)}) that reading it would run; save "
            "`model.state_dict()` alone, best as safetensors"
            if code
            else f"`weights` {path}: cannot be read as tensors; fetch or save it again"
        ) from error
    raise UserError(f"`weights` {path}: holds no tensors by name; save `model.state_dict()`")


def _code(path: Path) -> list[str]:
    """What a file of `torch.save` would call, apart from what rebuilds tensors."""
    try:
        return sorted(torch.serialization.get_unsafe_globals_in_checkpoint(path))
    except Exception:  # whatever a damaged file makes of the reader
        return []


def _parts(state: dict[str, Any], model: IAViT, path: Path) -> tuple[State, State]:
    """A file's state to the backbone's part and the interpreter's, which may be empty."""
    backbone: Any = model.extractor.backbone
    try:
        if authors.is_authors(state):
            own, interpreter = authors.convert(state)
        else:
            own = _under(state, "extractor.backbone.")
            interpreter = _under(state, "interpreter.")
        expected = backbone.state_dict()
        if own and all(own[k].shape == v.shape for k, v in expected.items() if k in own):
            return own, interpreter
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of torch, on how timm resamples
            translated = FILTERS[type(backbone)](own or state, backbone)
    except _UNREADABLE as error:
        raise _foreign(path, model, description(state)) from error
    return {k: v for k, v in translated.items() if isinstance(v, Tensor)}, interpreter


def _explaining(model: IAViT) -> State:
    """What of a model's state is not the predictor's."""
    return {k: v for k, v in model.state_dict().items() if not k.startswith("extractor.")}


def _shapes(state: State) -> dict[str, torch.Size]:
    return {name: value.shape for name, value in state.items()}


def _under(state: dict[str, Any], prefix: str) -> State:
    return {k.removeprefix(prefix): v for k, v in state.items() if k.startswith(prefix)}


def _fit(backbone: Any, state: State, path: Path, form: str) -> tuple[State, list[str], list[str]]:
    """What of the state the backbone takes, what of it stays new, and what is left over.

    form: what the file holds, for a message.
    """
    expected = backbone.state_dict()
    heads = {name for name in expected if name.startswith("head")}
    common = [name for name in expected if name in state and name not in heads]
    differing = [name for name in common if state[name].shape != expected[name].shape]
    if differing:
        shapes = ", ".join(
            f"{name} is {_shape(state[name])} there and {_shape(expected[name])} in this backbone"
            for name in differing[:3]
        )
        rest = f", and {len(differing) - 3} more differ" if len(differing) > 3 else ""
        raise UserError(f"`weights` {path}: {shapes}{rest}; {form}: set `backbone` to that")
    taken = {k: v for k, v in state.items() if k in expected and v.shape == expected[k].shape}
    new = [name for name in expected if name not in taken]
    unused = [name for name in state if name not in taken and name not in heads]
    needed = [name for name in new if name.startswith(("blocks.", "patch_embed."))]
    if needed or any(name.startswith("blocks.") for name in unused):
        other = f"lacks {_few(needed)}" if needed else f"also has {_few(unused)}"
        raise UserError(
            f"`weights` {path}: {other}: it is of another architecture; "
            f"{form}: set `backbone` to that"
        )
    for name, value in taken.items():
        if value.is_floating_point() and not value.isfinite().all():
            raise UserError(f"`weights` {path}: {name} has values that are no numbers")
    return taken, new, unused


def _fit_interpreter(model: IAViT, state: State, path: Path) -> tuple[State, list[str]]:
    """What of the state the interpreter takes; a head of another size stays new."""
    expected = model.interpreter.state_dict()
    if state.keys() != expected.keys():
        head = "positional" if "token_score.weight" in state else "mean"
        raise UserError(
            f"`weights` {path}: its interpreter has another form; set `interpreter_head` to {head}"
        )
    taken = {k: v for k, v in state.items() if v.shape == expected[k].shape}
    new = [f"interpreter.{name}" for name in expected if name not in taken]
    if any(not name.startswith("interpreter.head.") for name in new):
        raise _foreign(path, model, "its interpreter is of other sizes")
    return taken, new


def _load_jax(model: IAViT, path: Path) -> Loaded:
    """timm's own reader of `.npz`, which takes a head only where its classes agree."""
    backbone: Any = model.extractor.backbone
    if not isinstance(backbone, VisionTransformer):
        raise UserError(
            f"`weights` {path}: the .npz form is of plain vision transformers; "
            "give a `backbone` such as vit_base_patch16_224, or safetensors"
        )
    before = {name: value.clone() for name, value in backbone.state_dict().items()}
    try:
        with path.open("rb") as file, np.load(file) as arrays:
            files = set(arrays.files)
            places = arrays["Transformer/posembed_input/pos_embedding"].shape[1]
        if any(f"Transformer/encoderblock_{len(backbone.blocks)}/" in name for name in files):
            raise ValueError("more blocks than the backbone has")
        backbone.load_pretrained(str(path))
    except (OSError, EOFError, BadZipFile, *_UNREADABLE) as error:
        traceback.clear_frames(error.__traceback__)  # timm's hold the file open
        backbone.load_state_dict(before)
        raise _foreign(path, model, "its arrays have other names or sizes") from error
    head = backbone.head.weight
    new = ["head"] if torch.equal(head, before["head.weight"]) else []
    resampled = () if places == backbone.pos_embed.shape[1] else ("pos_embed",)
    return Loaded(path, (*new, "interpreter"), (), resampled)


def _foreign(path: Path, model: IAViT, reason: str) -> UserError:
    return UserError(
        f"`weights` {path}: holds no weights of {model.architecture.backbone}: {reason}; "
        "set `backbone` to the one they belong to"
    )


def _few(names: list[str] | tuple[str, ...]) -> str:
    rest = f" and {len(names) - 3} more" if len(names) > 3 else ""
    return ", ".join(names[:3]) + rest


def _shape(tensor: Tensor) -> str:
    return " x ".join(map(str, tensor.shape)) or "a number"
