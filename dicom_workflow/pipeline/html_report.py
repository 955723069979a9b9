"""The HTML report of a run: its figures, and of each notebook the pictures that it shows."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from importlib import resources
from pathlib import Path
from typing import Any

from dicom_workflow.pipeline.records import Record


def write_report(
    path: Path,
    *,
    title: str,
    subtitle: str,
    key: Mapping[str, Any],
    steps: Sequence[tuple[Path, Record, float]],
) -> Path:
    """Write the report of a run and return its path.

    Parameters
    ----------
    path : Path
        The HTML file.
    title, subtitle : str
        What was run, and on what.
    key : mapping
        The figures to read first, in order.
    steps : sequence of (executed notebook, its record, seconds)
        In the order they ran. The pictures are those the notebook shows.
    """
    from liquid import Environment

    template = resources.files("dicom_workflow.pipeline").joinpath("report.liquid.html").read_text(encoding="utf-8")
    page = Environment(autoescape=True).from_string(template)
    rendered = page.render(
        title=title,
        subtitle=subtitle,
        key=[{"name": name.replace("_", " "), "value": _shown(value)} for name, value in key.items()],
        steps=[
            {
                "title": _title(executed),
                "notebook": executed.name,
                "seconds": f"{seconds:.0f}",
                "images": _images(executed),
                "rows": [
                    {"name": name.replace("_", " "), "value": _shown(value)}
                    for name, value in record.metrics.items()
                    if not isinstance(value, dict | list)
                ],
            }
            for executed, record, seconds in steps
        ],
    )
    path.write_text(rendered, encoding="utf-8")
    return path


def _images(executed: Path) -> list[str]:
    """The PNG pictures of an executed notebook, as base64 text, in order; a picture drawn live is kept once."""
    import nbformat

    images = [
        output["data"]["image/png"].strip()
        for cell in nbformat.read(str(executed), as_version=4).cells
        for output in cell.get("outputs", ())
        if "image/png" in output.get("data", {})
    ]
    return list(dict.fromkeys(images))


def _title(executed: Path) -> str:
    import nbformat

    first = nbformat.read(str(executed), as_version=4).cells[0].source
    return str(first).splitlines()[0].lstrip("# ")


def _shown(value: object) -> str:
    if isinstance(value, bool) or value is None:
        return {True: "yes", False: "no", None: "–"}[value]
    if isinstance(value, float):
        return f"{value:.3f}" if abs(value) < 10 else f"{value:,.1f}"
    return f"{value:,}" if isinstance(value, int) else str(value)
