"""A user's mistake, a disk that is full, a signal to stop: what ends a command in one line."""

from __future__ import annotations

import signal


class UserError(Exception):
    """A mistake in what was asked for: the message names the file or parameter and says what to do.

    A parameter's name stands in backticks. The command line turns it into its option, prints the
    message on one line of standard error and exits with status 2.
    """


class WriteError(UserError):
    """A file that cannot be written: the disk is full, its folder vanished or is read-only."""


class DivergedError(UserError):
    """A loss that is not a number any more."""


class Stopped(BaseException):
    """A signal that asks the process to end: SIGINT or SIGTERM, by its number."""

    def __init__(self, number: int) -> None:
        super().__init__(f"stopped by {signal.Signals(number).name}")
        self.number = number
