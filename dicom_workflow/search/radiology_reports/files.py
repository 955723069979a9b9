"""Many reports: from a file with a JSON object a line to a file with what each report states."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any

from tqdm.auto import tqdm

from dicom_workflow.errors import ReportError
from dicom_workflow.formats.json_schema import shown
from dicom_workflow.formats.labels import default_label_set
from dicom_workflow.processes import output_lines
from dicom_workflow.search.documents import SECTIONS, ReportDocument
from dicom_workflow.search.radiology_reports.comprehend_medical import ReportNLP
from dicom_workflow.search.radiology_reports.reading import compose_text, read_report

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
MAX_LINE_BYTES = 8_000_000
_WORTH_A_PROCESS = 400_000  # bytes; reading that much takes about as long as starting Python


@dataclass(frozen=True)
class ReadReports:
    """What `read_reports` did."""

    read: int
    findings: int
    problems: tuple[str, ...] = field(default=())
    """One message for each line that was refused; they never hold text of a report."""


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
        The files; without a target, lines go to standard output. A target appears when all is read.
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
    try:
        size = path.stat().st_size
        with path.open("rb") as file:
            total = sum(1 for _ in file)
    except OSError as error:
        raise ReportError(f"{path}: expected a file with a JSON object a line ({error.strerror}). Check the path.") from None
    parts = 1 if nlp else processes or max(1, min(os.cpu_count() or 1, size // _WORTH_A_PROCESS))
    answers = _in_order(_elsewhere(path, parts)) if parts > 1 else _answers(path, nlp, 0, 1)
    counter = _Counter(tell)
    bar = tqdm(answers, total=total, desc="reports", unit="report", disable=not progress)
    if target is None:
        counter.write(bar, sys.stdout)
        return counter.result()
    part = Path(f"{target}.part")
    try:
        with part.open("w", encoding="utf-8") as out:
            counter.write(bar, out)
        part.replace(target)
    except OSError as error:
        raise ReportError(f"{target}: cannot be written ({error.strerror}). Choose another place.") from None
    finally:
        part.unlink(missing_ok=True)
    return counter.result()


def report_of_line(line: Mapping[str, Any]) -> tuple[str, str]:
    """Return id and text of a report as a line gives it.

    Raises
    ------
    ReportError
        There is no id, or no text and no section.
    """
    report_id = next((line[key] for key in ID_KEYS if line.get(key) not in (None, "")), None)
    if not isinstance(report_id, str | int) or isinstance(report_id, bool):
        raise ReportError(f"expected the report's id under {' or '.join(ID_KEYS)}, got {shown(report_id)}.")
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
    return str(report_id), text


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
    path, part, parts = json.loads(sys.argv[1])
    for answer in _answers(Path(path), None, part, parts):
        print(json.dumps(answer), flush=False)


class _Counter:
    def __init__(self, tell: Callable[[str], None] | None) -> None:
        self._tell, self._problems, self._seen, self._findings = tell, [], set(), 0  # type: ignore[var-annotated]

    def write(self, answers: Iterable[tuple[int, dict[str, Any] | None, str]], out: IO[str]) -> None:
        for number, answer, problem in answers:
            if answer is not None and answer["report_id"] in self._seen:
                problem = f"the report id {shown(answer['report_id'])} stands in an earlier line. Give each report its own id."
            if problem:
                self._refuse(f"line {number}: {problem}")
            elif answer is not None:
                self._seen.add(answer["report_id"])
                self._findings += len(answer["findings"])
                out.write(json.dumps(answer, ensure_ascii=False) + "\n")

    def _refuse(self, message: str) -> None:
        self._problems.append(message)
        if self._tell:
            self._tell(message)

    def result(self) -> ReadReports:
        return ReadReports(len(self._seen), self._findings, tuple(self._problems))


def _answers(path: Path, nlp: ReportNLP | None, part: int, parts: int) -> Iterator[tuple[int, dict[str, Any] | None, str]]:
    """Yield line number, answer and problem for this part's lines; blank lines give neither."""
    with path.open("rb") as file:
        for number, raw in enumerate(file, start=1):
            if number % parts != part:
                continue
            try:
                yield number, _answer(raw, nlp), ""
            except ReportError as error:
                yield number, None, str(error)


def _answer(raw: bytes, nlp: ReportNLP | None) -> dict[str, Any] | None:
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
    return report_json(read_report(text, report_id=report_id, nlp=nlp))


def _elsewhere(path: Path, parts: int) -> Iterator[tuple[int, dict[str, Any] | None, str]]:
    code = f"import {__name__} as files; files.{read_share.__name__}()"
    shares = [json.dumps([str(path), part, parts]) for part in range(parts)]
    for line in output_lines([[sys.executable, "-c", code, share] for share in shares]):
        number, answer, problem = json.loads(line)
        yield number, answer, problem


def _in_order(answers: Iterator[tuple[int, dict[str, Any] | None, str]]) -> Iterator[tuple[int, dict[str, Any] | None, str]]:
    waiting: dict[int, tuple[int, dict[str, Any] | None, str]] = {}
    following = 1
    for answer in answers:
        waiting[answer[0]] = answer
        while following in waiting:
            yield waiting.pop(following)
            following += 1
