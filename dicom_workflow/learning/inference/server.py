"""Inference server over a model bundle with SageMaker's container interface: ``GET /ping``, ``POST /invocations``.

    python -m dicom_workflow.learning.inference.server --model DIR --port 8080

A request's body is one DICOM file (``application/dicom``: what an endpoint and a batch transform without splitting send) or
``{"instances": ["<base64>", …]}`` (``application/json``). The handlers are those of `learning.inference`. Nothing in a request
names a file or an address that is opened, and the log holds numbers only.

It is a bare ASGI application under uvicorn, which the labeling service uses too: with h11 and click that is under 1 MB of pure
Python in an image, it parses HTTP better than the standard library does, and a client that sends slowly costs no thread.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import logging
import os
import signal
import sys
import time
import warnings
from collections.abc import Awaitable, Callable, MutableMapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from dicom_workflow.errors import LearningError, WorkflowError
from dicom_workflow.learning.inference import endpoint_handlers, predict
from dicom_workflow.learning.model.bundle import Bundle

Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Limits:
    """Limits of one container. A request beyond them is refused at once, which bounds memory and waiting."""

    concurrency: int = 2
    """Requests being predicted: one decodes while the other is in the network."""
    waiting: int = 8
    """Requests that may wait for their turn. Bodies of `concurrency + waiting` requests are in memory at most."""
    max_body_mb: int = 25
    """What a real-time endpoint lets through; the largest radiographs have 20 MB uncompressed."""
    body_seconds: float = 20.0
    """For the whole body to arrive, and before it for the request's head."""
    answer_seconds: float = 50.0
    """For waiting and predicting together; SageMaker gives up after 60 seconds."""
    drain_seconds: float = 25.0
    """For requests under way after SIGTERM; SIGKILL follows after 30 seconds."""


class Refusal(Exception):
    """A request is answered with an error.

    Parameters
    ----------
    status : int
        HTTP status.
    expected, got, next_step : str
        The answer's ``expected``, ``got`` and ``next``: numbers and names of types only, nothing out of a file.
    """

    def __init__(self, status: int, expected: str, got: str, next_step: str) -> None:
        super().__init__(status)
        self.status = status
        self.answer = {"error": {"expected": expected, "got": got, "next": next_step}}


class App:
    """The ASGI application over one bundle."""

    def __init__(self, bundle: Bundle, limits: Limits | None = None) -> None:
        self.bundle = bundle
        self.limits = limits or Limits()
        self._pool = ThreadPoolExecutor(self.limits.concurrency, thread_name_prefix="predict")
        self._slots = self.limits.concurrency + self.limits.waiting
        self._running: dict[int, float] = {}  # request number → when its prediction began
        self._numbers = iter(range(2**62))

    async def __call__(self, scope: Message, receive: Receive, send: Send) -> None:
        """Answer one request."""
        if scope["type"] != "http":
            return
        began = time.monotonic()
        headers = {name.decode("latin-1").lower(): value.decode("latin-1") for name, value in scope["headers"]}
        extra: list[tuple[bytes, bytes]] = []
        kind, images, received = "application/json", 0, [0]
        route = (scope["method"], scope["path"])
        try:
            if route == ("GET", "/ping"):
                status, text = self._ping()
            elif route == ("GET", "/execution-parameters"):
                status, text = 200, json.dumps(self.execution_parameters())
            elif route == ("POST", "/invocations"):
                status, kind, text, images = await self._invoke(headers, receive, received)
            else:
                raise _not_found(scope["path"])
        except Refusal as refusal:
            status, text = refusal.status, json.dumps(refusal.answer, ensure_ascii=False)
            extra = [(b"retry-after", b"1")] if status == 503 else []
        except ConnectionError:
            log.info("invocations status=gone bytes=%d", received[0])
            return
        except Exception as error:  # noqa: BLE001  one request must not end the server; its type is all that is safe to log
            log.error("invocations status=500 error=%s", type(error).__name__)
            status = 500
            text = json.dumps(Refusal(500, "a prediction", "an error in the server", "Report it with the bundle's id.").answer)
        body = text.encode("utf-8")
        head = [(b"content-type", kind.encode()), (b"content-length", str(len(body)).encode()), (b"cache-control", b"no-store")]
        await send({"type": "http.response.start", "status": status, "headers": head + extra})
        await send({"type": "http.response.body", "body": body})
        if route[1] == "/invocations":
            milliseconds = (time.monotonic() - began) * 1000
            log.info("invocations status=%d images=%d bytes=%d ms=%.0f", status, images, received[0], milliseconds)

    def _ping(self) -> tuple[int, str]:
        """Return 200, or 503 when every thread has been stuck for so long that the container must be replaced."""
        longest = 3 * self.limits.answer_seconds
        stuck = sum(time.monotonic() - began > longest for began in self._running.values())
        healthy = stuck < self.limits.concurrency
        return (200 if healthy else 503), json.dumps({"healthy": healthy, "bundle": self.bundle.identifier})

    def execution_parameters(self) -> dict[str, Any]:
        """Return the execution parameters that a batch transform asks for."""
        return {
            "MaxConcurrentTransforms": self.limits.concurrency,
            "BatchStrategy": "SINGLE_RECORD",
            "MaxPayloadInMB": self.limits.max_body_mb,
        }

    async def _invoke(self, headers: dict[str, str], receive: Receive, received: list[int]) -> tuple[int, str, str, int]:
        """Return status, content type, text and number of images."""
        content_type, accept = _checked_types(headers)
        self._check_length(headers.get("content-length", ""))
        if self._slots <= 0:
            raise Refusal(
                503,
                f"at most {self.limits.concurrency} requests under way and {self.limits.waiting} waiting",
                "one more",
                "Send it again after a second, or add instances to the endpoint.",
            )
        self._slots -= 1
        future: Future[tuple[str, int]] | None = None
        try:
            body = await self._body(receive, received)
            future = self._pool.submit(self._predict, next(self._numbers), body, content_type, accept)
            del body  # the thread has it
            try:
                async with asyncio.timeout(self.limits.answer_seconds):
                    text, images = await asyncio.shield(asyncio.wrap_future(future))
            except TimeoutError:
                raise Refusal(
                    503,
                    f"an answer within {self.limits.answer_seconds:g} seconds",
                    "none yet: the container is busy",
                    "Send it again later, fewer instances at a time.",
                ) from None
            return 200, accept, text, images
        finally:
            if future is None or future.cancel() or future.done():
                self._slots += 1
            else:  # a thread cannot be stopped: its place is free again when it is
                loop = asyncio.get_running_loop()
                future.add_done_callback(lambda _: loop.call_soon_threadsafe(self._give_back))

    def _give_back(self) -> None:
        self._slots += 1

    def _predict(self, number: int, body: bytes, content_type: str, accept: str) -> tuple[str, int]:
        self._running[number] = time.monotonic()
        try:
            files = endpoint_handlers.input_fn(body, content_type)
            return endpoint_handlers.output_fn(endpoint_handlers.predict_fn(files, self.bundle), accept), len(files)
        except WorkflowError as error:
            step = "Send DICOM Part 10 files of single-frame gray-scale radiographs."
            raise Refusal(400, "DICOM files that can be predicted", str(error), step) from None
        finally:
            del self._running[number]

    def _check_length(self, length: str) -> None:
        most = self.limits.max_body_mb * 2**20
        if length.isdecimal() and int(length) > most:
            raise _too_large(self.limits.max_body_mb, f"{int(length):,} bytes")
        if length == "0":
            raise _no_body()

    async def _body(self, receive: Receive, received: list[int]) -> bytes:
        """Return the whole body, unless it is too large or late."""
        chunks = []
        try:
            async with asyncio.timeout(self.limits.body_seconds):
                while True:
                    message = await receive()
                    if message["type"] == "http.disconnect":
                        raise ConnectionError
                    chunks.append(message.get("body", b""))
                    received[0] += len(chunks[-1])
                    if received[0] > self.limits.max_body_mb * 2**20:
                        raise _too_large(self.limits.max_body_mb, "more")
                    if not message.get("more_body"):
                        break
        except TimeoutError:
            step = "Send it faster or compress it, for instance as JPEG 2000."
            expected = f"the body within {self.limits.body_seconds:g} seconds"
            raise Refusal(408, expected, f"{received[0]:,} bytes", step) from None
        if not received[0]:
            raise _no_body()
        return b"".join(chunks)


def _checked_types(headers: dict[str, str]) -> tuple[str, str]:
    """Return the content type of the request and of the answer."""
    content_type = headers.get("content-type", "")
    if content_type.split(";")[0].strip().lower() not in endpoint_handlers.CONTENT_TYPES:
        raise Refusal(
            415,
            f"Content-Type {' or '.join(endpoint_handlers.CONTENT_TYPES)}",
            content_type[:60] or "none",
            "Name the content type of the body; in a batch transform with TransformInput.ContentType.",
        )
    accept = headers.get("accept", "")
    try:
        return content_type, endpoint_handlers.answer_type(accept)
    except LearningError:
        step = "Leave the header out for JSON."
        raise Refusal(406, f"Accept {' or '.join(endpoint_handlers.ANSWER_TYPES)}", accept[:60], step) from None


def _not_found(path: str) -> Refusal:
    known = "GET /ping, GET /execution-parameters or POST /invocations"
    status = 405 if path in ("/ping", "/invocations", "/execution-parameters") else 404
    return Refusal(status, known, "another method" if status == 405 else "another path", "Call one of them.")


def _too_large(limit_mb: int, got: str) -> Refusal:
    step = "Send one image at a time, or compress it losslessly; --max-body-mb changes the limit."
    return Refusal(413, f"a body of at most {limit_mb} MB", got, step)


def _no_body() -> Refusal:
    return Refusal(400, "a DICOM file in the body", "no body", "Send the file's bytes as the body of the request.")


def serve(model: str | Path, *, host: str, port: int, limits: Limits | None = None, threads: int = 0) -> None:
    """Load a bundle, then answer until SIGTERM or SIGINT; requests under way are finished.

    Parameters
    ----------
    model : path
        Folder of the bundle.
    host, port
        Where to listen. SageMaker's network ends at the container; elsewhere put TLS and authentication in front.
    limits : Limits, optional
    threads : int
        CPU threads of one prediction; 0 shares the CPUs among `limits.concurrency`.

    Raises
    ------
    BundleError
        The bundle cannot be loaded: the port is not opened, so the container is never healthy.
    """
    import numpy as np
    import torch
    import uvicorn

    from dicom_workflow.http_server import protocol_with_header_timeout

    limits = limits or Limits()
    torch.set_num_threads(threads or max(1, len(os.sched_getaffinity(0)) // limits.concurrency))
    bundle = endpoint_handlers.model_fn(str(model))
    predict.predict_images(bundle, np.zeros((1, 1, bundle.size_px, bundle.size_px), np.float16))  # the first one is slow
    log.info("ready: %d labels, bundle %s", len(bundle.labels), bundle.identifier[:12])
    config = uvicorn.Config(
        App(bundle, limits),
        http=protocol_with_header_timeout(limits.body_seconds),
        host=host,
        port=port,
        log_config=None,
        log_level="warning",
        access_log=False,
        server_header=False,
        lifespan="off",
        timeout_keep_alive=75,  # longer than the callers': the side that closes first sees no broken connection
        timeout_graceful_shutdown=int(limits.drain_seconds),
    )
    # uvicorn raises the signal again when it has finished; an orderly end is exit code 0.
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: None)
    uvicorn.Server(config).run()
    log.info("stopped")


def main(arguments: Sequence[str] | None = None) -> int:
    """Run from the command line; a bundle that cannot be loaded is one line on standard error and exit code 1."""
    title = (__doc__ or "").split("\n")[0]
    parser = argparse.ArgumentParser(prog="python -m dicom_workflow.learning.inference.server", description=title)
    parser.add_argument("--model", type=Path, required=True, help="folder of the model bundle")
    parser.add_argument("--host", default="127.0.0.1", help="address to listen on (default: this machine only)")
    parser.add_argument("--port", type=int, default=8080, help="TCP port (default: 8080)")
    parser.add_argument("--threads", type=int, default=0, help="CPU threads of a prediction (default: CPUs / concurrency)")
    for name in ("concurrency", "waiting", "max_body_mb"):
        default = getattr(Limits, name)
        parser.add_argument(f"--{name.replace('_', '-')}", type=int, default=default, help=f"(default: {default})")
    for name in ("body_seconds", "answer_seconds", "drain_seconds"):
        default = getattr(Limits, name)
        parser.add_argument(f"--{name.replace('_', '-')}", type=float, default=default, help=f"(default: {default:g})")
    options = vars(parser.parse_args(arguments))
    model, host, port, threads = (options.pop(name) for name in ("model", "host", "port", "threads"))
    if min(options["concurrency"], options["max_body_mb"], port) < 1 or min(options.values()) < 0:
        parser.error("expected a concurrency, body limit and port of at least 1, and no negative limit")
    return run(model, host=host, port=port, limits=Limits(**options), threads=threads)


def run(model: str | Path, *, host: str, port: int, limits: Limits, threads: int = 0) -> int:
    """Serve with a log on standard error, and return the exit code.

    Parameters
    ----------
    model : str or Path
        Folder of the bundle.
    host, port
        Where to listen.
    limits : Limits
    threads : int
        CPU threads of one prediction; 0 shares the CPUs among `limits.concurrency`.
    """
    handler = logging.StreamHandler()
    handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(message)s"))
    log.handlers, log.propagate = [handler], False
    log.setLevel(logging.INFO)
    # What pydicom and others have to say about a file quotes what stands in it, and that may be a name.
    logging.getLogger().addHandler(logging.NullHandler())
    warnings.simplefilter("ignore")
    try:
        serve(model, host=host, port=port, limits=limits, threads=threads)
    except WorkflowError as error:
        print(f"error: {error}", file=sys.stderr, flush=True)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
