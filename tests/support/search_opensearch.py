"""OpenSearch for tests: osmem-server, which answers all but vectors, behind a proxy that compares vectors exactly.

The proxy takes a search with ``knn`` or the script ``knn_score``, lets osmem say which documents fulfil its filter, compares
their vectors with numpy, and lets osmem return the best ones. Everything else goes through as it is. It refuses unknown and
missing keys of such a search, as OpenSearch does.
"""

from __future__ import annotations

import gzip
import json
import threading
import urllib.error
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import numpy as np
from numpy.typing import NDArray
from osmem_server import OsmemServer

TIMEOUT_SECONDS = 30
PAGE = 10_000


@dataclass(frozen=True)
class Request:
    """What a client sent."""

    method: str
    path: str
    body: bytes
    headers: dict[str, str]


class OpenSearchProxy:
    """One cluster of a test: a clone of an empty osmem base, and the proxy before it."""

    def __init__(self, server: OsmemServer) -> None:
        self._clone = server.clone()
        self._lock = threading.Lock()
        self._ids: dict[str, frozenset[str]] = {}
        self._vectors: dict[tuple[str, str], tuple[list[str], NDArray[np.float64]]] = {}
        self.requests: list[Request] = []
        """Everything that was asked, in order."""
        self.answers: list[tuple[int, dict[str, Any]]] = []
        """Answers to give to the next requests instead of the cluster's own."""
        proxy = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"
            disable_nagle_algorithm = True

            def do_any(self) -> None:
                body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
                if self.headers.get("Content-Encoding") == "gzip":
                    body = gzip.decompress(body)
                status, answer = proxy.answer(Request(self.command, self.path, body, dict(self.headers)))
                self.send_response(status)
                self.send_header("Content-Type", "application/json")
                self.send_header("Content-Length", str(len(answer)))
                self.end_headers()
                if self.command != "HEAD":
                    self.wfile.write(answer)

            do_GET = do_POST = do_PUT = do_DELETE = do_HEAD = do_any

            def log_message(self, format: str, *args: object) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.01,), daemon=True)  # ends soon when told to
        self._thread.start()
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}"

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join(5)
        self._clone.close()

    def searches(self) -> list[dict[str, Any]]:
        """The bodies of the searches so far."""
        return [json.loads(request.body) for request in self.requests if request.path.partition("?")[0].endswith("/_search")]

    def answer(self, request: Request) -> tuple[int, bytes]:
        method, path, body = request.method, request.path, request.body
        with self._lock:
            self.requests.append(request)
            if self.answers:
                status, given = self.answers.pop(0)
                return status, json.dumps(given).encode()
        place = path.partition("?")[0]
        if not place.endswith(("/_search", "/_count", "/_mget", "/_refresh")) and method != "GET":
            with self._lock:  # it may write
                self._ids.clear()
                self._vectors.clear()
        if place.endswith("/_search"):
            search = json.loads(body)
            query = search.get("query", {})
            if "knn" in query or "script_score" in query:
                try:
                    return 200, json.dumps(self._similar(place, search)).encode()
                except _RefusedError as error:
                    reason = {"type": "x_content_parse_exception", "reason": str(error)}
                    return 400, json.dumps({"error": {**reason, "root_cause": [reason]}, "status": 400}).encode()
        return self._forward(method, path, body, request.headers.get("Content-Type", ""))

    def _forward(self, method: str, path: str, body: bytes, kind: str) -> tuple[int, bytes]:
        request = urllib.request.Request(self._clone.url + path, data=body or None, method=method)  # noqa: S310
        request.add_header("Content-Type", kind or "application/json")
        try:
            with urllib.request.urlopen(request, timeout=TIMEOUT_SECONDS) as response:  # noqa: S310
                return response.status, response.read()
        except urllib.error.HTTPError as error:
            with error:
                return error.code, error.read()

    def _ask(self, path: str, body: dict[str, Any]) -> dict[str, Any]:
        status, answer = self._forward("POST", path, json.dumps(body).encode(), "application/json")
        if status != 200:
            raise _RefusedError(answer.decode())
        return json.loads(answer)  # type: ignore[no-any-return]

    def _hits(self, path: str, query: dict[str, Any], source: Any) -> Iterator[dict[str, Any]]:
        body = {"size": PAGE, "query": query, "_source": source, "sort": [{"image_id": "asc"}]}
        while hits := self._ask(path, body)["hits"]["hits"]:
            yield from hits
            body["search_after"] = hits[-1]["sort"]

    def _matching(self, path: str, query: dict[str, Any]) -> frozenset[str]:
        """The ids of the documents that fulfil a query, as osmem says."""
        key = path + json.dumps(query, sort_keys=True)
        if key not in self._ids:
            self._ids[key] = frozenset(hit["_id"] for hit in self._hits(path, query, False))
        return self._ids[key]

    def _allowed(self, path: str, condition: dict[str, Any]) -> frozenset[str]:
        parts = condition.get("bool")
        if set(condition) != {"bool"} or set(parts) - {"filter", "must_not"}:
            return self._matching(path, condition)
        left = self._matching(path, {"match_all": {}})
        for part in parts.get("filter", []):
            left &= self._matching(path, part)
        for part in parts.get("must_not", []):
            left -= self._matching(path, part)
        return left

    def _all_vectors(self, path: str, field: str) -> tuple[list[str], NDArray[np.float64]]:
        if (path, field) not in self._vectors:
            hits = [hit for hit in self._hits(path, {"match_all": {}}, [field]) if hit["_source"].get(field)]
            vectors = np.array([hit["_source"][field] for hit in hits], np.float16).astype(np.float64)
            self._vectors[path, field] = [hit["_id"] for hit in hits], vectors
        return self._vectors[path, field]

    def _similar(self, path: str, search: dict[str, Any]) -> dict[str, Any]:
        query = search["query"]
        if "knn" in query:
            ((field, near),) = query["knn"].items()
            _only(near, {"vector", "k", "filter", "method_parameters"}, {"vector", "k"})
            _only(near.get("method_parameters", {}), {"ef_search"}, set())
            vector, k, condition = near["vector"], near["k"], near.get("filter", {"match_all": {}})
            if not 1 <= k <= 10_000:
                raise _RefusedError("[knn] requires 0 < k <= 10000")
        else:
            script = query["script_score"]["script"]
            _only(script, {"source", "lang", "params"}, {"source", "lang", "params"})
            _only(script["params"], {"field", "query_value", "space_type"}, {"field", "query_value", "space_type"})
            if (script["source"], script["lang"], script["params"]["space_type"]) != ("knn_score", "knn", "cosinesimil"):
                raise _RefusedError("unknown script")
            field, vector, k = script["params"]["field"], script["params"]["query_value"], search["size"]
            condition = query["script_score"]["query"]
        self._check_mapping(path, field, vector)
        ids, vectors = self._all_vectors(path, field)
        allowed = self._allowed(path, condition)
        rows = [at for at, image_id in enumerate(ids) if image_id in allowed]
        unit = np.asarray(vector, np.float64) / np.linalg.norm(vector)
        cosines = vectors[rows] @ unit / np.linalg.norm(vectors[rows], axis=1) if rows else np.zeros(0)
        best = [(ids[rows[at]], float(cosines[at])) for at in np.argsort(-cosines, kind="stable")[: min(k, search["size"])]]
        answer = self._ask(path, {**search, "query": {"ids": {"values": [image_id for image_id, _ in best]}}})
        found = {hit["_id"]: hit for hit in answer["hits"]["hits"]}
        answer["hits"]["hits"] = [{**found[image_id], "_score": (1 + cosine) / 2} for image_id, cosine in best]
        return answer

    def _check_mapping(self, path: str, field: str, vector: list[float]) -> None:
        index = path.strip("/").partition("/")[0]
        status, answer = self._forward("GET", f"/{index}/_mapping", b"", "")
        mapping = json.loads(answer)[index]["mappings"]["properties"].get(field, {}) if status == 200 else {}
        if mapping.get("type") != "knn_vector" or mapping["dimension"] != len(vector):
            raise _RefusedError(f"[knn] field {field} is no vector of {len(vector)} dimensions")


class _RefusedError(Exception):
    """OpenSearch would refuse the request."""


def _only(given: dict[str, Any], known: set[str], needed: set[str]) -> None:
    if set(given) - known or needed - set(given):
        raise _RefusedError(f"[knn] unknown or missing keys: {sorted(set(given) ^ needed)}")
