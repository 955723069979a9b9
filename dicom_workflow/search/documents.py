"""What the search index holds: images, the reports of their studies, and the findings that the reports state."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from dicom_workflow.errors import RecordError
from dicom_workflow.formats.json_schema import shown
from dicom_workflow.formats.labels import LabelSet, default_label_set

State = Literal["positive", "negative", "uncertain", "history", "family", "hypothetical"]
"""What a report says of a finding. Only the first three are about this patient now; facets and filters use these."""
Kind = Literal["sign", "diagnosis", "symptom"]

STATES: tuple[State, ...] = ("positive", "negative", "uncertain")
KINDS: tuple[Kind, ...] = ("sign", "diagnosis", "symptom")
SECTIONS = ("examination", "indication", "technique", "comparison", "findings", "impression")
"""The sections of a report, in the order in which they are stored and shown."""


@dataclass(frozen=True)
class Finding:
    """One mention of a finding in a report, with the sentence that states it.

    `begin` and `end` are offsets in code points of the report's whole text, so ``text[begin:end]`` is the mention; likewise
    for the sentence. `concept` is the name in the lexicon, `code` a leaf of ICD-10-CM.
    """

    concept: str
    state: State
    kind: Kind
    code: str
    code_text: str
    begin: int
    end: int
    sentence_begin: int
    sentence_end: int
    section: str = ""
    laterality: str = ""
    """``left``, ``right``, ``bilateral`` or empty."""
    label: str = ""
    """The label of the label set that this concept is evidence for, or empty."""


@dataclass(frozen=True)
class ReportDocument:
    """One radiology report: its text, its sections and what it states."""

    report_id: str
    text: str
    patient_key: str = ""
    """Salted hash of the patient id: equal for the reports and images of one patient, and tells nothing else."""
    study_instance_uid: str = ""
    study_date: str = ""
    """``YYYYMMDD`` or empty (PS3.5 6.2, DA)."""
    sections: Mapping[str, str] = field(default_factory=dict)
    """Section → its text; the keys are of `SECTIONS`. A report without headings has the single section ``findings``."""
    findings: tuple[Finding, ...] = ()
    language_model: str = ""
    """Name and version of what read the findings out of the text."""

    def concepts(self, state: State, kind: Kind | None = None) -> list[str]:
        """Return the concepts stated so, without repetition, in the order of the text."""
        stated = (found for found in self.findings if found.state == state and kind in (None, found.kind))
        return list(dict.fromkeys(found.concept for found in stated))

    def codes(self, state: State) -> list[str]:
        """Return the ICD-10-CM codes stated so, without repetition, in the order of the text."""
        return list(dict.fromkeys(found.code for found in self.findings if found.state == state and found.code))

    def label_states(self, label_set: LabelSet | None = None) -> dict[str, State]:
        """Return label → state: positive before uncertain before negative, where sentences differ.

        A label that the set declares exclusive ("No Finding") has a state by that rule: positive where the report states no
        other label positive or uncertain but those that may stand beside it; a report that states nothing says nothing of it.

        Parameters
        ----------
        label_set : LabelSet, optional
            The chest label set when not given.
        """
        rules = label_set or default_label_set()
        states: dict[str, State] = {}
        for state in ("negative", "uncertain", "positive"):
            states |= {found.label: state for found in self.findings if found.label and found.state == state}
        states = {label: states[label] for label in rules.labels if label in states}
        for exclusive, beside in rules.exclusive.items():
            others = {state for label, state in states.items() if label not in (exclusive, *beside)}
            if "positive" in others:
                states[exclusive] = "negative"
            elif "uncertain" in others:
                states[exclusive] = "uncertain"
            elif any(found.state == "negative" for found in self.findings):
                states[exclusive] = "positive"
        return states


@dataclass(frozen=True)
class ImageDocument:
    """One image: its identity, where it is, and what filters and facets need. Its embeddings are stored beside it.

    Identity is the SOP Instance UID. `labels_*` and `codes_positive` are those of its report, kept here so that a search
    for similar images can be narrowed to what the reports state.
    """

    image_id: str
    study_instance_uid: str = ""
    series_instance_uid: str = ""
    report_id: str = ""
    patient_key: str = ""
    study_date: str = ""
    modality: str = ""
    view_position: str = ""
    body_part: str = ""
    laterality: str = ""
    sex: str = ""
    rows: int = 0
    columns: int = 0
    sha256: str = ""
    """Of the DICOM file: the same image sent again is not read again; a changed one is."""
    source: str = ""
    """What a manifest line says of it: a URI, or a resource path in the archive (`formats.object_reference`)."""
    split: str = ""
    labels_positive: tuple[str, ...] = ()
    labels_negative: tuple[str, ...] = ()
    labels_uncertain: tuple[str, ...] = ()
    codes_positive: tuple[str, ...] = ()


@dataclass(frozen=True)
class EmbeddingSpace:
    """Which network made an embedding. Embeddings of two spaces are never compared.

    `space_id` is `Bundle.embedding_space` (weights hash and preprocessing version), or the SHA-256 of a file of external
    vectors.
    """

    space_id: str
    dimensions: int
    description: str = ""


@dataclass(frozen=True)
class Embeddings:
    """Embeddings of one space for some images: `vectors` has shape (len(image_ids), dimensions), dtype float32, unit length."""

    space_id: str
    image_ids: tuple[str, ...]
    vectors: NDArray[np.float32]

    @classmethod
    def of(cls, space: EmbeddingSpace, image_ids: Iterable[str], vectors: NDArray[Any]) -> Embeddings:
        """Return the vectors with unit length.

        Parameters
        ----------
        space : EmbeddingSpace
            Where the vectors come from.
        image_ids : iterable of str
            One a vector.
        vectors : ndarray, shape (n, dimensions), any float dtype
            Any length but zero.

        Raises
        ------
        RecordError
            Another shape, or a vector that is zero, infinite or not a number.
        """
        ids, given = tuple(image_ids), np.asarray(vectors, np.float32)
        if given.shape != (len(ids), space.dimensions):
            raise RecordError(
                f"expected {len(ids)} vectors of {space.dimensions} numbers for the embedding space {space.space_id}, "
                f"got an array of shape {given.shape}. Compute the embeddings again with the model of this space."
            )
        length = np.linalg.norm(given.astype(np.float64), axis=1)
        for image_id, size in zip(ids, length, strict=True):
            if not (np.isfinite(size) and size > 0):
                raise RecordError(
                    f"image {shown(image_id)}: its embedding is {'zero' if size == 0 else 'not finite'}, "
                    "so it has no direction to compare. Compute it again, or leave the image out."
                )
        return cls(space.space_id, ids, (given / length[:, None]).astype(np.float32))
