"""Documents in OpenSearch: what is written, in requests of bounded size, and what is read back."""

from __future__ import annotations

import json
import time
import zlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from opensearchpy import OpenSearch

from dicom_workflow.errors import RecordError
from dicom_workflow.formats.json_schema import shown
from dicom_workflow.search.documents import ImageDocument, ReportDocument
from dicom_workflow.search.query import REPORT_FILTERS, Bucket, Facet
from dicom_workflow.search.store.opensearch.client import failure
from dicom_workflow.search.store.opensearch.queries import SAMPLES, Body, embedded_field, facets_body, vector_field
from dicom_workflow.search.store.records import batches, report_json, report_lists
from dicom_workflow.search.store.text_query import stems_of

REQUEST_BYTES = 5 * 2**20
"""Of one bulk request; the smallest instances of Amazon OpenSearch Service take 10 MiB."""
MAX_INDEXED_CHARACTERS = 1_000_000
"""Of a report, from its beginning; the rest is stored and not searched."""
REQUEST_DOCUMENTS = 500
PAGE = 1_000
"""Documents of one answer of a scan."""
ATTEMPTS = 6
_RETRY_SECONDS = 0.2
SHARD_BUCKETS, MOST_BUCKETS = 500, 65_000
"""Values that a shard reports for a facet, at first, and when these were too few for exact counts."""
_DECIMALS = 7
"""Of the numbers of a vector of unit length: finer than half precision, in which they are indexed."""
_AGAIN = (409, 429, 503)

Operation = tuple[Body, Body | None]


def image_source(image: ImageDocument) -> Body:
    """Return what is stored of an image. Empty values are null, so that an update removes an earlier value."""
    values = {name: getattr(image, name) for name in ImageDocument.__dataclass_fields__}
    source = {name: list(value) if isinstance(value, tuple) else value for name, value in values.items()}
    for name, value in source.items():
        if value in ("", []):
            source[name] = None
    sample = zlib.crc32(image.image_id.encode("utf-8", "surrogatepass")) % SAMPLES
    return source | {"study_date": image.study_date, "sample": sample}


def vector_source(number: int, vector: NDArray[np.float32]) -> Body:
    """Return what is stored of the vector, shape (dimensions,), float32, of an image in the space of that number."""
    return {vector_field(number): np.round(vector.astype(np.float64), _DECIMALS).tolist(), embedded_field(number): True}


def report_source(report: ReportDocument) -> Body:
    """Return what is stored of a report: columns of filters, the document itself, and the words of its text."""
    columns: Body = {name: getattr(report, name) for name in REPORT_FILTERS if hasattr(report, name)} | report_lists(report)
    # An empty date is kept: reports are ordered by it.
    kept = {name: value for name, value in columns.items() if value or name == "study_date"}
    return {**kept, "document": report_json(report), "words": " ".join(stems_of(report.text[:MAX_INDEXED_CHARACTERS]))}


def upsert(index: str, key: str, source: Body) -> Operation:
    """Return the operation that inserts a document or replaces these fields of it.

    Parameters
    ----------
    index : str
        Its index.
    key : str
        Its id.
    source : dict
        The fields.
    """
    return {"update": {"_index": index, "_id": key, "retry_on_conflict": 5}}, {"doc": source, "doc_as_upsert": True}


def write(client: OpenSearch, url: str, operations: Iterable[Operation], *, missing: bool = False) -> int:
    """Send operations in requests of bounded size, and return how many changed or confirmed a document.

    What the cluster is too busy for, or what another process changed at the same moment, is sent again.

    Parameters
    ----------
    client : OpenSearch
        Of the store.
    url : str
        For messages.
    operations : iterable of Operation
        With their documents.
    missing : bool
        Operations on documents that are not there are not counted, instead of being an error.

    Raises
    ------
    RecordError
        Documents were refused; the others are written.
    SearchStoreError
        The cluster refuses to write.
    """
    done = 0
    refused: list[tuple[str, int, str]] = []
    for request in _requests(operations):
        waiting = request
        for attempt in range(ATTEMPTS):
            body = b"".join(_line(part) for operation in waiting for part in operation if part is not None)
            items = [next(iter(item.values())) for item in client.bulk(body=body)["items"]]
            again = []
            for operation, item in zip(waiting, items, strict=True):
                status = int(item["status"])
                if status in _AGAIN and attempt < ATTEMPTS - 1:
                    again.append(operation)
                elif status < 300:
                    done += 1
                elif not (missing and status == 404):
                    refused.append((str(item["_id"]), status, str(item.get("error", {}).get("type", ""))))
            waiting = again
            if not waiting:
                break
            time.sleep(_RETRY_SECONDS * 2**attempt)
    if refused:
        key, status, kind = refused[0]
        error = failure(url, status, kind)
        if isinstance(error, RecordError):
            others = f", and {len(refused) - 1} more," if len(refused) > 1 else ""
            raise RecordError(f"{shown(key)}{others} not written: {error} The other documents are written.")
        raise error
    return done


def _line(part: Body) -> bytes:
    """Return a line of a bulk request; half a surrogate pair, which no UTF-8 can hold, becomes a question mark."""
    return json.dumps(part, ensure_ascii=False).encode("utf-8", "replace") + b"\n"


def _requests(operations: Iterable[Operation]) -> Iterator[list[Operation]]:
    """Return the operations in lists that make requests of bounded size."""
    request: list[Operation] = []
    size = 0
    for operation in operations:
        length = len(json.dumps(operation[1])) if operation[1] else 0
        if request and (size + length > REQUEST_BYTES or len(request) == REQUEST_DOCUMENTS):
            yield request
            request, size = [], 0
        request.append(operation)
        size += length
    if request:
        yield request


def read(client: OpenSearch, index: str, keys: Sequence[str], source: Mapping[str, Any] | Sequence[str]) -> dict[str, Body]:
    """Return id → fields of the documents that are there, as they are now.

    Parameters
    ----------
    client : OpenSearch
        Of the store.
    index : str
        Of the documents.
    keys : sequence of str
        Their ids.
    source : mapping or sequence of str
        Which fields.
    """
    found: dict[str, Body] = {}
    for batch in batches(dict.fromkeys(keys), PAGE):
        answer = client.mget(body={"docs": [{"_index": index, "_id": key, "_source": source} for key in batch]})
        found |= {item["_id"]: item["_source"] for item in answer["docs"] if item.get("found")}
    return found


def scan(client: OpenSearch, index: str, key: str, query: Body, source: Mapping[str, Any] | Sequence[str]) -> Iterator[Body]:
    """Return the fields of all documents of a query, in the order of a key.

    Parameters
    ----------
    client : OpenSearch
        Of the store.
    index : str
        Of the documents.
    key : str
        A field with a different value in each.
    query : dict
        Which documents.
    source : mapping or sequence of str
        Which fields.
    """
    body: Body = {"size": PAGE, "query": query, "sort": [{key: "asc"}], "_source": source, "track_total_hits": False}
    while True:
        hits = client.search(index=index, body=body)["hits"]["hits"]
        yield from (hit["_source"] for hit in hits)
        if len(hits) < PAGE:
            return
        body["search_after"] = hits[-1]["sort"]


def facets(client: OpenSearch, index: str, query: Body, names: Sequence[str], size: int) -> dict[str, Facet]:
    """Return the most frequent values of fields. Shards are asked for more where the first answer was not enough to be exact.

    Parameters
    ----------
    client : OpenSearch
        Of the store.
    index : str
        Of the documents.
    query : dict
        Which ones count.
    names : sequence of str
        The fields.
    size : int
        Most values of a field.
    """
    found: dict[str, Facet] = {}
    for shard_size in (max(SHARD_BUCKETS, size), MOST_BUCKETS):
        missing = [name for name in names if name not in found or not found[name].exact]
        if not missing:
            break
        answer = client.search(index=index, body=facets_body(query, missing, size, shard_size))["aggregations"]
        for name in missing:
            buckets = tuple(Bucket(str(item["key"]), int(item["doc_count"])) for item in answer[name]["buckets"])
            found[name] = Facet(name, buckets, exact=answer[name].get("doc_count_error_upper_bound", 0) == 0)
    return {name: found[name] for name in names}
