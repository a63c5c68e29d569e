"""What ends a command; the command line's own tests show it printed."""

from __future__ import annotations

import signal

import pytest

from iavit.errors import DivergedError, Stopped, UserError, WriteError


def test_a_signal_is_called_by_its_name() -> None:
    stopped = Stopped(signal.SIGTERM)
    assert str(stopped) == "stopped by SIGTERM"
    assert stopped.number == 15


def test_a_stop_is_caught_by_nobody_who_catches_mistakes() -> None:
    assert not issubclass(Stopped, Exception)


@pytest.mark.parametrize("error", [WriteError, DivergedError])
def test_a_full_disk_and_a_lost_loss_are_told_as_mistakes_are(error: type[Exception]) -> None:
    assert issubclass(error, UserError)
