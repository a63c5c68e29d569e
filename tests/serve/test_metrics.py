"""What Prometheus reads, by value; of several processes together in test_server."""

from __future__ import annotations

import re
from functools import partial
from pathlib import Path

import pytest
from prometheus_client import values

from iavit.serve.metrics import Metrics


def figures(metrics: Metrics) -> dict[str, float]:
    lines = metrics.text().decode().splitlines()
    rows = (line.rsplit(" ", 1) for line in lines if not line.startswith("#"))
    return {name: float(value) for name, value in rows}


def test_requests_are_counted_by_status_and_timed_in_seconds() -> None:
    metrics = Metrics()
    for status, seconds in ((200, 0.02), (200, 0.3), (503, 0.001)):
        metrics.answered(status, seconds)
    found = figures(metrics)
    assert found['iavit_requests_total{status="200"}'] == 2
    assert found['iavit_requests_total{status="503"}'] == 1
    assert found["iavit_request_seconds_count"] == 3
    assert found["iavit_request_seconds_sum"] == 0.321
    assert found['iavit_request_seconds_bucket{le="0.025"}'] == 2
    assert found['iavit_request_seconds_bucket{le="0.25"}'] == 2
    assert found['iavit_request_seconds_bucket{le="0.5"}'] == 3


def test_who_is_inside_now_and_how_many_shared_a_pass() -> None:
    metrics = Metrics()
    for count in (1, 2, 3, 2):
        metrics.inside(count)
    metrics.passed(3, 0.25)
    metrics.passed(5, 0.5)
    found = figures(metrics)
    assert found["iavit_requests_inside"] == 2
    assert found["iavit_batch_images_sum"] == 8
    assert found['iavit_batch_images_bucket{le="4.0"}'] == 1
    assert found["iavit_batch_seconds_sum"] == 0.75


def test_the_steps_of_times_and_of_batches_and_what_each_figure_is() -> None:
    text = Metrics().text().decode()
    steps: dict[str, list[str]] = {"request": [], "batch": []}
    for name, step in re.findall(r'iavit_(\w+?)_seconds_bucket{le="(.*?)"}', text):
        steps[name].append(step)
    seconds = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0)
    times = [*map(str, seconds), "+Inf"]
    assert steps == {"request": times, "batch": times}
    batches = re.findall(r'iavit_batch_images_bucket{le="(.*?)"}', text)
    assert batches == ["1.0", "2.0", "4.0", "8.0", "16.0", "32.0", "+Inf"]
    assert "# HELP iavit_requests_total Requests to /v1, by status\n" in text


def test_two_services_in_one_process_do_not_count_together() -> None:
    first, second = Metrics(), Metrics()
    first.answered(200, 1.0)
    assert 'iavit_requests_total{status="200"}' not in figures(second)


def test_several_processes_are_counted_together(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PROMETHEUS_MULTIPROC_DIR", str(tmp_path))
    for number, seconds in ((1, 0.25), (2, 0.5), (3, 4.0)):
        process = partial(int, number)
        of_process = values.MultiProcessValue(process)  # type: ignore[no-untyped-call]
        monkeypatch.setattr(values, "ValueClass", of_process)
        metrics = Metrics()
        metrics.answered(200, seconds)
        metrics.passed(number, seconds)
        metrics.inside(number)
    found = figures(metrics)
    assert found['iavit_requests_total{status="200"}'] == 3
    assert found["iavit_request_seconds_sum"] == 4.75
    assert found["iavit_batch_images_sum"] == 6
    assert found["iavit_requests_inside"] == 6
