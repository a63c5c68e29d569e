"""`iavit serve`."""

from __future__ import annotations

from collections.abc import Sequence

from jsonargparse import ArgumentParser, Namespace

from iavit.commands.command import Command
from iavit.commands.selection import find_device
from iavit.serve.limits import Limits


def add_options(parser: ArgumentParser, given: Sequence[str]) -> None:
    """What may be chosen."""
    parser.add_argument("run", type=str, help="run directory, model folder or hf-hub:OWNER/NAME")
    parser.add_argument("--host", type=str, default="127.0.0.1", help="address: this machine only")
    parser.add_argument("--port", type=int, default=8000, help="0 takes one that is free")
    parser.add_argument("--workers", type=int, default=1, help="processes, a model in each")
    parser.add_argument("--token", type=str, help="what requests must bring")
    parser.add_argument("--device", type=str, default="auto", help="cpu, cuda, ...")
    section = parser.add_argument_group("Limits")
    limits = Limits()
    section.add_argument(
        "--megabytes", type=float, default=limits.megabytes, help="of a request's body"
    )
    section.add_argument(
        "--megapixels", type=float, default=limits.megapixels, help="of one picture"
    )
    section.add_argument(
        "--seconds", type=float, default=limits.seconds, help="until a request is answered"
    )
    section.add_argument(
        "--queue", type=int, default=limits.queue, help="requests taken on at once, by a worker"
    )
    section.add_argument("--files", type=int, default=limits.files, help="pictures in one request")
    section.add_argument(
        "--together", type=int, default=limits.together, help="pictures in one forward pass"
    )


def execute(options: Namespace) -> None:
    """Serve the page and the API until interrupted."""
    from iavit.serve.server import Settings, serve

    limits = Limits(
        megabytes=options.megabytes,
        megapixels=options.megapixels,
        seconds=options.seconds,
        queue=options.queue,
        files=options.files,
        together=options.together,
    )
    serve(
        Settings(
            source=options.run,
            host=options.host,
            port=options.port,
            workers=options.workers,
            token=options.token,
            device=str(find_device(options.device)),
            limits=limits,
        )
    )


COMMAND = Command("the page and an HTTP API that explain pictures", add_options, execute)
