"""How good models are: `evaluate`, `compare`."""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

from dicom_workflow.cli.common import Command, say
from dicom_workflow.errors import SettingsError
from dicom_workflow.formats.splits import SPLITS
from dicom_workflow.settings import Settings


def add(command: Command) -> None:
    """Add the commands of this room."""
    evaluate = command("evaluate", _evaluate, "judge a model on the images of a training channel")
    evaluate.add_argument("bundle", type=Path, help="model bundle folder")
    evaluate.add_argument("channel", type=Path, help="folder with manifests and the images they name")
    evaluate.add_argument("--split", choices=SPLITS, default="test", help="which of its images (default: test)")
    evaluate.add_argument("--specificity", type=float, default=0.9, help="at which the sensitivity is given (default: 0.9)")
    evaluate.add_argument("--resamples", type=int, default=1000, help="draws of patients for the intervals (default: 1000)")
    evaluate.add_argument("--report", type=Path, metavar="FILE", help="write everything that was measured here, as JSON")

    compare = command("compare", _compare, "compare two models on the images that both predicted")
    compare.add_argument("first", type=Path, help="predictions.jsonl of a model")
    compare.add_argument("second", type=Path, help="predictions.jsonl of another")
    compare.add_argument(
        "--against",
        choices=("truth", "states"),
        default="",
        help="what counts as true: a truth known from elsewhere, or the readers' answers (default: truth where both have it)",
    )
    compare.add_argument("--resamples", type=int, default=2000, help="draws of patients for the intervals (default: 2000)")


def _evaluate(settings: Settings, options: argparse.Namespace) -> dict[str, Any]:
    from dicom_workflow.learning.evaluation import model_card, run
    from dicom_workflow.learning.model import bundle
    from dicom_workflow.learning.training import log_lines

    if not 0 < options.specificity < 1:
        raise SettingsError(f"evaluate: expected --specificity above 0 and below 1, as 0.95, got {options.specificity:g}.")
    model = bundle.load(options.bundle)
    report = run.assess_bundle(
        model, options.channel, split=options.split, specificity=options.specificity, resamples=options.resamples
    )
    say(model_card.figures_to_markdown(report))
    for caution in report["cautions"]:
        say(caution)
    say(log_lines.outcome_line(report))
    if options.report:
        options.report.write_text(json.dumps(report, indent=2, ensure_ascii=False, allow_nan=False) + "\n", encoding="utf-8")
    return {"ok": True, "evaluation": report}


def _compare(settings: Settings, options: argparse.Namespace) -> dict[str, Any]:
    from dicom_workflow.learning import evaluation
    from dicom_workflow.learning.evaluation import model_card

    found = evaluation.compare_predictions(options.first, options.second, against=options.against, resamples=options.resamples)
    say(model_card.comparison_to_markdown(found))
    return {"ok": True, "comparison": found}
