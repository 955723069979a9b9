"""Many reports: from a file with a JSON object a line to a file with what each report states."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tqdm.auto import tqdm

from dicom_workflow.errors import ReportError
from dicom_workflow.formats.json_schema import shown
from dicom_workflow.formats.labels import default_label_set
from dicom_workflow.processes import output_lines
from dicom_workflow.search.documents import SECTIONS, ReportDocument
from dicom_workflow.search.radiology_reports.comprehend_medical import ReportNLP
from dicom_workflow.search.radiology_reports.earlier_answers import EarlierAnswers
from dicom_workflow.search.radiology_reports.local_nlp import LocalNLP
from dicom_workflow.search.radiology_reports.reading import checked_text, compose_text, read_report

ID_KEYS = ("report_id", "id", "uid", "accession_number")
"""Keys of a line that may hold the report's id; the first that is there counts."""
TEXT_KEYS = ("text", "report")
SECTION_KEYS: Mapping[str, str] = {
    **{name: name for name in SECTIONS},
    "exam": "examination",
    "history": "indication",
    "clinical_history": "indication",
    "conclusion": "impression",
}
"""Keys of a line that hold one section each, where the report does not come as one text."""
MAX_ID = 200
MAX_LINE_BYTES = 8_000_000
_Read = tuple[int, dict[str, Any] | None, str, bool]
"""Number of the line, what the report states, why it was refused, and whether an earlier run had read it."""
_WORTH_A_PROCESS = 400_000  # bytes; reading that much takes about as long as starting Python


@dataclass(frozen=True)
class ReadReports:
    """What `read_reports` did."""

    read: int
    findings: int
    problems: tuple[str, ...] = field(default=())
    """One message for each line that was refused; they never hold text of a report."""
    kept: int = 0
    """How many of them an earlier run had read."""


def read_reports(
    source: str | Path,
    target: str | Path | None = None,
    *,
    nlp: ReportNLP | None = None,
    processes: int | None = None,
    progress: bool = True,
    tell: Callable[[str], None] | None = None,
) -> ReadReports:
    """Read the reports of a file and write what each states, one JSON object a line, in the order of the file.

    A line of the source is a JSON object with an id (`ID_KEYS`) and either the whole report under ``text`` or its sections
    under their names (`SECTION_KEYS`); it may have other keys. A line of the answer has ``report_id``, ``text``, ``findings``
    (`findings_json`) and ``labels``: the fourteen with their state, null where the report does not speak of one. Offsets count
    code points of ``text``, which for sections is put together with their names as headings.

    Parameters
    ----------
    source, target : str or Path
        The files; without a target, lines go to standard output. A target appears when all is read; a run that was interrupted
        goes on where it was, and a report that the target has already is not read again (`earlier_answers`).
    nlp : ReportNLP, optional
        What finds the conditions, in this process; the local engine when not given.
    processes : int, optional
        As many as the machine has processors where that pays, unless said otherwise.
    progress : bool
        Show a progress bar on standard error.
    tell : callable, optional
        Gets the message for each refused line at once.

    Raises
    ------
    ReportError
        There is no such file, or the target cannot be written.
    """
    path = Path(source)
    if path.suffix.lower() in (".csv", ".txt"):
        raise ReportError(
            f"{path}: expected a file with a JSON object a line. Tables and texts go into an index as they are: "
            f"dicom-workflow search index --reports {path}"
        )
    try:
        with path.open("rb") as file:
            total = sum(1 for _ in file)
    except OSError as error:
        raise ReportError(f"{path}: expected a file with a JSON object a line ({error.strerror}). Check the path.") from None
    counter = _Counter(tell)
    if target is None:
        counter.write(_shown(_all_answers(path, nlp, processes, None), total, progress), _standard_output)
        return counter.result()
    target = Path(target)
    if target.exists() and target.samefile(path):
        raise ReportError(f"{target}: expected another file than the reports that are read. Choose another place.")
    part = Path(f"{target}.part")
    try:
        earlier = EarlierAnswers(target, str(getattr(nlp or LocalNLP, "model_version", "")))
        with earlier.create_part() as out:
            answers = _all_answers(path, nlp, processes, earlier)
            counter.write(_shown(answers, total, progress), out.write)
        earlier.finish(target)
    except OSError as error:
        left = f" What was read until now is kept in {part}, and the next run goes on there." if part.exists() else ""
        raise ReportError(
            f"{target}: cannot be written ({error.strerror}). Free some space, or choose another place.{left}"
        ) from None
    return counter.result()


def _shown(answers: Iterator[_Read], total: int, progress: bool) -> Iterable[_Read]:
    bar: Iterable[_Read] = tqdm(answers, total=total, desc="reports", unit="report", disable=not progress)
    return bar


def _standard_output(line: bytes) -> None:
    sys.stdout.write(line.decode())


def report_of_line(line: Mapping[str, Any]) -> tuple[str, str]:
    """Return id and text of a report as a line gives it.

    Raises
    ------
    ReportError
        There is no id or no usable one, or no text and no section.
    """
    report_id = next((line[key] for key in ID_KEYS if line.get(key) not in (None, "")), None)
    if not isinstance(report_id, str | int) or isinstance(report_id, bool):
        got = "none" if report_id is None else type(report_id).__name__
        raise ReportError(
            f"expected the report's id under {' or '.join(ID_KEYS)}, got {got}. Give each report a text as its id."
        )
    report_id = str(report_id).strip()
    if not 0 < len(report_id) <= MAX_ID or not report_id.isprintable():
        raise ReportError(
            f"expected a report id of 1 to {MAX_ID} printable characters, got {len(report_id)}: {shown(report_id)}. "
            "Give the report another id."
        )
    text = next((line[key] for key in TEXT_KEYS if key in line), None)
    if text is None:
        sections: dict[str, str] = {}
        for key, name in SECTION_KEYS.items():
            if isinstance(line.get(key), str):
                sections[name] = f"{sections.get(name, '')} {line[key]}".strip()
        text = compose_text(sections)
        if not text:
            raise ReportError(
                f"report {shown(report_id)}: expected 'text', or sections as 'findings' and 'impression', with words in them, "
                "got none. Leave the report out, or export it again with its text."
            )
    if not isinstance(text, str):
        raise ReportError(f"report {shown(report_id)}: expected 'text' as a JSON string, got {type(text).__name__}.")
    return report_id, text


def report_json(report: ReportDocument) -> dict[str, Any]:
    """Return what a report states as the JSON object of one line."""
    states = report.label_states()
    return {
        "report_id": report.report_id,
        "text": report.text,
        "findings": findings_json(report),
        "labels": {label: states.get(label) for label in default_label_set().labels},
        "language_model": report.language_model,
    }


def findings_json(report: ReportDocument) -> list[dict[str, Any]]:
    """Return each finding with state, code, its words and sentence, and the offsets of both in the report's text."""
    return [
        {
            "concept": found.concept,
            "state": found.state,
            "kind": found.kind,
            "code": found.code,
            "code_text": found.code_text,
            "text": report.text[found.begin : found.end],
            "begin": found.begin,
            "end": found.end,
            "sentence": report.text[found.sentence_begin : found.sentence_end],
            "sentence_begin": found.sentence_begin,
            "sentence_end": found.sentence_end,
            "section": found.section,
            "laterality": found.laterality,
            "label": found.label,
        }
        for found in report.findings
    ]


def read_share() -> None:
    """Read the lines of a file that the JSON in the first argument names, and print an answer for each."""
    path, part, parts, first = json.loads(sys.argv[1])
    for answer in _answers(Path(path), None, first=first, part=part, parts=parts):
        print(json.dumps(answer), flush=False)


class _Counter:
    def __init__(self, tell: Callable[[str], None] | None) -> None:
        self._tell, self._problems, self._seen, self._findings, self._kept = tell, [], set(), 0, 0  # type: ignore[var-annotated]

    def write(self, answers: Iterable[_Read], write: Callable[[bytes], object]) -> None:
        for number, answer, problem, kept in answers:
            if answer is not None and answer["report_id"] in self._seen:
                problem = f"the report id {shown(answer['report_id'])} stands in an earlier line. Give each report its own id."
            if problem:
                self._refuse(f"line {number}: {problem}")
            elif answer is not None:
                self._seen.add(answer["report_id"])
                self._findings += len(answer["findings"])
                self._kept += kept
                write(json.dumps(answer, ensure_ascii=False).encode() + b"\n")

    def _refuse(self, message: str) -> None:
        self._problems.append(message)
        if self._tell:
            self._tell(message)

    def result(self) -> ReadReports:
        return ReadReports(len(self._seen), self._findings, tuple(self._problems), self._kept)


def _all_answers(path: Path, nlp: ReportNLP | None, processes: int | None, earlier: EarlierAnswers | None) -> Iterator[_Read]:
    """Yield what becomes of every line, in order: what is kept of an earlier run, then what is read now."""
    first, begin = 1, 0
    if earlier and nlp is None:
        for answer, end in _kept(path, earlier):
            first, begin = answer[0] + 1, end
            yield answer
    left = path.stat().st_size - begin
    parts = 1 if nlp else processes or max(1, min(os.cpu_count() or 1, left // _WORTH_A_PROCESS))
    if parts > 1:
        yield from _in_order(_elsewhere(path, parts, first), first)
    else:
        yield from _answers(path, nlp, first=first, earlier=earlier)


def _kept(path: Path, earlier: EarlierAnswers) -> Iterator[tuple[_Read, int]]:
    """Yield the first lines, and where each ends, until one comes that has to be read."""
    with path.open("rb") as file:
        for number, raw in enumerate(file, start=1):
            try:
                report = _report(raw)
                answer = earlier.find(*report) if report else None
                if report and answer is None:
                    return
                yield (number, answer, "", bool(answer)), file.tell()
            except ReportError as error:
                yield (number, None, str(error), False), file.tell()


def _answers(
    path: Path, nlp: ReportNLP | None, *, first: int, part: int = 0, parts: int = 1, earlier: EarlierAnswers | None = None
) -> Iterator[_Read]:
    """Yield what becomes of this part's lines."""
    with path.open("rb") as file:
        for number, raw in enumerate(file, start=1):
            if number % parts != part or number < first:
                continue
            try:
                report = _report(raw)
                answer = earlier.find(*report) if report and earlier else None
                kept = answer is not None
                if report and answer is None:
                    answer = report_json(read_report(report[1], report_id=report[0], nlp=nlp))
                yield number, answer, "", kept
            except ReportError as error:
                yield number, None, str(error), False


def _report(raw: bytes) -> tuple[str, str] | None:
    """Return id and text of a line, the text as an answer holds it; None for a blank line."""
    if not raw.strip():
        return None
    if len(raw) > MAX_LINE_BYTES:
        raise ReportError(f"expected at most {MAX_LINE_BYTES:,} bytes, got {len(raw):,}. Give one report a line.")
    try:
        line = json.loads(raw.decode("utf-8-sig"))
    except UnicodeDecodeError as error:
        raise ReportError(f"byte {error.start + 1} is not UTF-8. Save the file as UTF-8.") from None
    except (ValueError, RecursionError):
        raise ReportError("expected a JSON object, got something else. Write one object a line.") from None
    if not isinstance(line, dict):
        raise ReportError(f"expected a JSON object, got {type(line).__name__}. Write one object a line.")
    report_id, text = report_of_line(line)
    return report_id, checked_text(text, report_id)


def _elsewhere(path: Path, parts: int, first: int) -> Iterator[_Read]:
    code = f"import {__name__} as files; files.{read_share.__name__}()"
    shares = [json.dumps([str(path), part, parts, first]) for part in range(parts)]
    for line in output_lines([[sys.executable, "-c", code, share] for share in shares]):
        number, answer, problem, kept = json.loads(line)
        yield number, answer, problem, kept


def _in_order(answers: Iterator[_Read], following: int) -> Iterator[_Read]:
    waiting: dict[int, _Read] = {}
    for answer in answers:
        waiting[answer[0]] = answer
        while following in waiting:
            yield waiting.pop(following)
            following += 1
