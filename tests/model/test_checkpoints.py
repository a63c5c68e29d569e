"""Weights from files: the forms they come in, and the files that are refused."""

from __future__ import annotations

import gc
import os
import warnings
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import timm
import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from iavit.errors import UserError
from iavit.model.checkpoints import load_weights
from iavit.model.extractor import Extractor
from iavit.model.iavit import Architecture, IAViT
from iavit.model.interpreter import Interpreter, InterpreterHead
from tests.reference import authors as twin

CLASSES, DIM, HEADS, DEPTH, PATCH = 5, 12, 3, 2, 4
SMALL = {"embed_dim": DIM, "depth": DEPTH, "num_heads": HEADS, "patch_size": PATCH}


def create(
    classes: int = CLASSES,
    size: tuple[int, int] = (12, 12),
    head: InterpreterHead = "mean",
    name: str = "vit_small_patch16_224",
    seed: int = 0,
    **options: Any,
) -> IAViT:
    """A small model whose every parameter is random."""
    vit = timm.create_model(name, **{**SMALL, "num_classes": classes, "img_size": size, **options})
    patches = (size[0] // PATCH) * (size[1] // PATCH)
    interpreter = Interpreter(DIM, patches, classes, head)
    model = IAViT(Extractor(vit), interpreter, Architecture(name, classes, size, head))
    generator = torch.Generator().manual_seed(seed)
    for parameter in model.parameters():
        nn.init.normal_(parameter, std=0.3, generator=generator)
    return model.eval()


def images(height: int = 12, width: int = 12) -> Tensor:
    return torch.randn(2, 3, height, width, generator=torch.Generator().manual_seed(1))


def state_of(model: IAViT) -> dict[str, Tensor]:
    return {name: value.clone() for name, value in model.extractor.backbone.state_dict().items()}


def save_torch(state: dict[str, Any], path: Path) -> None:
    torch.save(state, path)


FORMS: dict[str, Callable[[dict[str, Tensor], Path], None]] = {
    "weights.safetensors": save_file,
    "weights.pth": save_torch,
    "weights.bin": lambda state, path: save_torch({"state_dict": state, "epoch": 3}, path),
    "parallel.pt": lambda s, path: save_torch({f"module.{k}": v for k, v in s.items()}, path),
}


@pytest.mark.parametrize("name", FORMS)
def test_a_backbone_of_any_form_is_taken(name: str, tmp_path: Path) -> None:
    source, model = create(seed=1), create()
    kept = model.interpreter.query.weight.clone()
    FORMS[name](state_of(source), tmp_path / name)
    loaded = load_weights(model, str(tmp_path / name))
    assert torch.equal(model.predict(images()), source.predict(images()))
    assert torch.equal(model.interpreter.query.weight, kept)
    assert (loaded.new, loaded.unused) == (("interpreter",), ())


def test_a_head_of_another_number_of_classes_stays_new(tmp_path: Path) -> None:
    source, model = create(classes=7, seed=1), create()
    kept = model.extractor.backbone.head.weight.clone()
    save_file(state_of(source), tmp_path / "w.safetensors")
    loaded = load_weights(model, tmp_path / "w.safetensors")
    assert torch.equal(model.extractor.backbone.head.weight, kept)
    torch.testing.assert_close(model.extractor.tokens(images()), source.extractor.tokens(images()))
    assert loaded.new == ("head.weight", "head.bias", "interpreter")
    assert str(loaded).endswith("new: head.weight, head.bias, interpreter")


@pytest.mark.filterwarnings("ignore::UserWarning")  # of torch, on how timm resamples
@pytest.mark.parametrize("name", ["vit_small_patch16_224", "beit_base_patch16_224"])
def test_positions_are_resampled_as_timm_does(name: str, tmp_path: Path) -> None:
    source, model = create(size=(16, 16), name=name, seed=1), create(name=name)
    save_file(state_of(source), tmp_path / "w.safetensors")
    load_weights(model, tmp_path / "w.safetensors")
    source.extractor.backbone.set_input_size((12, 12))
    torch.testing.assert_close(model.extractor.tokens(images()), source.extractor.tokens(images()))


def test_parameters_that_the_file_lacks_or_has_beside_are_told(tmp_path: Path) -> None:
    state = state_of(create(seed=1))
    del state["norm.weight"]
    state["teacher.weight"] = torch.zeros(1)
    save_file(state, tmp_path / "w.safetensors")
    loaded = load_weights(create(), tmp_path / "w.safetensors")
    assert loaded.new == ("norm.weight", "interpreter")
    assert loaded.unused == ("teacher.weight",)
    assert str(loaded).endswith("interpreter; left over in the file: teacher.weight")


@pytest.mark.parametrize("lead", ["", "model."])
@pytest.mark.parametrize("head", ["mean", "positional"])
def test_a_whole_model_is_taken(lead: str, head: InterpreterHead, tmp_path: Path) -> None:
    source, model = create(head=head, seed=1), create(head=head)
    save_file({f"{lead}{k}": v for k, v in source.state_dict().items()}, tmp_path / "m.safetensors")
    loaded = load_weights(model, tmp_path / "m.safetensors")
    ours, theirs = model(images()), source(images())
    for name in vars(ours):
        assert torch.equal(getattr(ours, name), getattr(theirs, name))
    assert loaded.new == ()


def test_a_whole_model_for_other_classes_leaves_both_heads_new(tmp_path: Path) -> None:
    source, model = create(classes=7, seed=1), create()
    save_file(source.state_dict(), tmp_path / "m.safetensors")
    loaded = load_weights(model, tmp_path / "m.safetensors")
    heads = ("head.weight", "head.bias", "interpreter.head.weight", "interpreter.head.bias")
    assert loaded.new == heads
    expected = source(images()).interpreter_attention
    assert torch.equal(model(images()).interpreter_attention, expected)


def as_jax(state: dict[str, Tensor]) -> dict[str, Any]:
    """A backbone under the names and in the shapes of the JAX `.npz` files."""
    arrays = {name: value.numpy() for name, value in state.items()}
    jax: dict[str, Any] = {
        "cls": arrays["cls_token"],
        "embedding/kernel": arrays["patch_embed.proj.weight"].transpose(2, 3, 1, 0),
        "embedding/bias": arrays["patch_embed.proj.bias"],
        "Transformer/posembed_input/pos_embedding": arrays["pos_embed"],
        "Transformer/encoder_norm/scale": arrays["norm.weight"],
        "Transformer/encoder_norm/bias": arrays["norm.bias"],
        "head/kernel": arrays["head.weight"].T,
        "head/bias": arrays["head.bias"],
    }
    for at in range(DEPTH):
        ours, theirs = f"blocks.{at}.", f"Transformer/encoderblock_{at}/"
        attention = f"{theirs}MultiHeadDotProductAttention_1/"
        for norm, number in (("norm1", 0), ("norm2", 2)):
            jax[f"{theirs}LayerNorm_{number}/scale"] = arrays[f"{ours}{norm}.weight"]
            jax[f"{theirs}LayerNorm_{number}/bias"] = arrays[f"{ours}{norm}.bias"]
        for layer in (1, 2):
            dense = f"{theirs}MlpBlock_3/Dense_{layer - 1}/"
            jax[f"{dense}kernel"] = arrays[f"{ours}mlp.fc{layer}.weight"].T
            jax[f"{dense}bias"] = arrays[f"{ours}mlp.fc{layer}.bias"]
        kernels = np.split(arrays[f"{ours}attn.qkv.weight"], 3)
        biases = np.split(arrays[f"{ours}attn.qkv.bias"], 3)
        for name, kernel, bias in zip(("query", "key", "value"), kernels, biases, strict=True):
            jax[f"{attention}{name}/kernel"] = kernel.T.reshape(DIM, HEADS, -1)
            jax[f"{attention}{name}/bias"] = bias.reshape(HEADS, -1)
        out = arrays[f"{ours}attn.proj.weight"].T
        jax[f"{attention}out/kernel"] = out.reshape(HEADS, -1, DIM)
        jax[f"{attention}out/bias"] = arrays[f"{ours}attn.proj.bias"]
    return jax


@pytest.mark.parametrize("classes", [CLASSES, 7])
def test_the_jax_form_is_taken(classes: int, tmp_path: Path) -> None:
    source, model = create(classes=classes, seed=1), create()
    np.savez(tmp_path / "ViT.npz", **as_jax(state_of(source)))
    loaded = load_weights(model, tmp_path / "ViT.npz")
    torch.testing.assert_close(model.extractor.tokens(images()), source.extractor.tokens(images()))
    same = torch.equal(
        model.extractor.backbone.head.bias[:5], source.extractor.backbone.head.bias[:5]
    )
    assert same is (classes == CLASSES)
    assert loaded.new == (("interpreter",) if same else ("head", "interpreter"))


def as_authors(model: IAViT, inter_head: bool) -> dict[str, Tensor]:
    """A random checkpoint of a notebook, of the shapes of a model."""
    generator = torch.Generator().manual_seed(5)
    hidden = model.extractor.backbone.blocks[0].mlp.fc1.out_features
    patches = model.grid[0] * model.grid[1]
    linear = {"head": (CLASSES, DIM), **dict.fromkeys(("query", "key", "value"), (DIM, DIM))}
    linear |= (
        {"inter_head": (CLASSES, DIM)}
        if inter_head
        else {"fc1": (1, DIM), "fc2": (CLASSES, patches)}
    )
    norms = ["transformer.encoder.encoder_norm"]
    for at in range(DEPTH):
        layer = f"transformer.encoder.layer.{at}."
        norms += [f"{layer}attention_norm", f"{layer}ffn_norm"]
        linear |= {f"{layer}attn.{part}": (DIM, DIM) for part in ("query", "key", "value", "out")}
        linear |= {f"{layer}ffn.fc1": (hidden, DIM), f"{layer}ffn.fc2": (DIM, hidden)}
    embeddings = "transformer.embeddings."
    shapes: dict[str, tuple[int, ...]] = {
        f"{embeddings}cls_token": (1, 1, DIM),
        f"{embeddings}position_embeddings": (1, 1 + patches, DIM),
        f"{embeddings}patch_embeddings.weight": (DIM, 3, PATCH, PATCH),
        f"{embeddings}patch_embeddings.bias": (DIM,),
        **{f"{name}.weight": shape for name, shape in linear.items()},
        **{f"{name}.bias": shape[:1] for name, shape in linear.items()},
        **{f"{name}.{kind}": (DIM,) for name in norms for kind in ("weight", "bias")},
    }
    return {k: 0.3 * torch.randn(shape, generator=generator) for k, shape in shapes.items()}


@pytest.mark.parametrize("head", ["positional", "mean"])
def test_a_notebooks_checkpoint_says_what_its_formulas_say(
    head: InterpreterHead, tmp_path: Path
) -> None:
    model = create(head=head)
    theirs = as_authors(model, inter_head=head == "mean")
    save_torch(theirs, tmp_path / "cifar10_checkpoint.bin")
    loaded = load_weights(model, tmp_path / "cifar10_checkpoint.bin")
    assert (loaded.new, loaded.unused) == ((), ())
    output = model(images())
    exact = {name: value.double() for name, value in theirs.items()}
    close = partial(torch.testing.assert_close, rtol=0, atol=1e-5, check_dtype=False)
    for at, image in enumerate(images().double()):
        said = twin.say(exact, image, HEADS, DEPTH)
        close(output.logits[at], said.logits)
        close(output.interpreter_logits[at], said.interpreter_logits)
        close(output.interpreter_attention[at], said.interpreter_attention)
        total = said.extractor_attention.sum()  # ours adds up to 1, theirs to a layer's share each
        close(output.extractor_attention[at], said.extractor_attention / total)
        assert said.interpreter_attention.std() > 0.01  # far from uniform


def test_a_notebooks_checkpoint_with_the_other_head_is_refused(tmp_path: Path) -> None:
    model = create(head="mean")
    save_torch(as_authors(model, inter_head=False), tmp_path / "w.bin")
    with pytest.raises(UserError, match="`interpreter_head` to positional"):
        load_weights(model, tmp_path / "w.bin")


class Trap:
    """Removes a file when it is unpickled."""

    def __init__(self, victim: Path) -> None:
        self.victim = victim

    def __reduce__(self) -> Any:
        return os.remove, (str(self.victim),)


def test_code_in_a_file_is_named_and_not_run(tmp_path: Path) -> None:
    victim = tmp_path / "thesis.txt"
    victim.touch()
    torch.save({"blocks": Trap(victim)}, tmp_path / "w.pth")
    with pytest.raises(UserError, match=r"w\.pth: holds code \(.*remove\)") as refusal:
        load_weights(create(), tmp_path / "w.pth")
    assert victim.exists()
    assert "\n" not in str(refusal.value)


def lacking(state: dict[str, Any], prefix: str) -> dict[str, Any]:
    return {name: value for name, value in state.items() if not name.startswith(prefix)}


REFUSED: dict[str, tuple[Callable[[Path], object], str]] = {
    "garbage.pth": (lambda path: path.write_bytes(b"\x80\x05 no tensors"), "cannot be read"),
    "garbage.safetensors": (lambda path: path.write_bytes(b"no tensors"), "cannot be read"),
    "empty.pth": (lambda path: path.write_bytes(b""), "cannot be read"),
    "garbage.npz": (lambda path: path.write_bytes(b"no arrays"), "holds no weights of vit"),
    "other.npz": (lambda path: np.savez(path, a=np.zeros(3)), "holds no weights of vit"),
    "half.npz": (  # the first block is taken before the second is missed
        lambda path: np.savez(
            path, **lacking(as_jax(state_of(create(seed=1))), "Transformer/encoderblock_1/")
        ),
        "holds no weights of vit",
    ),
    "list.pth": (lambda path: torch.save([1, 2], path), "cannot be read"),
    "numbers.pth": (lambda path: torch.save({"epoch": 3}, path), "no tensors by name"),
    "narrow.pth": (
        lambda path: torch.save(state_of(create(embed_dim=6)), path),
        r"\d there and .*\d in this backbone",
    ),
    "shallow.pth": (
        lambda path: torch.save(lacking(state_of(create()), "blocks.1."), path),
        r"lacks blocks\.1\..* and 9 more",
    ),
    "deep.pth": (
        lambda path: torch.save(state_of(create(depth=3)), path),
        r"also has blocks\.2\.",
    ),
    "nan.pth": (
        lambda path: torch.save(
            {**state_of(create()), "norm.weight": torch.full((DIM,), float("nan"))}, path
        ),
        r"norm\.weight has values that are no numbers",
    ),
    "tiny.pth": (
        lambda path: torch.save(timm.create_model("vit_tiny_patch16_224").state_dict(), path),
        "12 blocks of width 192 and patches of 16 pixels, as vit_tiny_patch16_224 has",
    ),
    "resnet.pth": (
        lambda path: torch.save(timm.create_model("resnet10t").state_dict(), path),
        "lacks cls_token|lacks .*blocks",
    ),
}


@pytest.mark.parametrize("name", REFUSED)
def test_files_that_do_not_fit_are_refused_and_change_nothing(name: str, tmp_path: Path) -> None:
    write, message = REFUSED[name]
    write(tmp_path / name)
    model = create()
    before = {key: value.clone() for key, value in model.state_dict().items()}
    with pytest.raises(UserError, match=message) as refusal:
        load_weights(model, tmp_path / name)
    assert str(refusal.value).startswith(f"`weights` {tmp_path / name}: ")
    assert "\n" not in str(refusal.value)
    assert all(torch.equal(value, before[key]) for key, value in model.state_dict().items())


def test_an_archive_that_is_refused_is_closed(tmp_path: Path) -> None:
    """An error that is kept has the frames of the reader, whose file the collector finds open."""
    write, _ = REFUSED["half.npz"]
    write(tmp_path / "half.npz")

    def refused() -> None:
        try:
            load_weights(create(), tmp_path / "half.npz")
        except UserError as error:
            kept = error  # the frame keeps the error, and the error the frame
            assert kept.__cause__ is not None

    gc.disable()  # a collection in between would close the archive before its file is found
    try:
        with warnings.catch_warnings(record=True) as given:
            warnings.simplefilter("always")
            refused()
            gc.collect()
    finally:
        gc.enable()
    assert [str(warning.message) for warning in given] == []


def test_of_many_differing_shapes_three_are_named_and_the_others_counted(tmp_path: Path) -> None:
    state = state_of(create(embed_dim=6))
    torch.save(state, tmp_path / "narrow.pth")
    rest = sum(not name.startswith("head") for name in state) - 3
    with pytest.raises(UserError) as refusal:
        load_weights(create(), tmp_path / "narrow.pth")
    assert f", and {rest} more differ; it has 2 blocks of width 6" in str(refusal.value)
    assert str(refusal.value).count(" in this backbone") == 3


def test_a_jax_file_of_a_deeper_model_is_refused(tmp_path: Path) -> None:
    np.savez(tmp_path / "deep.npz", **as_jax(state_of(create())))
    model = create(depth=1)
    with pytest.raises(UserError, match="holds no weights of vit_small_patch16_224"):
        load_weights(model, tmp_path / "deep.npz")


def test_the_jax_form_is_of_plain_transformers(tmp_path: Path) -> None:
    np.savez(tmp_path / "w.npz", a=np.zeros(3))
    with pytest.raises(UserError, match="plain vision transformers"):
        load_weights(create(name="eva02_small_patch14_224"), tmp_path / "w.npz")


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="there is no such file"):
        load_weights(create(), tmp_path / "gone.pth")
