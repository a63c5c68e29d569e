"""Files of torch.export: carried out as the model itself, and nothing in them becomes code."""

from __future__ import annotations

import json
import pickle
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import timm
import torch
from torch import Tensor, nn

from iavit.errors import UserError
from iavit.model.graphs import Graph
from iavit.model.programs import read_program
from tests.corpus.weights import Trap
from tests.model.models import convolutional, export, pictures

pytestmark = pytest.mark.filterwarnings("ignore::FutureWarning")  # torch's, in torch.export.save


class Everything(nn.Module):
    """Sizes that are computed, lists, infinities, constants, types and devices."""

    shift: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.head = nn.Linear(16, 3)
        self.register_buffer("shift", torch.full((1, 3, 1, 1), 0.5), persistent=False)

    def forward(self, images: Tensor) -> Tensor:
        count, channels, height, width = images.shape
        parts = (images + self.shift).reshape(count * channels, height, width).split(1, dim=1)
        rows = torch.cat(parts[::-1], dim=1)
        hidden = rows.masked_fill(torch.ones_like(rows).triu() > 0, float("-inf")).exp()
        table = torch.arange(width, dtype=torch.int64, device=images.device).to(torch.float32)
        largest, _ = (hidden * table * torch.tensor([2.0])).max(dim=1)
        logits: Tensor = self.head(largest).reshape(count, channels, 3).sum(dim=1)
        return logits


def graph(model: nn.Module, folder: Path) -> nn.Module:
    return read_program(export(model.eval(), folder / "model.pt2")).module()


@pytest.mark.parametrize(
    "build",
    [
        convolutional,
        Everything,
        lambda: timm.create_model("resnet10t", num_classes=3),
        lambda: timm.create_model("vit_tiny_patch16_224", num_classes=3, img_size=16, depth=2),
    ],
    ids=["convolutional", "everything", "resnet", "vit"],
)
def test_a_graph_answers_as_its_model_and_so_do_its_gradients(
    build: Callable[[], nn.Module], tmp_path: Path
) -> None:
    torch.manual_seed(0)
    model = build()
    read = graph(model, tmp_path)
    assert isinstance(read, Graph)
    gradients = []
    for form in (model, read):
        images = pictures(5).requires_grad_()
        answer = form(images)
        answer[:, 1].sum().backward()
        gradients.append((answer, images.grad))
    torch.testing.assert_close(gradients[1], gradients[0], rtol=0, atol=0)


def test_what_a_graph_makes_is_where_the_images_are(tmp_path: Path) -> None:
    answer = graph(Everything(), tmp_path).to("meta")(pictures(5).to("meta"))
    assert answer.device.type == "meta"
    assert answer.shape == (5, 3)


def test_a_graph_keeps_no_more_than_it_still_needs(tmp_path: Path) -> None:
    read = graph(convolutional(), tmp_path)
    assert isinstance(read, Graph)
    ended = [name for node in read.nodes for name in node.ended]
    given = {name for node in read.nodes for name in node.outputs} - {read.answer}
    assert given | {read.images} <= set(ended)
    assert len(set(ended)) == len(ended)


def edited(folder: Path, edit: Callable[[dict[str, Any]], object], model: nn.Module) -> Path:
    """A file whose graph was changed."""
    return rewritten(export(model.eval(), folder / "model.pt2"), "models/model.json", edit)


def rewritten(path: Path, record: str, edit: Callable[[dict[str, Any]], object]) -> Path:
    changed = path.with_name("changed.pt2")
    with zipfile.ZipFile(path) as before, zipfile.ZipFile(changed, "w") as after:
        for name in before.namelist():
            content = before.read(name)
            if name.endswith(record):
                text = json.loads(content)
                edit(text)
                content = json.dumps(text).encode()
            after.writestr(name, content)
    return changed


def nodes(program: dict[str, Any]) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = program["graph_module"]["graph"]["nodes"]
    return found


@pytest.mark.parametrize(
    "target",
    [
        "torch.ops.aten.save.default",
        "torch.ops.aten.from_file.default",
        "torch.ops.mine.run.default",
        "torch.ops.aten.relu.__init__",
        "torch.ops.higher_order.cond",
        "torch.ops.aten.relu.default\n",
        "os.system",
        "_operator.pow",
        "builtins.eval",
    ],
)
def test_an_operator_that_does_more_than_compute_is_refused_by_name(
    target: str, tmp_path: Path
) -> None:
    path = edited(
        tmp_path, lambda program: nodes(program)[2].update(target=target), convolutional()
    )
    with pytest.raises(UserError) as error:
        read_program(path)
    assert f"changed.pt2: calls {target}, which do more than compute on tensors" in str(error.value)


def test_a_pickle_is_refused_and_those_that_nobody_needs_are_not_opened(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    path = export(convolutional().eval(), tmp_path / "model.pt2")
    poisoned = tmp_path / "poisoned.pt2"
    with zipfile.ZipFile(path) as before, zipfile.ZipFile(poisoned, "w") as after:
        for name in before.namelist():
            is_sample = "sample_inputs" in name
            after.writestr(name, pickle.dumps(Trap()) if is_sample else before.read(name))
    torch.testing.assert_close(
        read_program(poisoned).module()(pictures()), convolutional().eval()(pictures())
    )
    assert not (tmp_path / "canary").exists()
    asked = rewritten(
        path,
        "model_weights_config.json",
        lambda text: text["config"]["6.weight"].update(use_pickle=True),
    )
    with pytest.raises(UserError, match=r"changed.pt2: 6.weight is a pickle, which could run code"):
        read_program(asked)


class Two(nn.Module):
    def forward(self, images: Tensor) -> tuple[Tensor, Tensor]:
        return images.mean(dim=(2, 3)), images


def test_what_is_no_classifier_of_any_number_of_images_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "model.pt2"
    program = torch.export.export(convolutional().eval(), (pictures(4),))
    torch.export.save(program, path)
    with pytest.raises(UserError, match=r"is exported for exactly 4 images; give .*dynamic_shapes"):
        read_program(path)
    with pytest.raises(UserError, match=r"in training mode; call model.eval\(\) before"):
        read_program(export(convolutional().train(), path))
    with pytest.raises(UserError, match="gives 2 outputs; export a model that gives logits alone"):
        read_program(export(Two(), path))
    batch = {0: torch.export.Dim.AUTO}
    scaled = torch.export.export(
        nn.Bilinear(4, 4, 2), (torch.ones(2, 4),) * 2, dynamic_shapes=(batch, batch)
    )
    torch.export.save(scaled, path)
    with pytest.raises(UserError, match="takes 2 inputs; export a model of images alone"):
        read_program(path)


@pytest.mark.parametrize(
    ("edit", "named"),
    [
        (lambda text: text["schema_version"].update(major=9), "of version 9 of torch.export's"),
        (lambda text: nodes(text).pop(0), "cannot be loaded: .*before it is computed"),
        (lambda text: nodes(text)[0].pop("target"), "is no file of torch.export"),
        (lambda text: text.pop("graph_module"), "is no file of torch.export"),
        (lambda text: nodes(text)[0]["inputs"].clear(), ""),
        (
            lambda text: text["graph_module"]["signature"]["input_specs"].pop(0),
            "cannot be loaded: .*p_0_weight.* before it is computed",
        ),
        (
            lambda text: text["graph_module"]["signature"]["input_specs"].append({"token": {}}),
            "holds a token; export the model alone",
        ),
    ],
    ids=["schema", "order", "target", "graph", "inputs", "weights", "token"],
)
def test_a_damaged_graph_is_refused_when_it_is_read_or_asked(
    edit: Callable[[dict[str, Any]], object], named: str, tmp_path: Path
) -> None:
    path = edited(tmp_path, edit, convolutional())
    if named:
        with pytest.raises(UserError, match=named) as error:
            read_program(path)
        assert "\n" not in str(error.value)
    else:
        module = read_program(path).module()
        with pytest.raises((RuntimeError, TypeError)):  # which `IAViT.beside` tells
            module(pictures())


def test_weights_that_end_early_are_refused(tmp_path: Path) -> None:
    path = export(convolutional().eval(), tmp_path / "model.pt2")
    sizes = [{"as_int": 10**12}]
    changed = rewritten(
        path,
        "model_weights_config.json",
        lambda text: text["config"]["6.bias"]["tensor_meta"].update(sizes=sizes),
    )
    with pytest.raises(UserError, match=r"changed.pt2: cannot be loaded: .*out of bounds"):
        read_program(changed)
    path.write_bytes(path.read_bytes()[:3000])
    with pytest.raises(UserError, match=r"is no file of torch\.export or TorchScript"):
        read_program(path)
