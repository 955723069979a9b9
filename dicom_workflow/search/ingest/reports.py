"""Reports go into a search store and are linked to their images, whichever of the two comes first.

An image carries the labels and codes of its report, so that a search for similar images can be narrowed by them. When a report
comes, or what it states changes, the images of the index that belong to it are written again, without being decoded.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace

from dicom_workflow.errors import ReportError
from dicom_workflow.search.documents import ImageDocument, ReportDocument, State
from dicom_workflow.search.image_documents import ExaminedImage
from dicom_workflow.search.ingest.ingest_report import IngestReport, Outcome
from dicom_workflow.search.ingest.report_files import ReportFile
from dicom_workflow.search.ingest.report_links import ReportLinks
from dicom_workflow.search.ingest.store_writes import chunks, write_with_retry
from dicom_workflow.search.patient_keys import PENDING, PatientKeys
from dicom_workflow.search.query import AnyOf, ReportQuery
from dicom_workflow.search.radiology_reports import LocalNLP, ReportNLP, read_report
from dicom_workflow.search.store.protocol import SearchStore
from dicom_workflow.storage import to_path

REPORT_BATCH = 200
_FROM_REPORT = ("report_id", "labels_positive", "labels_negative", "labels_uncertain", "codes_positive")
_FROM_IMAGE = ("patient_key", "study_instance_uid", "study_date")
_MOST_IMAGES = 10_000


def with_report(image: ImageDocument, report: ReportDocument) -> ImageDocument:
    """Return the image with the labels and codes of its report."""
    states = report.label_states()

    def stated(wanted: State) -> tuple[str, ...]:
        return tuple(label for label, state in states.items() if state == wanted)

    return replace(
        image,
        report_id=report.report_id,
        labels_positive=stated("positive"),
        labels_negative=stated("negative"),
        labels_uncertain=stated("uncertain"),
        codes_positive=tuple(report.codes("positive")),
    )


@dataclass
class ReportIngest:
    """The reports of one run.

    Parameters
    ----------
    store : SearchStore
    keys : PatientKeys
        Of this store.
    report : IngestReport
        Gets what becomes of each.
    nlp : ReportNLP, optional
        What finds the conditions of a text; the local engine when not given. A report that was read by another one is read
        again.
    links : ReportLinks
        With the table of pairs, where there is one.
    """

    store: SearchStore
    keys: PatientKeys
    report: IngestReport
    nlp: ReportNLP | None = None
    links: ReportLinks = field(default_factory=ReportLinks)
    _seen: dict[str, bytes] = field(default_factory=dict)
    _with_images: set[str] = field(default_factory=set)

    def add(self, reports: Iterable[ReportFile], *, progress: bool = True) -> None:
        """Index reports, and link them to the images that are in the index.

        Parameters
        ----------
        reports : iterable of ReportFile
        progress : bool
            Show a progress bar.

        Raises
        ------
        SearchStoreError
            The store does not answer, or refuses to be written.
        """
        from tqdm import tqdm

        for batch in chunks(tqdm(reports, desc="reports", unit="report", disable=not progress), REPORT_BATCH):
            self._add_batch([each for each in batch if self._is_first(each)])

    def _is_first(self, found: ReportFile) -> bool:
        text = hashlib.sha256(found.text.encode("utf-8", "surrogatepass")).digest()  # a million texts would fill the memory
        before = self._seen.setdefault(found.report_id, text)
        if before is text or before == text:
            return before is text
        self._skip(found, "an earlier line has this report id and another text. Give each report an id of its own.")
        return False

    def _add_batch(self, batch: Sequence[ReportFile]) -> None:
        known = self.store.reports([each.report_id for each in batch])
        documents: list[ReportDocument] = []
        for found, before in zip(batch, known, strict=True):
            document = self._document(found, before)
            if document is None:
                continue
            self.links.add(found)
            for note in found.notes:
                self.report.add("report", f"{found.where} ({found.report_id})", Outcome.NOTED, note)
            if document == before:
                self.report.add("report", found.report_id, Outcome.UNCHANGED)
            else:
                self.report.add("report", found.report_id, Outcome.CHANGED if before else Outcome.INDEXED)
            documents.append(document)
        by_id = {each.report_id: each for each in known if each}
        if fresh := [each for each in documents if each != by_id.get(each.report_id)]:
            write_with_retry(self.store.upsert_reports, fresh)
        self._link_images(batch, documents)

    def _document(self, found: ReportFile, before: ReportDocument | None) -> ReportDocument | None:
        if before and before.text == found.text and self._is_current(before):
            document = before
        else:
            try:
                document = read_report(found.text, report_id=found.report_id, nlp=self.nlp)
            except ReportError as error:
                self._skip(found, str(error))
                return None
        # What the report does not say, its images may have said.
        return replace(
            document,
            patient_key=self.keys.key(found.patient_id) or (before.patient_key if before else ""),
            study_instance_uid=found.study_instance_uid or (before.study_instance_uid if before else ""),
            study_date=found.study_date or (before.study_date if before else ""),
        )

    def _is_current(self, before: ReportDocument) -> bool:
        wanted = str(getattr(self.nlp or LocalNLP, "model_version", ""))
        # A service says its own version with each answer, after the name.
        return before.language_model == wanted or (self.nlp is not None and before.language_model.startswith(f"{wanted}."))

    def _link_images(self, batch: Sequence[ReportFile], documents: Sequence[ReportDocument]) -> None:
        """Write the images of the index again that belong to these reports and do not say so."""
        by_id = {document.report_id: document for document in documents}
        pending = {
            self.keys.pending_report(each.accession_number or each.report_id): each.report_id
            for each in batch
            if each.report_id in by_id
        }
        linked = self.store.images_of_reports([*by_id, *pending])
        found = {image.image_id: (image, pending.get(key, key)) for key, images in linked.items() for image in images}
        named = [(image_id, each.report_id) for each in batch if each.report_id in by_id for image_id in each.image_ids]
        named += [(image, report) for image, reports in self.links.pairs.items() for report in reports if report in by_id]
        for (_, report_id), image in zip(named, self.store.images([image_id for image_id, _ in named]), strict=True):
            if image:
                found[image.image_id] = (image, report_id)
        for image, report_id in self._of_studies(by_id.values()):
            found.setdefault(image.image_id, (image, report_id))
        changed = []
        for image, report_id in found.values():
            best, _ = self.links.of_image(ExaminedImage(image))
            report = by_id.get(best or report_id)
            if report is None or not self._same_patient(report, image):
                continue
            self._with_images.add(report.report_id)
            after = with_report(image, report)
            if after != image:
                changed.append(after)
        if changed:
            write_with_retry(self.store.upsert_images, changed)
            for image in changed:
                self.report.add("image", image.image_id, Outcome.LINKED)
        self._complete([(by_id[each.report_id], each) for each in changed])

    def _of_studies(self, documents: Iterable[ReportDocument]) -> list[tuple[ImageDocument, str]]:
        studies = {each.study_instance_uid: each.report_id for each in documents if each.study_instance_uid}
        if not studies:
            return []
        where = AnyOf("study_instance_uid", tuple(studies))
        buckets = self.store.image_facets(where, ["image_id"], size=_MOST_IMAGES)["image_id"].buckets
        images = self.store.images([bucket.value for bucket in buckets])
        return [(image, studies[image.study_instance_uid]) for image in images if image]

    def link(self, images: Sequence[ExaminedImage], names: Sequence[str]) -> list[ImageDocument]:
        """Return the documents of images with the labels of their reports; an image may have none.

        Parameters
        ----------
        images : sequence of ExaminedImage
        names : sequence of str
            How the report of the ingest names them.
        """
        chosen = [self.links.of_image(image) for image in images]
        missing = [image for image, (report_id, _) in zip(images, chosen, strict=True) if not report_id]
        stored = self._stored_reports(missing)
        ids = list(dict.fromkeys([report_id for report_id, _ in chosen if report_id]))
        by_id = {each.report_id: each for each in self.store.reports(ids) if each}
        documents = []
        pairs = []
        for image, (report_id, others), name in zip(images, chosen, names, strict=True):
            report = by_id.get(report_id) or stored.get(image.document.study_instance_uid) or stored.get(image.accession_number)
            if others:
                reason = f"reports {report_id} and {', '.join(others[:5])} belong to it; it carries the labels of the newest"
                self.report.add("image", name, Outcome.NOTED, f"{reason}, {report_id}.")
            if report and not self._same_patient(report, image.document):
                reason = f"report {report.report_id} is of another patient, so it was not linked. Check the pairs."
                self.report.add("image", name, Outcome.NOTED, reason)
                report = None
            if report:
                self._with_images.add(report.report_id)
                documents.append(with_report(image.document, report))
                pairs.append((report, documents[-1]))
            else:
                documents.append(replace(image.document, report_id=self.keys.pending_report(image.accession_number)))
        self._complete(pairs)
        return documents

    def _stored_reports(self, images: Sequence[ExaminedImage]) -> dict[str, ReportDocument]:
        """Return study and Accession Number → report, for images whose reports came in an earlier run."""
        accessions = [image.accession_number for image in images if image.accession_number]
        found = {each.report_id: each for each in self.store.reports(accessions) if each}
        studies = list(
            dict.fromkeys(image.document.study_instance_uid for image in images if image.document.study_instance_uid)
        )
        cursor = ""
        while studies:
            query = ReportQuery(where=AnyOf("study_instance_uid", tuple(studies)))
            page = self.store.search_reports(query, first=REPORT_BATCH, cursor=cursor)
            for hit in reversed(page.hits):  # the newest first, so it is set last
                found[hit.report.study_instance_uid] = hit.report
            cursor = page.cursor
            if not cursor:
                break
        return found

    def _complete(self, pairs: Sequence[tuple[ReportDocument, ImageDocument]]) -> None:
        """Give reports the patient, study and date that their images say, where they say none themselves."""
        changed: dict[str, ReportDocument] = {}
        for report, image in pairs:
            report = changed.get(report.report_id, report)
            gained = {name: getattr(image, name) for name in _FROM_IMAGE if not getattr(report, name) and getattr(image, name)}
            if gained:
                changed[report.report_id] = replace(report, **gained)
        if changed:
            write_with_retry(self.store.upsert_reports, list(changed.values()))

    def note_orphans(self) -> None:
        """Note the reports of this run to which no image of the index belongs."""
        for batch in chunks([each for each in self.links.report_ids if each not in self._with_images], REPORT_BATCH):
            images = self.store.images_of_reports(batch)
            for report_id in batch:
                if not images.get(report_id):
                    self.report.add("report", report_id, Outcome.NOTED, "no image of the index belongs to it.")

    @staticmethod
    def _same_patient(report: ReportDocument, image: ImageDocument) -> bool:
        return not (report.patient_key and image.patient_key) or report.patient_key == image.patient_key

    def _skip(self, found: ReportFile, reason: str) -> None:
        self.report.add("report", f"{found.where} ({found.report_id})", Outcome.SKIPPED, reason)


def kept(document: ImageDocument, before: ImageDocument) -> ImageDocument:
    """Return the document of an image with what the index knows and its file does not say: its report, and its split.

    The place that is known stays, unless it is on this machine and the image is gone from there.
    """
    is_gone = before.source.startswith("file://") and not to_path(before.source).is_file()
    document = replace(document, source=document.source if is_gone else before.source, split=before.split)
    if before.report_id and (document.report_id.startswith(PENDING) or not document.report_id):
        document = replace(document, **{name: getattr(before, name) for name in _FROM_REPORT})
    return document
