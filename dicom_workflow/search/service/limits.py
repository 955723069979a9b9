"""Limits of the search service: what a request may ask for, and what an upload may be."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from graphql import (
    DocumentNode,
    FieldNode,
    FragmentDefinitionNode,
    FragmentSpreadNode,
    GraphQLError,
    InlineFragmentNode,
    OperationDefinitionNode,
    SelectionSetNode,
)
from strawberry.extensions import SchemaExtension

from dicom_workflow.errors import RecordError
from dicom_workflow.search.query import MAX_FIRST, MAX_K

MAX_FACET_FIELDS = 30
MAX_FACET_VALUES = 100


@dataclass(frozen=True)
class Limits:
    """What one request may cost. A request beyond a limit is refused before any of it is done."""

    depth: int = 12
    """Nested selections of a query."""
    aliases: int = 30
    """The page's largest query has 12."""
    spreads: int = 200
    """Fragments of a query, each counted as often as it is spread."""
    tokens: int = 2000
    body_bytes: int = 256 * 1024
    """Of a query; a thousand values of a filter are about 70 kB."""
    upload_bytes: int = 128 * 2**20
    """Of a DICOM file: a 24 megapixel mammogram has 48 MB uncompressed."""
    upload_pixels: int = 50_000_000
    """The largest detectors have 24 megapixels."""
    uploads: int = 64
    """Kept at a time."""
    uploads_of_one: int = 8
    """Of one person, whose oldest goes first."""
    uploads_bytes: int = 512 * 2**20
    """Kept at a time."""
    upload_seconds: float = 1800.0
    """How long an upload can be searched with."""
    body_seconds: float = 60.0
    """For a body to arrive."""
    answer_seconds: float = 30.0
    """For the answer to a query."""
    drain_seconds: float = 25.0
    """For requests under way after SIGTERM; a container is killed after 30 seconds."""
    concurrency: int = 200
    """Connections at a time."""
    searches: int = 64
    """Of one request: similar images, cases and facets, wherever they are nested."""
    images: int = 10_000
    """In one answer; the page's largest has 30 similar images with all studies of their patients."""
    similarity_maps: int = 4
    """Of one request."""


class SelectionLimiter(SchemaExtension):
    """Refuses a query that is nested too deeply, or has too many aliases or fragments, before it is validated.

    A fragment is measured once, however often it is spread: rules that expand it each time, as those of the libraries do, take
    twice as long with every fragment of a chain in which each spreads the next one twice.
    """

    def __init__(self, limits: Limits) -> None:
        self._limits = limits

    def on_validate(self) -> Iterator[None]:
        """Set the errors, with which no other rule is asked."""
        document = self.execution_context.graphql_document
        message = _beyond(document, self._limits) if document else ""
        if message:
            self.execution_context.pre_execution_errors = [GraphQLError(message)]
        yield


def _beyond(document: DocumentNode, limits: Limits) -> str:
    """Return what a document has too much of; empty if nothing."""
    fragments = {node.name.value: node for node in document.definitions if isinstance(node, FragmentDefinitionNode)}
    measured: dict[str, tuple[int, int, int]] = {}

    def measure(selected: SelectionSetNode | None) -> tuple[int, int, int]:
        """Return depth, aliases and spreads, all fragments expanded."""
        depth = aliases = spreads = 0
        for node in selected.selections if selected else ():
            if isinstance(node, FragmentSpreadNode):
                name = node.name.value
                if name not in measured:
                    measured[name] = 0, 0, 0  # until it is: a circle of fragments is refused by the validation
                    measured[name] = measure(fragments[name].selection_set if name in fragments else None)
                below, inner_aliases, inner_spreads = measured[name]
                inner_spreads += 1
            elif isinstance(node, FieldNode | InlineFragmentNode):
                below, inner_aliases, inner_spreads = measure(node.selection_set)
                if isinstance(node, FieldNode):
                    inner_aliases += node.alias is not None
                    # A leaf adds no depth; introspection has a limit of its own in the validation.
                    below = 0 if node.name.value.startswith("__") else below + (node.selection_set is not None)
            depth, aliases, spreads = max(depth, below), aliases + inner_aliases, spreads + inner_spreads
        return depth, aliases, spreads

    found = [measure(node.selection_set) for node in document.definitions if isinstance(node, OperationDefinitionNode)]
    depth = max((each[0] for each in found), default=0)
    aliases, spreads = sum(each[1] for each in found), sum(each[2] for each in found)
    if depth > limits.depth:
        return f"The query exceeds maximum operation depth: expected at most {limits.depth}, got {depth}. Ask in two queries."
    if aliases > limits.aliases:
        return f"{aliases} aliases found, expected at most {limits.aliases}. Ask in two queries."
    if spreads > limits.spreads:
        return (
            f"{spreads} fragments found, expected at most {limits.spreads}, each as often as it is spread. Ask in two queries."
        )
    return ""


def checked_k(k: int) -> int:
    """Return a number of images.

    Raises
    ------
    RecordError
        Below 1 or above `MAX_K`.
    """
    return _within("k", k, MAX_K, "Ask for fewer, or narrow the search with a filter.")


def checked_first(first: int) -> int:
    """Return a number of reports.

    Raises
    ------
    RecordError
        Below 1 or above `MAX_FIRST`.
    """
    return _within("first", first, MAX_FIRST, "Ask for the next page with `after`.")


def checked_size(size: int) -> int:
    """Return a number of values of a facet.

    Raises
    ------
    RecordError
        Below 1 or above `MAX_FACET_VALUES`.
    """
    return _within("size", size, MAX_FACET_VALUES, "Narrow the search to see others.")


def checked_fields(fields: Sequence[str]) -> list[str]:
    """Return the fields of facets, each once.

    Raises
    ------
    RecordError
        More than `MAX_FACET_FIELDS`.
    """
    if len(fields) > MAX_FACET_FIELDS:
        raise RecordError(f"expected at most {MAX_FACET_FIELDS} fields of facets, got {len(fields)}. Ask for fewer.")
    return list(dict.fromkeys(fields))


def _within(name: str, value: int, most: int, step: str) -> int:
    if not 1 <= value <= most:
        raise RecordError(f"expected {name} from 1 to {most}, got {value}. {step}")
    return value
