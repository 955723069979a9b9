"""Maintenance of the search store in OpenSearch: space of deleted documents, and recall and duplicates on the live data."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from opensearchpy import OpenSearch

from dicom_workflow.search.store.opensearch.queries import SAMPLES, Body, embedded_field, image_condition, vector_field
from dicom_workflow.search.store.opensearch.vectors import StoredSpace, count, nearest
from dicom_workflow.search.store.protocol import Maintenance

RECALL_AT = 10
QUERIES, COMPARED = 50, 4_000_000
"""Images of a recall sample, and most vectors that all of its exact searches together read."""
CLUSTER = 5_000
"""Most images of the filter that follows a cluster."""
_MERGE_SECONDS = 3_600
_EVERYTHING: Body = {"match_all": {}}


def maintain(client: OpenSearch, images: str, reports: str, spaces: list[StoredSpace]) -> Maintenance:
    """Merge segments that hold deleted documents, and measure; others may read and write meanwhile.

    Parameters
    ----------
    client : OpenSearch
        Of the store.
    images : str
        Index of the images.
    reports : str
        Index of the reports.
    spaces : list of StoredSpace
        The one that serves first.
    """
    both = f"{images},{reports}"
    before = _bytes(client, both)
    client.indices.forcemerge(index=both, params={"only_expunge_deletes": "true"}, request_timeout=_MERGE_SECONDS)
    client.indices.refresh(index=both)
    return Maintenance(
        images=count(client, images, _EVERYTHING),
        reports=count(client, reports, _EVERYTHING),
        embeddings={stored.space.space_id: count(client, images, _embedded(stored)) for stored in spaces},
        duplicate_images=_duplicates(client, images, "image_id"),
        duplicate_reports=_duplicates(client, reports, "report_id"),
        recall=_recall(client, images, spaces[0]) if spaces else {},
        bytes_before=before,
        bytes_after=_bytes(client, both),
    )


def _embedded(stored: StoredSpace) -> Body:
    return {"term": {embedded_field(stored.number): {"value": True}}}


def _bytes(client: OpenSearch, index: str) -> int:
    return int(client.indices.stats(index=index, metric="store")["_all"]["primaries"]["store"]["size_in_bytes"])


def _duplicates(client: OpenSearch, index: str, key: str) -> int:
    """Return how many documents have the key of another one."""
    body = {"size": 0, "aggs": {"twice": {"terms": {"field": key, "size": 1_000, "min_doc_count": 2}}}}
    buckets = client.search(index=index, body=body)["aggregations"]["twice"]["buckets"]
    return sum(int(bucket["doc_count"]) - 1 for bucket in buckets)


def _recall(client: OpenSearch, index: str, stored: StoredSpace) -> dict[str, float]:
    """Return recall@10 for sampled images as queries, without a filter and with filters of three kinds."""
    rows = count(client, index, _embedded(stored))
    if not rows:
        return {}
    wanted = min(rows, QUERIES, max(5, COMPARED // rows)) + 1
    body = {"size": wanted, "query": _embedded(stored), "sort": [{"sample": "asc"}, {"image_id": "asc"}]}
    hits = client.search(index=index, body={**body, "_source": ["image_id", vector_field(stored.number)]})["hits"]["hits"]
    sources = [hit["_source"] for hit in hits]
    queries = [(source["image_id"], np.array(source[vector_field(stored.number)], np.float32)) for source in sources]
    center, queries = queries[0], queries[1:] or queries
    filters: dict[str, list[Body]] = {
        "none": [],
        "30 %": [{"range": {"sample": {"lt": int(0.3 * SAMPLES)}}}],
        "1 %": [{"range": {"sample": {"lt": int(0.01 * SAMPLES)}}}],
        "one cluster": [_cluster(client, index, stored, center[1], rows)],
    }
    recall = {}
    for name, filtered in filters.items():
        found = expected = 0
        for image_id, vector in queries:
            condition = image_condition(None, stored.number, [image_id], [])
            condition["bool"]["filter"] += filtered
            exact = nearest(client, index, stored, vector, RECALL_AT, condition, exact=True)
            near = nearest(client, index, stored, vector, RECALL_AT, condition)
            true = {source["image_id"] for source, _ in exact.hits}
            found += len(true & {source["image_id"] for source, _ in near.hits})
            expected += len(true)
        recall[name] = found / expected if expected else 1.0
    return recall


def _cluster(client: OpenSearch, index: str, stored: StoredSpace, center: NDArray[np.float32], rows: int) -> Body:
    """Return the condition that an image is one of the nearest to some image: about one in eighty."""
    size = max(1, min(rows // 80, CLUSTER))
    members = nearest(client, index, stored, center, size, image_condition(None, stored.number, [], []), exact=True)
    return {"terms": {"image_id": [source["image_id"] for source, _ in members.hits]}}
