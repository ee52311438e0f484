"""What HTTP sees: POST /predict, GET /healthz, GET /metrics."""

from __future__ import annotations

import asyncio
import math
import time
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import Annotated, Any

from fastapi import FastAPI, Query, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import Response
from prometheus_client import CONTENT_TYPE_LATEST
from starlette.datastructures import UploadFile
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect
from starlette.types import Message, Receive

from gformer_cli import __version__
from gformer_cli.adapt.output import record_of
from gformer_cli.errors import GformerError, plain
from gformer_cli.files import json_line
from gformer_cli.serve.batching import Answered, QueueFull
from gformer_cli.serve.options import ServeOptions
from gformer_cli.serve.service import Service, Unreadable

UPLOADS = 16
"""Requests whose bodies are read at the same time; the others wait."""
BODY_SECONDS = 60.0
"""In which a body must have come."""
_FIELDS = 16
"""Parts of a body that are no files, which are passed over."""
_TARGET = 200
"""Characters of the longest name of a target."""
_SO = "Send multipart/form-data with files: curl -F images=@one.jpg -F images=@two.jpg URL/predict"


class Refused(Exception):
    """A request that is answered with an error."""

    def __init__(
        self,
        status: int,
        message: str,
        hint: str = "",
        *,
        headers: Mapping[str, str] | None = None,
        more: Mapping[str, Any] | None = None,
    ) -> None:
        super().__init__(message)
        self.status = status
        self.headers = dict(headers or {})
        self.document = {"error": message, **({"hint": hint} if hint else {}), **(more or {})}

    def response(self) -> Response:
        return _document(self.document, self.status, self.headers)


def create_app(service: Service) -> FastAPI:
    """The application around `service`, which it starts and stops."""

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        service.start()
        yield
        await asyncio.to_thread(service.stop)

    # its pages of documentation would fetch scripts from elsewhere
    app = FastAPI(title="gformer", version=__version__, docs_url=None, redoc_url=None, lifespan=lifespan)
    uploads = asyncio.Semaphore(UPLOADS)

    @app.post("/predict")
    async def predict(
        request: Request,
        target: Annotated[str | None, Query(min_length=1, max_length=_TARGET)] = None,
        probabilities: bool = False,
    ) -> Response:
        """Predict the images of a multipart request. Those of requests with one `target` may share a batch."""
        began = time.perf_counter()
        response = await _response(service, uploads, request, target, probabilities)
        service.metrics.request(response.status_code, time.perf_counter() - began)
        return response

    @app.get("/healthz")
    def healthz() -> Response:
        """Whether it predicts, and what."""
        alive = service.batcher.alive
        about = {"status": "ok" if alive else "stopped", "version": __version__, **service.about()}
        return _document(about, 200 if alive else 503)

    @app.get("/metrics")
    def metrics() -> Response:
        """For Prometheus."""
        return Response(service.metrics.text(), media_type=CONTENT_TYPE_LATEST)

    @app.exception_handler(HTTPException)
    async def told(_: Request, error: HTTPException) -> Response:
        hint = "There are POST /predict, GET /healthz and GET /metrics." if error.status_code in (404, 405) else ""
        return Refused(error.status_code, str(error.detail), hint, headers=error.headers).response()

    @app.exception_handler(RequestValidationError)
    async def invalid(_: Request, error: RequestValidationError) -> Response:
        first = error.errors()[0]
        return Refused(422, f"{first['loc'][-1]}: {plain(first['msg'])}").response()

    return app


async def _response(
    service: Service, uploads: asyncio.Semaphore, request: Request, target: str | None, probabilities: bool
) -> Response:
    try:
        async with uploads:
            files = await _files(request, service.options)
        answered = await service.predict(files, target)
    except Exception as error:
        return _refusal(error).response()
    return _document(_told(service, answered, target, probabilities), 200)


def _refusal(error: Exception) -> Refused:
    """What a client is told of `error`."""
    match error:
        case Refused():
            found = error
        case HTTPException():
            found = Refused(error.status_code, str(error.detail), _SO)
        case ClientDisconnect():
            found = Refused(400, "the client has gone")
        case QueueFull():
            headers = {"Retry-After": str(max(1, math.ceil(error.seconds)))}
            found = Refused(503, error.message, "Try again later.", headers=headers)
        case Unreadable():
            images = [{"path": name, "reason": why} for name, why in error.images]
            found = Refused(422, error.message, error.hint, more={"images": images})
        case GformerError():
            found = Refused(500, error.message, error.hint)
        case _:  # a defect: the client is told, and the others go on
            found = Refused(500, f"unexpected {type(error).__name__}: {error}")
    return found


async def _files(request: Request, options: ServeOptions) -> list[tuple[str, bytes]]:
    """Names and contents of the files in a request. Raises `Refused`, and `HTTPException` for a broken body."""
    if not request.headers.get("content-type", "").lower().startswith("multipart/form-data"):
        raise Refused(415, "the body is not multipart/form-data", _SO)
    limited = Request(request.scope, _at_most(request.receive, options.max_request))

    async def read() -> list[tuple[str, bytes]]:
        async with limited.form(max_files=options.queue + 1, max_fields=_FIELDS) as form:
            parts = [part for _, part in form.multi_items() if isinstance(part, UploadFile)]
            return [(part.filename or f"image {place}", await part.read()) for place, part in enumerate(parts)]

    try:
        files = await asyncio.wait_for(read(), BODY_SECONDS)
    except asyncio.TimeoutError:
        raise Refused(408, f"the body did not come within {BODY_SECONDS:g} seconds") from None
    if not files:
        raise Refused(400, "there are no images", _SO)
    if len(files) > options.queue:
        raise Refused(413, f"more than {options.queue} images in one request", "Send them in several requests.")
    return files


def _at_most(receive: Receive, most: int) -> Receive:
    """`receive` of a body of at most so many bytes; raises `Refused` beyond."""
    got = 0

    async def limited() -> Message:
        nonlocal got
        message = await receive()
        got += len(message.get("body", b""))
        if got > most:
            left = most  # a client that is cut off while it sends may never see the answer
            while message.get("more_body") and left > 0:
                message = await receive()
                left -= len(message.get("body", b""))
            raise Refused(413, f"the request is larger than {most:,} bytes", "Send the images in several requests.")
        return message

    return limited


def _told(service: Service, answered: Answered, target: str | None, probabilities: bool) -> dict[str, Any]:
    classes = service.bundle.header.classes
    predictions = []
    for row in answered.rows:
        record = record_of(row, name_target=target is not None)
        if probabilities:
            record["probabilities"] = {
                name: round(value, 6) for name, value in zip(classes, row.probabilities, strict=True)
            }
        predictions.append(record)
    batches = [
        {
            "batch": one.number,
            "images": one.images,
            "decision": one.verdict.decision,
            "share": one.verdict.share,
            "reasons": list(one.verdict.reasons),
        }
        for one in answered.batches
    ]
    return {"predictions": predictions, "batches": batches}


def _document(document: Any, status: int, headers: Mapping[str, str] | None = None) -> Response:
    return Response(json_line(document), status, headers, media_type="application/json")
