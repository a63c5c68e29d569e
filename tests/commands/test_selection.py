"""What options name: explainers, measures, a device, how many processes."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from iavit.commands import selection
from iavit.commands.selection import (
    choose,
    choose_explainers,
    count_devices,
    find_device,
    load_run,
    share_work,
)
from iavit.errors import UserError
from iavit.evaluate import processes
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
    for option in ("explainer", "explainers"):
        with pytest.raises(UserError, match=f"`{option}`: name one or more of contributions, "):
            choose_explainers("none", *([option] if option == "explainer" else []))


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
        ("4", "auto", 4, 4),
        ("6", "cpu", 4, 6),
        ("6", "auto", 0, 6),
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


def test_a_gpu_is_taken_where_there_is_one_and_one_of_its_own_by_each_process(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch, "ones", lambda number, device: torch.zeros(number))
    assert find_device("auto") == find_device("cuda") == torch.device("cuda")
    monkeypatch.setattr(processes, "launched", lambda: True)
    monkeypatch.setattr(processes, "local_rank", lambda: 3)
    assert find_device("auto") == find_device("cuda") == torch.device("cuda:3")
    assert find_device("cpu") == torch.device("cpu")


def test_a_runs_model_is_on_the_device_that_is_named(
    tiny_run: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[str] = []

    def find(name: str) -> torch.device:
        asked.append(name)
        return torch.device("meta")

    monkeypatch.setattr(selection, "find_device", find)
    for run in (load_run(tiny_run), load_run(tiny_run, "abacus")):
        assert run.folder == tiny_run
        assert {parameter.device.type for parameter in run.saved.model.parameters()} == {"meta"}
    assert asked == ["auto", "abacus"]


@pytest.mark.parametrize(
    ("devices", "launched", "begun", "shared"),
    [
        ("1", False, [], True),
        ("2", False, [(2, "again")], False),
        ("3", False, [(3, "again")], False),
        ("3", True, [], True),
    ],
)
def test_processes_are_started_once_and_then_wait_for_the_first_ones_plan(
    devices: str,
    launched: bool,
    begun: list[tuple[int, str]],
    shared: bool,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    started: list[tuple[int, str]] = []
    gathered = SimpleNamespace(waited=0)

    def wait() -> None:
        gathered.waited += 1

    gathered.wait_for_plan = wait
    monkeypatch.setattr(processes, "launched", lambda: launched)
    monkeypatch.setattr(processes, "gathered", lambda: gathered)
    monkeypatch.setattr(processes, "launch", lambda *given: started.append(given))
    found = share_work(devices, "cpu", "again")
    assert started == begun
    expected: Any = gathered if shared else None
    assert found is expected
    assert gathered.waited == shared
