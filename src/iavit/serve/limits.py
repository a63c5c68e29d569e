"""What a server takes on before it refuses, each refusal with its status code."""

from __future__ import annotations

from dataclasses import dataclass, fields

from iavit.errors import UserError


@dataclass(frozen=True)
class Limits:
    """Bounds on one request and on all of them together.

    megabytes: of a request's body; more is a 413.
    megapixels: of one picture, decoded; more is a 413.
    seconds: until a request is answered; an upload that is slower is a 408, an answer a 504.
    queue: requests that are taken on at once; the next is a 503, to be tried again.
    files: pictures in one request; more is a 413.
    together: pictures in one forward pass of the model.
    """

    megabytes: float = 20
    megapixels: float = 50
    seconds: float = 30
    queue: int = 256
    files: int = 16
    together: int = 16

    def __post_init__(self) -> None:
        for field in fields(self):
            value = getattr(self, field.name)
            if not 0 < value < 1e9:
                raise UserError(f"`{field.name}` is {value}; it must be above 0 and below 1e9")

    @property
    def body(self) -> int:
        """Bytes of a request's body."""
        return int(self.megabytes * 1e6)

    @property
    def pixels(self) -> int:
        """Pixels of one picture."""
        return int(self.megapixels * 1e6)
