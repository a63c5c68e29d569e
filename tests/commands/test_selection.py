"""What options name: explainers, measures, a device, how many processes."""

from __future__ import annotations

import pytest
import torch

from iavit.commands.selection import choose, choose_explainers, count_devices, find_device
from iavit.errors import UserError
from iavit.explain import EXPLAINERS, SLOW

KNOWN = ("zeros", "mean", "blur")


@pytest.mark.parametrize(
    ("names", "chosen"),
    [
        ("all", KNOWN),
        ("none", ()),
        ("blur,zeros", ("blur", "zeros")),
        (" blur , zeros,blur, ,", ("blur", "zeros")),
        ("", ()),
    ],
)
def test_names_in_the_order_given_each_once(names: str, chosen: tuple[str, ...]) -> None:
    assert choose("substrates", names, KNOWN) == chosen


def test_an_unknown_name_is_answered_with_the_nearest() -> None:
    with pytest.raises(UserError) as refused:
        choose("substrates", "blur,zeroes", KNOWN)
    assert str(refused.value) == ("`substrates`: there is no 'zeroes'; did you mean zeros?")
    with pytest.raises(UserError, match="did you mean zeros, mean, blur"):
        choose("substrates", "xyz", KNOWN)
    with pytest.raises(UserError, match=r"did you mean mean4, mean3, mean2\?"):  # the three nearest
        choose("substrates", "mean", [f"mean{number}" for number in range(1, 5)])


def test_explainers_are_quick_ones_all_or_named() -> None:
    assert choose_explainers("all") == EXPLAINERS
    quick = choose_explainers("quick")
    assert quick.keys() == EXPLAINERS.keys() - set(SLOW)
    assert "rise" in SLOW
    assert choose_explainers("rollout,rise") == {
        "rollout": EXPLAINERS["rollout"],
        "rise": EXPLAINERS["rise"],
    }
    with pytest.raises(UserError, match="`explainer`: name one or more of contributions, "):
        choose_explainers("none", "explainer")


def test_a_device_is_found_by_its_name(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert find_device("auto") == torch.device("cpu")
    for name in ("meta", "abacus", "cuda:99"):
        with pytest.raises(UserError, match=f"`device`: there is no device '{name}' here"):
            find_device(name)


@pytest.mark.parametrize(
    ("devices", "device", "gpus", "count"),
    [
        ("1", "auto", 4, 1),
        ("3", "cpu", 0, 3),
        ("auto", "cpu", 4, 1),
        ("auto", "auto", 4, 4),
        ("auto", "cuda", 0, 1),
        ("2", "cuda", 4, 2),
    ],
)
def test_processes_that_share_the_work(
    devices: str, device: str, gpus: int, count: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.cuda, "device_count", lambda: gpus)
    assert count_devices(devices, device) == count


@pytest.mark.parametrize(
    ("devices", "line"),
    [
        ("0", "`devices` is '0'; give a number from 1, or auto"),
        ("-2", "`devices` is '-2'"),
        ("many", "`devices` is 'many'"),
        ("5", "`devices` is 5; there are 4 GPUs here, or `device` cpu"),
    ],
)
def test_processes_that_cannot_be(devices: str, line: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 4)
    with pytest.raises(UserError) as refused:
        count_devices(devices, "auto")
    assert str(refused.value).startswith(line)
