"""Bodies of requests to OpenSearch: mappings, filters, words, similar images and facets. Every value is a JSON value."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import fields
from typing import Any

from dicom_workflow.errors import RecordError
from dicom_workflow.search.documents import ImageDocument
from dicom_workflow.search.query import IMAGE_FILTERS, REPORT_FILTERS, And, AnyOf, FieldType, Or, Range, ReportQuery, Where
from dicom_workflow.search.store.records import check_where, decoded_cursor
from dicom_workflow.search.store.text_query import parse_text

Body = dict[str, Any]

M, EF_CONSTRUCTION, EF_SEARCH = 16, 128, 128
LIKE_TERMS = 12
MAX_RANKED = 10_000
"""Reports that can be paged through by rank (``index.max_result_window``)."""
MAX_DIMENSIONS = 16_000
"""Of a knn_vector."""
SAMPLES = 1_000
"""`sample` is a number below it that each image has by its id: a filter of any share, for measuring recall."""
_INTEGERS = ("rows", "columns")
_STORED = {"type": "object", "enabled": False}


def index_settings(*, vectors: bool) -> Body:
    """Return the settings of an index; the words of a text are separated by spaces when they arrive."""
    analysis = {"analyzer": {"words": {"type": "custom", "tokenizer": "whitespace"}}}
    return {"index": {"analysis": analysis, **({"knn": True} if vectors else {})}}


def image_mapping() -> Body:
    """Return the mapping of images. Their vectors come with their spaces (`vector_mapping`)."""
    properties: Body = {item.name: {"type": "keyword"} for item in fields(ImageDocument)}
    properties |= {name: {"type": "integer"} for name in _INTEGERS}
    properties |= {name: {"type": "keyword", "index": False, "doc_values": False} for name in ("sha256", "source")}
    return {"dynamic": "strict", "properties": properties | {"sample": {"type": "integer"}}}


def report_mapping() -> Body:
    """Return the mapping of reports: columns of filters, the document as it was given, and its words."""
    properties: Body = {name: {"type": "keyword"} for name in REPORT_FILTERS}
    words = {"type": "text", "analyzer": "words", "term_vector": "yes"}
    return {"dynamic": "strict", "properties": properties | {"document": _STORED, "words": words}}


def store_mapping() -> Body:
    """Return the mapping of the one document that describes the store."""
    return {"dynamic": "strict", "properties": {"version": {"type": "integer"}, "spaces": _STORED}}


def vector_mapping(number: int, dimensions: int) -> Body:
    """Return the mapping of the vectors of the space of that number: half precision, HNSW."""
    encoder = {"name": "sq", "parameters": {"type": "fp16"}}
    parameters = {"m": M, "ef_construction": EF_CONSTRUCTION, "encoder": encoder}
    method = {"name": "hnsw", "engine": "faiss", "parameters": parameters}
    vector = {"type": "knn_vector", "dimension": dimensions, "space_type": "cosinesimil", "method": method}
    return {"properties": {vector_field(number): vector, embedded_field(number): {"type": "boolean"}}}


def vector_field(number: int) -> str:
    """Return the field with the vectors of the space of that number."""
    return f"vector_{number:d}"


def embedded_field(number: int) -> str:
    """Return the field that says whether an image has such a vector."""
    return f"embedded_{number:d}"


def filter_query(where: Where | None, filters: Mapping[str, FieldType]) -> Body:
    """Return the query of a filter.

    Parameters
    ----------
    where : Where or None
        Its fields are of `filters`.
    filters : mapping
        `IMAGE_FILTERS` or `REPORT_FILTERS`.
    """
    match where:
        case None:
            return {"match_all": {}}
        case And(parts):
            return {"bool": {"filter": [filter_query(part, filters) for part in parts]}} if parts else {"match_all": {}}
        case Or(parts):
            options = [filter_query(part, filters) for part in parts]
            return {"bool": {"should": options, "minimum_should_match": 1}} if parts else {"match_none": {}}
        case AnyOf(name, values):
            given = [value for value in values if value != ""]  # an empty text is no value
            return {"terms": {name: given}} if given else {"match_none": {}}
        case Range(name, low, high):
            limits = {word: at for word, at in (("gte", low), ("lte", high)) if at is not None}
            if filters[name] != "integer":
                limits = {"gt": "", **limits} if low is None else limits
            return {"range": {name: limits}} if limits else {"match_all": {}}
        case _:
            return {"bool": {"must_not": [filter_query(where.part, filters)]}}


def report_query(query: ReportQuery, reports_index: str) -> Body:
    """Return the query for reports: words and likeness are scored, filters are not.

    Parameters
    ----------
    query : ReportQuery
        All its parts have to match.
    reports_index : str
        Where the report is that others should be like.

    Raises
    ------
    RecordError
        An unknown field, or too many words.
    """
    scored: list[Body] = []
    if query.text.strip():
        for part in parse_text(query.text):
            scored.append({"match_phrase" if len(part) > 1 else "match": {"words": {"query": " ".join(part)}}})
        if not scored:
            return {"match_none": {}}
    if query.like:
        like = {"_index": reports_index, "_id": query.like}
        limits = {"min_term_freq": 1, "min_doc_freq": 1, "max_query_terms": LIKE_TERMS, "minimum_should_match": "1"}
        scored.append({"more_like_this": {"fields": ["words"], "like": [like], **limits}})
    kept = [filter_query(check_where(query.where, REPORT_FILTERS), REPORT_FILTERS)] if query.where else []
    if query.report_ids is not None:
        kept.append({"terms": {"report_id": list(query.report_ids)}} if query.report_ids else {"match_none": {}})
    if not scored and not kept:
        return {"match_all": {}}
    return {"bool": {**({"must": scored} if scored else {}), **({"filter": kept} if kept else {})}}


def page_body(first: int, cursor: str, *, ranked: bool) -> Body:
    """Return the part of a search for reports that says which page.

    By rank, a page is found by the number of reports before it: a score is rounded on its way, so that the last one of a page
    could not be found again. By date, it begins after the last report of the page before.

    Parameters
    ----------
    first : int
        Reports of a page; one more is asked for, to know whether there is another page.
    cursor : str
        Of the page before, or empty.
    ranked : bool
        The best report first, instead of the newest study.

    Raises
    ------
    RecordError
        The text is no cursor, or the page is beyond the reports that OpenSearch ranks.
    """
    body: Body = {"size": first + 1, "sort": [{"_score" if ranked else "study_date": "desc"}, {"report_id": "asc"}]}
    if not cursor:
        return body
    if not ranked:
        return body | {"search_after": decoded_cursor(cursor, (str, str))}
    (before,) = decoded_cursor(cursor, (int,))
    if not 0 < before <= MAX_RANKED - first - 1:
        raise RecordError(f"OpenSearch ranks {MAX_RANKED} reports. Narrow the query with more words or a filter.")
    return body | {"from": before}


def image_condition(where: Where | None, number: int, left_out_ids: Sequence[str], left_out_patients: Sequence[str]) -> Body:
    """Return the condition on images that may be hits.

    Parameters
    ----------
    where : Where or None
        The filter.
    number : int
        Of the space in which they have a vector.
    left_out_ids : sequence of str
        Images that may not be hits.
    left_out_patients : sequence of str
        Patients whose images may not be hits.
    """
    kept: list[Body] = [{"term": {embedded_field(number): {"value": True}}}]
    if where is not None:
        kept.append(filter_query(where, IMAGE_FILTERS))
    out: list[Body] = [{"terms": {"image_id": list(left_out_ids)}}] if left_out_ids else []
    out += [{"terms": {"patient_key": list(left_out_patients)}}] if left_out_patients else []
    return {"bool": {"filter": kept, **({"must_not": out} if out else {})}}


def nearest_body(number: int, vector: Sequence[float], k: int, condition: Body, *, exact: bool) -> Body:
    """Return the search for the nearest images: over the HNSW index, or comparing all that fulfil the condition.

    Parameters
    ----------
    number : int
        Of the space.
    vector : sequence of float
        The query.
    k : int
        How many images.
    condition : dict
        `image_condition`.
    exact : bool
        Compare them all.
    """
    if exact:
        parameters = {"field": vector_field(number), "query_value": vector, "space_type": "cosinesimil"}
        script = {"source": "knn_score", "lang": "knn", "params": parameters}
        return {"size": k, "query": {"script_score": {"query": condition, "script": script}}}
    near = {"vector": vector, "k": k, "method_parameters": {"ef_search": max(EF_SEARCH, k)}, "filter": condition}
    return {"size": k, "query": {"knn": {vector_field(number): near}}}


def facets_body(query: Body, names: Sequence[str], size: int, shard_size: int) -> Body:
    """Return the search for the most frequent values of fields, equal counts by value.

    Parameters
    ----------
    query : dict
        Which documents count.
    names : sequence of str
        The fields.
    size : int
        Most values of a field.
    shard_size : int
        Values that each shard reports; the counts are exact when these are all it has, or enough of them.
    """
    order = [{"_count": "desc"}, {"_key": "asc"}]
    facets = {name: {"terms": {"field": name, "size": size, "shard_size": shard_size, "order": order}} for name in names}
    return {"size": 0, "query": query, "aggs": facets}
