"""The model card in Markdown: data, label policy, figures with intervals, calibration, subgroups, limits, provenance.

Everything in it is written from what the run measured. It holds counts, groups and figures only, readers by number, and no path
of the machine. Text out of the data (labels, sites, manufacturers) is escaped, so that it is shown and not interpreted as
Markdown or HTML.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from dicom_workflow.learning.evaluation.report import Evaluation, Figures, Interval, LabelFigures

NAME = "model_card.md"
TOO_FEW = "-"
_SPECIAL = re.compile(r"([\\`*_{}\[\]()#+\-.!|~$@:=^\"'/])")
_LONGEST = 120
_PLACES = ("channel", "model_dir", "output_dir", "checkpoint_dir", "cache_dir", "commit")
"""Settings that name places, not what was done."""


_INTENDED_USE = (
    "- To sort, search and pre-annotate images like the training images, in research and teaching",
    "- For people who know the labels below, look at every image themselves and can overrule any prediction",
    "- Not to find or rule out disease in a patient, not to decide a treatment, not to replace a reader, and not without a "
    "trial on images of the site where it is to be used",
)


def escape(text: object, limit: int = _LONGEST) -> str:
    """Return text from data as one line that Markdown shows as it stands."""
    plain = "".join(" " if unicodedata.category(character)[0] in "CZ" else character for character in str(text))
    plain = " ".join(plain.split())
    plain = plain if len(plain) <= limit else f"{plain[: limit - 1]}…"
    plain = plain.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
    return _SPECIAL.sub(r"\\\1", plain)


def to_markdown(description: Mapping[str, Any], report: Evaluation) -> str:
    """Return the card of a model.

    Parameters
    ----------
    description : mapping
        ``bundle.json``.
    report : Evaluation
        ``evaluation.json``.
    """
    parameters = description.get("provenance", {}).get("parameters", {})
    parts = [
        ["# Model card", "", *_about(description)],
        ["## Intended use", "", *_INTENDED_USE],
        ["## Data", "", *_data(description, report)],
        ["## Label policy", "", *_policy(description, report, parameters)],
        ["## Figures", "", *_figures(report)],
        ["## Calibration", "", *_calibration(description, report.figures)],
        ["## Subgroups", "", *_subgroups(report)],
        ["## Beside single readers", "", *_readers(report)],
        ["## Labels that exclude others", "", *_exclusions(report)],
        ["## Limits", "", *_limits(report)],
        ["## How it was made", "", *_made(description, report, parameters)],
    ]
    return "\n\n".join("\n".join(part).strip() for part in parts) + "\n"


def figures_to_markdown(report: Evaluation) -> str:
    """Return the figures of an evaluation alone, label by label."""
    return "\n".join(_figures(report)) + "\n"


def comparison_to_markdown(found: Mapping[str, Any]) -> str:
    """Return the table of a comparison of two models, from `comparison.compare` or `comparison.compare_predictions`."""
    header = ["label", "images", "first AUROC", "second AUROC", "difference", "p (bootstrap)", "p (DeLong)", "p (DeLong, Holm)"]
    rows = [
        [label, f"{values['images']:,}", *_compared(values), *(_chance(values[name]) for name in ("p_delong", "p_delong_holm"))]
        for label, values in found["labels"].items()
    ]
    if found["macro"]:
        rows.append(["mean over labels", f"{found['images']:,}", *_compared(found["macro"]), TOO_FEW, TOO_FEW])
    skipped = [f"- {escape(label)}: {escape(why)}" for label, why in found["skipped"].items()]
    about = f"{found['images']:,} images of {found['patients']:,} patients. In brackets intervals: {escape(found['interval'])}."
    return "\n".join([about, "", *table(header, rows), *(["", *skipped] if skipped else [])]) + "\n"


def _compared(values: Mapping[str, Any]) -> list[str]:
    return [
        *(_figure(values[name]) for name in ("first", "second")),
        _with_interval(values["difference"], values["difference_interval"]),
        _chance(values["p_bootstrap"]),
    ]


def _chance(value: float | None) -> str:
    return "below 0.001" if value is not None and value < 0.001 else _figure(value)


def table(header: Sequence[str], rows: Iterable[Sequence[object]], *, texts: int = 1) -> list[str]:
    """Return the lines of a Markdown table.

    Parameters
    ----------
    header : sequence of str
    rows : iterable of sequences
        Cells, as many as the header has.
    texts : int
        How many columns, from the left, are text from data, which is escaped; the others are figures, aligned right.
    """
    marks = [":--" if column < texts else "--:" for column in range(len(header))]
    lines = [[escape(cell) if column < texts else str(cell) for column, cell in enumerate(row)] for row in rows]
    return [f"| {' | '.join(line)} |" for line in (header, marks, *lines)]


def _about(description: Mapping[str, Any]) -> list[str]:
    network, size_px = description["network"], description["size_px"]
    members = (network.get("arguments") or {}).get("members", 1)
    several = f", an ensemble of {escape(members)} whose logits are averaged" if members != 1 else ""
    labels = ", ".join(escape(label) for label in description["labels"])
    return [
        "One probability per image and label. **Not a medical device**: for research, and for a reader who looks at every "
        "image.",
        "",
        f"- Network: {escape(network['name'])}{several}, {size_px} x {size_px} pixels",
        f"- Answers: {escape(description['mode'])}, {len(description['labels'])} labels: {labels}",
        f"- Preprocessing: {escape(description['preprocessing']['function'])}, "
        f"version {escape(description['preprocessing']['version'])}",
        f"- Weights: SHA-256 {escape(description.get('weights', {}).get('sha256', 'not known'))}",
    ]


def _data(description: Mapping[str, Any], report: Evaluation) -> list[str]:
    splits = report.splits
    found = ["No patient is in two splits. Positive images by the readers' consolidated states:", ""]
    rows = [[name, *(f"{getattr(split, name):,}" for split in splits.values())] for name in ("images", "patients")]
    for label in description["labels"]:
        rows.append([f"{label}: positive", *(f"{split.positives[label]:,}" for split in splits.values())])
    found += table(["", *map(str, splits)], rows)
    if report.left_out:
        found += ["", f"{report.left_out:,} images or lines were left out because they could not be used."]
    return found


def _policy(description: Mapping[str, Any], report: Evaluation, parameters: Mapping[str, Any]) -> list[str]:
    measured = {"truth": "a reference standard", "states": "the readers' consolidated states"}
    uncertain = escape(parameters.get("uncertain", "ignore"))
    shares = "- Where several readers answered, the target is the share of them who saw it; an uncertain answer counts half"
    return [
        f"- Trained on the readers' consolidated states; an uncertain label counts as: {uncertain}",
        *([shares] if parameters.get("soft_targets") else []),
        "- An unknown label is masked, never negative",
        "- Uncertain and unknown labels take no part in the figures below; figures under another policy cannot be compared",
        f"- Measured against {measured[report.measured_against]}, on {escape(report.split)} images",
        *(["- One finding per image: the most probable label is predicted"] if description["mode"] == "single-label" else []),
        *_untaught(report),
    ]


def _untaught(report: Evaluation) -> list[str]:
    return [f"- Not predicted: {escape(label)}, {escape(why)}" for label, why in report.untaught.items()]


def _figures(report: Evaluation) -> list[str]:
    against = report.figures
    at = f"sensitivity at specificity {against.at_specificity:g}"
    rows = [
        [
            label,
            f"{values.positives} / {values.negatives}",
            *(_of_label(values, name) for name in ("auroc", "average_precision")),
            _figure(values.threshold),
            *(_of_label(values, name) for name in ("sensitivity", "specificity", "sensitivity_at_specificity")),
        ]
        for label, values in against.labels.items()
    ]
    accuracy = f"- Accuracy of the most probable label: {_figure(against.accuracy)}"
    found = [
        f"{against.images:,} images of {against.patients:,} patients. In brackets intervals: {escape(against.interval)}.",
        "",
        f"- Mean AUROC over {len(against.labels) - len(against.skipped)} labels: "
        f"**{_with_interval(against.macro_auroc, against.macro_auroc_interval)}**",
        f"- Mean average precision: {_figure(against.macro_average_precision)}",
        *([accuracy] if report.mode == "single-label" else []),
        "",
        *table(
            ["label", "pos. / neg.", "AUROC", "average precision", "threshold", "sensitivity", "specificity", at],
            rows,
        ),
        "",
        "Thresholds were chosen on validation images; a label without a positive or without a negative one there kept 0.5. The "
        "last column is read off the ROC curve: what a label could reach, not what its threshold does. A figure "
        "without an interval is not certain: there were too few images to tell.",
    ]
    skipped = [f"- {escape(label)}: no AUROC, {escape(why)}" for label, why in against.skipped.items()]
    return [*found, *(["", *skipped] if skipped else []), *(["", *lines] if (lines := _untaught(report)) else [])]


def _calibration(description: Mapping[str, Any], against: Figures) -> list[str]:
    done = description.get("calibration") or {}
    if not done.get("labels"):
        found = ["The probabilities are not calibrated: they rank images, and 0.8 does not mean eight in ten."]
    else:
        found = [
            f"Method: {escape(done['method'])}, fitted on {done.get('images', 0):,} validation images. Brier score and "
            "expected calibration error (ECE, bins of equal mass), smaller is better:"
        ]
    header = ["label", "Brier before", "Brier after", "ECE before", "ECE after"]
    names = ["brier_uncalibrated", "brier", "ece_uncalibrated", "ece"]
    if not done.get("labels"):  # there is no before
        found[0] += " Brier score and expected calibration error (ECE, bins of equal mass), smaller is better:"
        header, names = ["label", "Brier", "ECE"], ["brier", "ece"]
    rows = [[label, *(_figure(getattr(values, name)) for name in names)] for label, values in against.labels.items()]
    rows.append(["mean over labels", *(_figure(getattr(against, f"macro_{name}")) for name in names)])
    found += ["", *table(header, rows)]
    skipped = [f"- {escape(label)} is not calibrated: {escape(why)}" for label, why in (done.get("skipped") or {}).items()]
    return found + (["", *skipped] if skipped else [])


def _subgroups(report: Evaluation) -> list[str]:
    rows = [
        [
            field.replace("_", " "),
            name,
            *(f"{count:,}" for count in (group.images, group.patients, group.labels_measured)),
            _with_interval(group.macro_auroc, group.macro_auroc_interval),
        ]
        for field, groups in report.subgroups.items()
        for name, group in groups.items()
    ]
    if not rows:
        return ["The manifest names no attributes by which these images differ: differences between groups are not known."]
    return [
        *table(["", "group", "images", "patients", "labels measured", "mean AUROC"], rows, texts=2),
        "",
        f"`{TOO_FEW}`: too few positive or negative images to tell. Means over different numbers of labels cannot be compared, "
        "nor can groups whose intervals overlap.",
    ]


def _readers(report: Evaluation) -> list[str]:
    rows = []
    for reader in report.readers:
        cells = list(reader.labels.values())
        names = ("both_positive", "model_only", "reader_only", "both_negative")
        counts = [sum(getattr(cell, name) for cell in cells) for name in names]
        kappas = [cell.kappa for cell in cells if cell.kappa is not None]
        agreed = (counts[0] + counts[3]) / sum(counts) if sum(counts) else None
        kappa = sum(kappas) / len(kappas) if kappas else None
        rows.append([f"reader {reader.reader}", reader.images, *counts, _figure(agreed), _figure(kappa)])
    if not rows:
        return ["The manifest holds no answers of single readers."]
    header = ["", "images", "both positive", "model only", "reader only", "both negative", "agreement", "mean kappa"]
    return ["All labels together, at the thresholds:", "", *table(header, rows)]


def _exclusions(report: Evaluation) -> list[str]:
    found = []
    for label, counts in report.exclusions.items():
        beside = [f"  - beside {escape(other)}: {count:,}" for other, count in counts.by.items()]
        found += [
            f"- {escape(label)} was called for {counts.called:,} images, for {counts.contradicted:,} of these together with a "
            "label that it excludes; there it is withdrawn",
            *beside,
        ]
    if not found:
        return ["No predicted label excludes another."]
    return [
        *found,
        "",
        "Predictions hold the labels at or above their threshold as `positive`, and those without contradiction as "
        f"`consistent`. No label was called for {report.nothing_called:,} images.",
    ]


def _limits(report: Evaluation) -> list[str]:
    thin = [label for label, values in report.figures.labels.items() if 0 < values.positives < 20]
    few = ", ".join(escape(label) for label in thin)
    return [
        *(f"- {escape(caution, 300)}" for caution in report.cautions),
        *([f"- Fewer than 20 positive images: {few}"] if thin else []),
        "- Not tried on other hospitals, devices and patients than those above; figures usually fall there",
        "- Intervals cover which patients were drawn, not how the labels were made, nor the choice of one training run",
        "- A label is what readers of these images agreed on, not a diagnosis of the patient",
    ]


def _made(description: Mapping[str, Any], report: Evaluation, parameters: Mapping[str, Any]) -> list[str]:
    provenance = description.get("provenance", {})
    versions = ", ".join(f"{escape(name)} {escape(version)}" for name, version in provenance.get("versions", {}).items())
    created, commit = (escape(provenance.get(name) or "not known") for name in ("created", "commit"))
    rows = [[name, value] for name, value in parameters.items() if name not in _PLACES]
    return [
        f"- Made: {created}, commit {commit}",
        f"- With {versions}",
        f"- Best epoch {escape(report.best_epoch or 'not known')} of {escape(report.epochs or 'not known')}, "
        "by the validation AUROC",
        *(f"- {escape(name)}: SHA-256 {escape(sha)}" for name, sha in provenance.get("manifests_sha256", {}).items()),
        "",
        *table(["setting", "value"], rows, texts=2),
    ]


def _of_label(values: LabelFigures, name: str) -> str:
    return _with_interval(getattr(values, name), values.interval_of(name))


def _with_interval(value: float | None, found: Interval | None) -> str:
    if value is None:
        return TOO_FEW
    return f"{value:.3f}" + (f" ({found[0]:.3f} to {found[1]:.3f})" if found else "")


def _figure(value: float | None) -> str:
    return TOO_FEW if value is None else f"{value:.3f}"
