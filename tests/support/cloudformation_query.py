"""AWS's query protocol on this machine: requests are read and answered by botocore's own description of the service.

What a client sends must fit the description, and so must what a test's service answers: botocore checks the one and parses the
other, so that a mistake in either is an error and not a surprise on AWS.
"""

from __future__ import annotations

import functools
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from datetime import datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qsl
from xml.sax.saxutils import escape

from botocore.loaders import Loader
from botocore.model import ServiceModel, Shape
from botocore.validate import ParamValidator


class RefusedError(Exception):
    """What the service answers instead of a result."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code = code


Answer = Callable[[str, dict[str, Any]], Mapping[str, Any] | None]


def _decode(shape: Shape, values: Mapping[str, str], prefix: str) -> Any:
    if shape.type_name == "structure":
        found = {}
        for name, member in shape.members.items():
            inner = f"{prefix}.{name}" if prefix else name
            if any(key == inner or key.startswith(f"{inner}.") for key in values):
                found[name] = _decode(member, values, inner)
        return found
    if shape.type_name == "list":
        items, number = [], 1
        while any(key == f"{prefix}.member.{number}" or key.startswith(f"{prefix}.member.{number}.") for key in values):
            items.append(_decode(shape.member, values, f"{prefix}.member.{number}"))
            number += 1
        return items
    text = values[prefix]
    if shape.type_name == "boolean":
        return text == "true"
    return int(text) if shape.type_name in ("integer", "long") else text


def _encode(shape: Shape, value: Any, name: str) -> str:
    if shape.type_name == "structure":
        unknown = set(value) - set(shape.members)
        assert not unknown, f"{shape.name} has no {unknown}"
        inner = "".join(_encode(shape.members[key], item, key) for key, item in value.items() if item is not None)
    elif shape.type_name == "list":
        inner = "".join(_encode(shape.member, item, "member") for item in value)
    elif isinstance(value, bool):
        inner = "true" if value else "false"
    elif isinstance(value, datetime):
        inner = value.strftime("%Y-%m-%dT%H:%M:%S.%fZ")
    else:
        # A stack in review has an event that says so, although the description of a resource's states leaves it out.
        assert not getattr(shape, "enum", None) or value in (*shape.enum, "REVIEW_IN_PROGRESS"), f"{shape.name}: {value!r}"
        inner = escape(str(value))
    return f"<{name}>{inner}</{name}>"


@functools.cache
def _description(service: str) -> ServiceModel:
    return ServiceModel(Loader().load_service_model(service, "service-2"), service)


@contextmanager
def query_service(service: str, answer: Answer) -> Iterator[str]:
    """Yield the address of a service that answers each operation with what a function returns."""
    model = _description(service)

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"  # a connection is kept, as AWS keeps it
        disable_nagle_algorithm = True  # which would hold back a body until its headers are acknowledged

        def log_message(self, *arguments: object) -> None:
            pass

        def do_POST(self) -> None:
            values = dict(parse_qsl(self.rfile.read(int(self.headers["Content-Length"])).decode(), keep_blank_values=True))
            operation = model.operation_model(values["Action"])
            try:
                asked = _decode(operation.input_shape, values, "")
                report = ParamValidator().validate(asked, operation.input_shape)
                if report.has_errors():
                    raise RefusedError("ValidationError", report.generate_report())
                said = answer(operation.name, asked) or {}
                shape = operation.output_shape
                result = _encode(shape, said, shape.serialization["resultWrapper"]) if shape is not None else ""
            except RefusedError as error:
                body = f"<Code>{error.code}</Code><Message>{escape(str(error))}</Message>"
                self._send(400, f"<ErrorResponse><Error><Type>Sender</Type>{body}</Error></ErrorResponse>")
                return
            except Exception as error:  # noqa: BLE001, a mistake of the test's service, which no client should try again
                body = f"<Code>MistakeInTheTest</Code><Message>{escape(repr(error))}</Message>"
                self._send(400, f"<ErrorResponse><Error>{body}</Error></ErrorResponse>")
                return
            self._send(200, f"<{operation.name}Response>{result}</{operation.name}Response>")

        def _send(self, status: int, text: str) -> None:
            data = text.encode()
            self.send_response(status)
            self.send_header("Content-Type", "text/xml")
            self.send_header("Content-Length", str(len(data)))
            self.end_headers()
            self.wfile.write(data)

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}"
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
