"""The service: the page, `POST /v1/explain`, `/health`, `/metrics` and the OpenAPI page."""

from __future__ import annotations

import asyncio
import contextlib
import json
import time
from collections.abc import AsyncIterator, Callable, Iterable, Iterator, Sequence
from typing import Annotated, Any, Literal

import anyio
from fastapi import FastAPI, File, Form, HTTPException, Request, Response, UploadFile
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from fastapi_offline import FastAPIOffline

from iavit.data.decoding import shown
from iavit.errors import UserError
from iavit.handover.explained import ExplainedImage
from iavit.handover.targets import class_index
from iavit.handover.web import page_description, page_files
from iavit.model.weights import Saved
from iavit.serve.answers import OFFERED, Answer, Question, answer
from iavit.serve.batching import Batcher
from iavit.serve.gate import Gate
from iavit.serve.limits import Limits
from iavit.serve.metrics import Metrics
from iavit.serve.schema import Health, Refusal, Results, explained
from iavit.serve.uploads import Upload, decode_upload

Answering = Callable[[Saved, Sequence[Question]], list[Answer]]

UNKEPT = {"cache-control": "no-store"}  # of somebody's pictures
# What the form of a question may have.
FIELDS = ("files", "target", "explainer", "format", "trust", "contributions", "remove")
KINDS = {".html": "text/html", ".css": "text/css", ".js": "text/javascript"}
PAGE_POLICY = (
    "default-src 'none'; script-src 'self'; worker-src 'self'; connect-src 'self'; "
    "style-src 'self'; img-src 'self' blob: data:; base-uri 'none'; form-action 'none'; "
    "frame-ancestors 'none'"
)
REFUSALS: dict[int | str, dict[str, Any]] = {
    400: {"model": Refusal, "description": "A form that cannot be read"},
    401: {"model": Refusal, "description": "No token, or another"},
    408: {"model": Refusal, "description": "The upload took too long"},
    413: {"model": Refusal, "description": "Too many bytes, pixels or files"},
    415: {"model": Refusal, "description": "No form, or no picture"},
    422: {"model": Refusal, "description": "A damaged picture, or an option that is not there"},
    503: {"model": Refusal, "description": "Too many requests wait; try again"},
    504: {"model": Refusal, "description": "The answer took too long"},
}


def create_app(
    saved: Saved,
    limits: Limits | None = None,
    token: str | None = None,
    threads: int = 2,
    answering: Answering = answer,
) -> FastAPI:
    """The service of one model, as an ASGI application.

    Another application may mount it; it has to run this one's lifespan, in which the model answers.

    token: what requests to `/v1` and `/metrics` must bring; None asks for nothing.
    threads: that decode pictures. answering: from questions to answers.
    """
    limits = limits or Limits()
    described = page_description(saved, "server")
    metrics = Metrics()

    def passed(questions: Sequence[Question]) -> list[Answer]:
        began = time.perf_counter()
        answers = answering(saved, questions)
        metrics.passed(len(questions), time.perf_counter() - began)
        return answers

    batcher = Batcher(passed, limits.together)

    @contextlib.asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        async with batcher.running():
            yield

    app = FastAPIOffline(
        title="iavit",
        description=f"Pictures explained by {described['backbone']}",
        version=described["version"],
        redoc_url=None,
        lifespan=lifespan,
    )
    app.add_middleware(Gate, limits=limits, token=token, metrics=metrics)
    app.add_exception_handler(RequestValidationError, _invalid)
    _add_page(app, described)
    _add_explain(app, saved, limits, batcher, threads)

    @app.get("/health", response_model=Health)
    def health() -> dict[str, Any]:
        """Whether the model is loaded, and which it is."""
        known = {name: described[name] for name in ("backbone", "version", "sha256")}
        return {"status": "ok", "classes": len(saved.classes), **known}

    @app.get("/metrics", response_class=Response)
    def measured() -> Response:
        """Figures for Prometheus."""
        return Response(metrics.text(), media_type="text/plain; version=0.0.4")

    return app


def _add_explain(
    app: FastAPI,
    saved: Saved,
    limits: Limits,
    batcher: Batcher[Question, Answer],
    threads: int,
) -> None:
    side = int(saved.model.architecture.img_size)  # type: ignore[arg-type]  # checked by the page
    decoding = anyio.CapacityLimiter(threads)  # so many whole pictures are in memory at a time

    async def upload_of(file: UploadFile, drawn: bool) -> Upload:
        content = await file.read()

        def decode() -> Upload:
            return decode_upload(
                content, file.filename, side, saved.normalisation, limits.pixels, drawn=drawn
            )

        return await anyio.to_thread.run_sync(decode, limiter=decoding)

    @app.post("/v1/explain", response_model=None, responses={200: {"model": Results}, **REFUSALS})
    async def explain(
        request: Request,
        files: Annotated[list[UploadFile], File(description="pictures of any size and format")],
        target: Annotated[
            str | None, Form(description="class explained, by name or number; else the predicted")
        ] = None,
        explainer: Annotated[
            str, Form(description=f"whose map: {', '.join(OFFERED)}")
        ] = "contributions",
        format: Annotated[  # noqa: A002  (the form's own word)
            Literal["json", "png"], Form(description="figures, or one picture with its map drawn")
        ] = "json",
        trust: Annotated[bool, Form(description="measured, at eight times the cost")] = False,
        contributions: Annotated[bool, Form(description="to every class, in the JSON")] = False,
        remove: Annotated[
            str, Form(description="patches that are not shown, counted row by row: 0,5,6")
        ] = "",
    ) -> Response:
        """Explain pictures: what both branches say, and what each patch adds to a class."""
        if len(files) > (1 if format == "png" else limits.files):
            many = "one, for a drawing" if format == "png" else str(limits.files)
            raise HTTPException(413, f"{len(files)} pictures; send at most {many}")
        drawn = format == "png"
        with _unprocessable():
            _check_fields(request.query_params, await request.form())
            wanted = None if not target else class_index(saved.classes, target)
            _check_explainer(explainer)
            removed = _patch_numbers(remove, saved.model.grid)
            if drawn and removed:
                raise UserError("remove: a drawing shows the whole picture; ask for format json")
        uploads = [await upload_of(file, drawn) for file in files]
        questions = [
            Question(upload.square, wanted, explainer, trust or drawn, removed)
            for upload in uploads
        ]
        with _unprocessable():
            answers = await asyncio.gather(*(batcher.ask(question) for question in questions))
        if drawn:
            picture = _drawing(saved, uploads[0], answers[0], explainer)
            figure = await anyio.to_thread.run_sync(picture._repr_png_, limiter=decoding)
            return Response(figure, media_type="image/png", headers=UNKEPT)
        results = [
            explained(
                answer,
                saved.classes,
                upload.name,
                explainer,
                upload.frame,
                contributions=contributions,
            )
            for upload, answer in zip(uploads, answers, strict=True)
        ]
        return JSONResponse({"results": results}, headers=UNKEPT)


def _add_page(app: FastAPI, described: dict[str, Any]) -> None:
    """The page's files, each at its name; they are few and small, and kept in memory."""
    content = page_files("server") | {"model.json": json.dumps(described).encode()}
    for name, data in content.items():
        path = "/" if name == "index.html" else f"/{name}"
        app.add_api_route(path, _sends(name, data), include_in_schema=False, response_model=None)


def _sends(name: str, data: bytes) -> Callable[[], Response]:
    kind = KINDS.get(name[name.rfind(".") :], "application/json")
    headers = {"content-security-policy": PAGE_POLICY}

    def send() -> Response:
        return Response(data, media_type=kind, headers=headers)

    return send


@contextlib.contextmanager
def _unprocessable() -> Iterator[None]:
    """A mistake in what was asked for is a 422, in its own words without the backticks."""
    try:
        yield
    except UserError as error:
        raise HTTPException(422, str(error).replace("`", "")) from error


def _check_fields(address: Iterable[str], form: Iterable[str]) -> None:
    """A name that is not read, or not where it stands, would change nothing, and be missed."""
    for name in form:
        if name not in FIELDS:
            raise UserError(
                f"{shown(name)}: there is no such field; the form may have {', '.join(FIELDS)}"
            )
    for name in address:
        if name in FIELDS:
            raise UserError(f"{name} stands in the address; send it as a field of the form")


def _check_explainer(name: str) -> None:
    if name not in OFFERED:
        raise UserError(f"explainer: there is no '{name}' here; name one of {', '.join(OFFERED)}")


def _patch_numbers(words: str, grid: tuple[int, int]) -> tuple[int, ...]:
    last = grid[0] * grid[1] - 1
    try:
        numbers = tuple(int(word) for word in words.split(",") if word.strip())
    except ValueError as error:
        raise UserError("remove: give numbers of patches, such as 0,5,6") from error
    if numbers and not 0 <= min(numbers) <= max(numbers) <= last:
        raise UserError(f"remove: the patches have the numbers 0 to {last}")
    return numbers


def _drawing(saved: Saved, upload: Upload, answer: Answer, explainer: str) -> ExplainedImage:
    """What the library draws."""
    assert upload.picture is not None  # kept, as it is to be drawn
    assert answer.faithfulness is not None  # asked for with every drawing
    return ExplainedImage(
        name=upload.name,
        picture=upload.picture,
        classes=saved.classes,
        probabilities=answer.probabilities,
        interpreter_probabilities=answer.interpreter_probabilities,
        attention=answer.attention,
        all_contributions=answer.contributions,
        target=answer.target,
        explainer=explainer,
        map=answer.map,
        signed=answer.signed,
        trust=answer.trust,
        answer=answer.shared,
        faithfulness=answer.faithfulness,
        frame=upload.frame,
        normalisation=saved.normalisation,
    )


def _invalid(_: Request, error: Exception) -> Response:
    """What the form lacks, in one line as all refusals are."""
    assert isinstance(error, RequestValidationError)
    faults = dict.fromkeys(
        _in_words(*fault["loc"][1:], said=fault["msg"]) for fault in error.errors()
    )
    return JSONResponse({"detail": "; ".join(faults)}, 422)


def _in_words(field: str = "the form", *number: int, said: str) -> str:
    """A fault of a field, or of one of several files, which can only be that it is none."""
    advice = "send each picture as a file, with curl as -F files=@photo.jpg" if number else said
    return f"{field}: {advice}"
