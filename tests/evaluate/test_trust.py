"""The trust figure: against a slow twin, by hand, and where it must be 1 and 0."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from iavit.errors import UserError
from iavit.evaluate.trust import SUBSETS, draw_parts, follows, shared, trust
from iavit.masking.engine import Perturbation
from iavit.model.extractor import Extractor
from iavit.model.iavit import Architecture, IAViT
from iavit.model.interpreter import Interpreter
from tests.evaluate.models import additive
from tests.explain.models import GRID, images, joined
from tests.reference import evaluate as twin
from tests.reference.attention import softmax


def masked(image: Tensor, visible: Tensor, side: int) -> Tensor:
    """One image (3, H, W) with only some patches (h, w) of `side` pixels left, 0 elsewhere."""
    copy = torch.zeros_like(image)
    for row, column in visible.nonzero().tolist():
        rows = slice(row * side, row * side + side)
        columns = slice(column * side, column * side + side)
        copy[:, rows, columns] = image[:, rows, columns]
    return copy


def test_equal_to_the_twin() -> None:
    model, pictures = joined(), images()
    found = trust(model, pictures, seed=3)
    parts = draw_parts(model, 3)
    for row, image in enumerate(pictures):
        output = model(image[None])
        f, g = (softmax(of[0].tolist()) for of in (output.logits, output.interpreter_logits))
        chosen = max(range(len(f)), key=lambda c: f[c])
        contributions = model.contributions(image[None])[0]  # (N, C)
        said, seen = [], []
        for part in parts:
            logits = model.interpreter.bias.clone()
            for k in part.nonzero()[:, 0].tolist():
                logits += contributions[k]
            said.append(float(logits[chosen]))
            copy = masked(image, part.view(GRID), 4)
            seen.append(float(model.predict(copy[None])[0, chosen]))
        answer = 1 - twin.total_variation(f, g)
        follows = max(0.0, twin.correlation(said, seen))
        assert float(found.answer[row]) == pytest.approx(answer, abs=1e-5)
        assert float(found.parts[row]) == pytest.approx(follows, abs=1e-4)
        assert float(found.trust[row]) == pytest.approx(answer * follows, abs=1e-4)
        assert found.of_image(row)["trust"] == pytest.approx(answer * follows, abs=1e-4)


def test_shared_by_hand() -> None:
    half, sure = [0.0, 0.0], [float(torch.tensor(3.0).log()), 0.0]  # (1/2, 1/2), (3/4, 1/4)
    f, g = torch.tensor([sure, sure, half]), torch.tensor([half, sure, [-50.0, 50.0]])
    torch.testing.assert_close(shared(f, g), torch.tensor([0.75, 1.0, 0.5]))


def test_follows_by_hand() -> None:
    said = torch.tensor([[0.1, 0.2, 0.3], [0.1, 0.2, 0.3], [0.1, 0.2, 0.3], [0.5, 0.5, 0.5]])
    seen = torch.tensor([[0.5, 0.7, 0.9], [0.9, 0.7, 0.5], [0.1, 0.9, 0.1], [0.1, 0.2, 0.3]])
    torch.testing.assert_close(follows(said, seen), torch.tensor([1.0, 0.0, 0.0, 0.0]))
    torch.testing.assert_close(follows(seen, said), torch.tensor([1.0, 0.0, 0.0, 0.0]))
    half = follows(torch.tensor([[0.0, 1.0, 0.0]]), torch.tensor([[0.0, 1.0, 1.0]]))
    torch.testing.assert_close(half, torch.tensor([0.5]))


def additive_pair(sign: float) -> IAViT:
    """A predictor that adds up over 3 x 2 patches, and an interpreter that does the same sum.

    The interpreter's attention is uniform and its value the patch itself, so its contributions
    are exactly what each patch adds, times `sign`.
    """
    vit = additive((3, 2), 4)
    interpreter = Interpreter(2, 6, 2).double()
    with torch.no_grad():
        for parameter in interpreter.parameters():
            parameter.zero_()
        interpreter.value.weight.copy_(torch.eye(2))
        interpreter.head.weight.copy_(sign * vit.head.weight)
    return IAViT(Extractor(vit), interpreter, Architecture("additive", 2, (12, 8))).eval()


def test_it_is_all_there_where_the_interpreter_is_the_predictor() -> None:
    pictures = 0.3 * images()
    found = trust(additive_pair(1.0), pictures)
    ones = torch.ones(3)
    torch.testing.assert_close(found.trust, ones, check_dtype=False)
    against = trust(additive_pair(-1.0), pictures)
    assert not against.parts.any()
    assert (against.answer < 1).all()


def test_a_batch_is_its_images_one_by_one_and_chance_is_left_alone() -> None:
    model, pictures = joined(), images()
    before = torch.get_rng_state()
    together = trust(model, pictures)
    assert torch.equal(torch.get_rng_state(), before)
    alone = [trust(model, image[None]) for image in pictures]
    torch.testing.assert_close(together.trust, torch.cat([of.trust for of in alone]))
    bounded = trust(model, pictures, perturbation=Perturbation(copies=1, score="probability"))
    torch.testing.assert_close(together.trust, bounded.trust)
    assert not torch.equal(trust(model, pictures, seed=1).parts, together.parts)


def test_parts_come_in_complementary_pairs() -> None:
    parts = draw_parts(joined(), 0)
    assert parts.shape == (SUBSETS, 6)
    assert torch.equal(parts[::2], ~parts[1::2])


def test_it_lies_between_0_and_1_and_leaves_the_model_training() -> None:
    model = joined().train()
    found = trust(model, images())
    for values in (found.answer, found.parts, found.trust):
        assert values.shape == (3,)
        assert ((values >= 0) & (values <= 1)).all()
    assert all(part.training for part in model.modules())


def test_images_of_another_size_are_refused() -> None:
    with pytest.raises(UserError):
        trust(joined(), torch.zeros(1, 3, 16, 16, dtype=torch.float64))
