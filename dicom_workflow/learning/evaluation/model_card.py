"""A model's card in Markdown: data, label policy, figures with intervals, calibration, subgroups, limits, how it was made.

It is written by the run from what the run measured; nothing in it is typed by hand. It holds no patient's words: counts, groups
and figures only, readers by number, and no path of the machine. Text out of the data (labels, sites, makers) is escaped, so
that it is shown and never obeyed, as Markdown or as HTML.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

NAME = "model_card.md"
TOO_FEW = "-"
_SPECIAL = re.compile(r"([\\`*_{}\[\]()#+\-.!|~$@:=^\"'/])")
_LONGEST = 120
_PLACES = ("channel", "model_dir", "output_dir", "checkpoint_dir", "cache_dir", "commit")
"""Settings that say where things were, not what was done."""


_INTENDED_USE = (
    "- To sort, to search and to suggest, in research and teaching, on frontal chest radiographs like those it was taught with",
    "- For people who know the readers' labels below, look at every image themselves, and may overrule any answer",
    "- Not to find or rule out disease in a patient, not to decide a treatment, not to replace a reader, and not without a "
    "trial on images of the place where it is to be used",
)


def escape(text: object, limit: int = _LONGEST) -> str:
    """Return text from data as one line that Markdown shows as it stands."""
    plain = "".join(" " if unicodedata.category(character)[0] in "CZ" else character for character in str(text))
    plain = " ".join(plain.split())
    plain = plain if len(plain) <= limit else f"{plain[: limit - 1]}…"
    plain = plain.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
    return _SPECIAL.sub(r"\\\1", plain)


def to_markdown(description: Mapping[str, Any], report: Mapping[str, Any]) -> str:
    """Return the card of a model.

    Parameters
    ----------
    description : mapping
        ``bundle.json``.
    report : mapping
        ``evaluation.json``.
    """
    against = report.get("against", {}).get(report.get("measured_against"), {})
    parameters = description.get("provenance", {}).get("parameters", {})
    parts = [
        ["# Model card", "", *_about(description)],
        ["## Intended use", "", *_INTENDED_USE],
        ["## Data", "", *_data(description, report)],
        ["## Label policy", "", *_policy(description, report, parameters)],
        ["## Figures", "", *_figures(report, against)],
        ["## Calibration", "", *_calibration(description, against)],
        ["## Subgroups", "", *_subgroups(report)],
        ["## Beside single readers", "", *_readers(report)],
        ["## No Finding", "", *_no_finding(report)],
        ["## Limits", "", *_limits(report, against)],
        ["## How it was made", "", *_made(description, report, parameters)],
    ]
    return "\n\n".join("\n".join(part).strip() for part in parts) + "\n"


def figures_to_markdown(report: Mapping[str, Any]) -> str:
    """Return the figures of a report alone, label by label."""
    against = report.get("against", {}).get(report.get("measured_against"), {})
    return "\n".join(_figures(report, against)) + "\n"


def comparison_to_markdown(found: Mapping[str, Any]) -> str:
    """Return the table of a comparison of two models, from `evaluation.compare` or `evaluation.compare_predictions`."""
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
        _with_interval(values, "difference"),
        _chance(values["p_bootstrap"]),
    ]


def _chance(value: float | None) -> str:
    return "below 0.001" if value is not None and value < 0.001 else _figure(value)


def table(header: Sequence[str], rows: Iterable[Sequence[object]], *, texts: int = 1) -> list[str]:
    """Return the lines of a Markdown table: the first `texts` columns are escaped text, the others figures to the right."""
    marks = [":--" if column < texts else "--:" for column in range(len(header))]
    lines = [[escape(cell) if column < texts else str(cell) for column, cell in enumerate(row)] for row in rows]
    return [f"| {' | '.join(line)} |" for line in (header, marks, *lines)]


def _about(description: Mapping[str, Any]) -> list[str]:
    network, size_px = description["network"], description["size_px"]
    members = (network.get("arguments") or {}).get("members", 1)
    several = f", an ensemble of {escape(members)} whose logits are averaged" if members != 1 else ""
    labels = ", ".join(escape(label) for label in description["labels"])
    return [
        "Findings on chest radiographs, one probability per label. **Not a medical device**: for research, and for a reader "
        "who looks at every image.",
        "",
        f"- Network: {escape(network['name'])}{several}, {size_px} x {size_px} pixels, one grey channel",
        f"- Answers: {escape(description['mode'])}, {len(description['labels'])} labels: {labels}",
        f"- Preprocessing: {escape(description['preprocessing']['function'])}, "
        f"version {escape(description['preprocessing']['version'])}",
        f"- Weights: SHA-256 {escape(description.get('weights', {}).get('sha256', 'not known'))}",
    ]


def _data(description: Mapping[str, Any], report: Mapping[str, Any]) -> list[str]:
    splits = report.get("splits", {})
    found = ["No patient is in two splits. Positive images by the readers' consolidated answers:", ""]
    rows = [[name, *(f"{split[name]:,}" for split in splits.values())] for name in ("images", "patients")]
    for label in description["labels"]:
        rows.append([f"{label}: positive", *(f"{split['positives'][label]:,}" for split in splits.values())])
    found += table(["", *map(str, splits)], rows)
    if report.get("left_out"):
        found += ["", f"{report['left_out']:,} images or lines were left out because they could not be used."]
    return found


def _policy(description: Mapping[str, Any], report: Mapping[str, Any], parameters: Mapping[str, Any]) -> list[str]:
    measured = {"truth": "a truth known from elsewhere", "states": "the readers' consolidated answers"}
    against = measured.get(str(report.get("measured_against")), "nothing")
    uncertain = escape(parameters.get("uncertain", "ignore"))
    shares = "- Where several readers answered, taught by the share of them who saw it; an uncertain answer counts half"
    return [
        f"- Taught by the readers' consolidated answers; an uncertain label counts as: {uncertain}",
        *([shares] if parameters.get("soft_targets") else []),
        "- An unknown label is masked, never negative",
        "- Uncertain and unknown labels take no part in the figures below; figures under another policy cannot be compared",
        f"- Judged against {against}, on {escape(report.get('split'))} images",
        *(["- One finding per image: the most probable label is the answer"] if description["mode"] == "single-label" else []),
    ]


def _figures(report: Mapping[str, Any], against: Mapping[str, Any]) -> list[str]:
    at = f"sensitivity at specificity {against.get('at_specificity', 0.9):g}"
    rows = [
        [
            label,
            f"{values['positives']} / {values['negatives']}",
            *(_with_interval(values, name) for name in ("auroc", "average_precision")),
            _figure(values["threshold"]),
            *(_with_interval(values, name) for name in ("sensitivity", "specificity", "sensitivity_at_specificity")),
        ]
        for label, values in against.get("labels", {}).items()
    ]
    found = [
        f"{report.get('images', 0):,} images of {report.get('patients', 0):,} patients. In brackets intervals: "
        f"{escape(against.get('interval', ''))}.",
        "",
        f"- Mean AUROC over {len(against.get('labels', {})) - len(against.get('skipped', {}))} labels: "
        f"**{_with_interval(against, 'macro_auroc')}**",
        f"- Mean average precision: {_figure(against.get('macro_average_precision'))}",
        *([f"- Accuracy of the most probable label: {_figure(against.get('accuracy'))}"] if "accuracy" in against else []),
        "",
        *table(
            ["label", "pos. / neg.", "AUROC", "average precision", "threshold", "sensitivity", "specificity", at],
            rows,
        ),
        "",
        "Thresholds were chosen on validation images; a label that had none of them positive, or none negative, kept 0.5. The "
        "last column is read off the ROC curve of these very images: what a label could reach, not what its threshold does. "
        "A figure without an interval is not certain: too few images were there to say.",
    ]
    skipped = [f"- {escape(label)}: no AUROC, {escape(why)}" for label, why in against.get("skipped", {}).items()]
    return found + (["", *skipped] if skipped else [])


def _calibration(description: Mapping[str, Any], against: Mapping[str, Any]) -> list[str]:
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
    rows = [[label, *(_figure(values.get(name)) for name in names)] for label, values in against.get("labels", {}).items()]
    rows.append(["mean over labels", *(_figure(against.get(f"macro_{name}")) for name in names)])
    found += ["", *table(header, rows)]
    skipped = [f"- {escape(label)} is left as it is: {escape(why)}" for label, why in (done.get("skipped") or {}).items()]
    return found + (["", *skipped] if skipped else [])


def _subgroups(report: Mapping[str, Any]) -> list[str]:
    counts = ("images", "patients", "labels_measured")
    rows = [
        [field.replace("_", " "), name, *(f"{group[key]:,}" for key in counts), _with_interval(group, "macro_auroc")]
        for field, groups in report.get("subgroups", {}).items()
        for name, group in groups.items()
    ]
    if not rows:
        return ["The images do not say how their groups differ, or are all of one group: nothing is known of differences."]
    return [
        *table(["", "group", "images", "patients", "labels measured", "mean AUROC"], rows, texts=2),
        "",
        f"`{TOO_FEW}`: too few positive or negative images to say. Means over different numbers of labels, and groups whose "
        "intervals overlap, say little of a difference.",
    ]


def _readers(report: Mapping[str, Any]) -> list[str]:
    rows = []
    for reader in report.get("readers", ()):
        cells = list(reader["labels"].values())
        counts = [sum(cell[name] for cell in cells) for name in ("both_positive", "model_only", "reader_only", "both_negative")]
        kappas = [cell["kappa"] for cell in cells if cell["kappa"] is not None]
        agreed = (counts[0] + counts[3]) / sum(counts) if sum(counts) else None
        kappa = sum(kappas) / len(kappas) if kappas else None
        rows.append([f"reader {reader['reader']}", reader["images"], *counts, _figure(agreed), _figure(kappa)])
    if not rows:
        return ["No single reader's answers stood in the manifest."]
    header = ["", "images", "both positive", "model only", "reader only", "both negative", "agreement", "mean kappa"]
    lost = report.get("reader_answers_unreadable", 0)
    note = [f"{lost:,} answers could not be read."] if lost else []
    return ["All labels together, at the thresholds:", "", *table(header, rows), "", *note]


def _no_finding(report: Mapping[str, Any]) -> list[str]:
    found = report.get("no_finding") or {}
    if not found:
        return ["The model has no such label."]
    beside = [f"- beside {escape(label)}: {count:,}" for label, count in found["with"].items()]
    return [
        f"Called for {found['no_finding']:,} of {found['images']:,} images; for {found['contradicted']:,} of these a finding "
        f"was called too. Rule: {escape(found['rule'])}. Predictions hold what the network called as `positive` and what the "
        f"rule leaves as `consistent`. Nothing at all was called for {found['nothing_called']:,} images.",
        *(["", *beside] if beside else []),
    ]


def _limits(report: Mapping[str, Any], against: Mapping[str, Any]) -> list[str]:
    thin = [label for label, values in against.get("labels", {}).items() if 0 < values["positives"] < 20]
    few = ", ".join(escape(label) for label in thin)
    return [
        *(f"- {escape(caution, 300)}" for caution in report.get("cautions", ())),
        *([f"- Fewer than 20 positive images: {few}"] if thin else []),
        "- Other hospitals, devices and patients than those above were not tried; figures fall there as a rule",
        "- Intervals cover who was drawn, not how the labels were made, nor the choice of one training run",
        "- A label says what readers of these images agreed on, not what a patient had",
    ]


def _made(description: Mapping[str, Any], report: Mapping[str, Any], parameters: Mapping[str, Any]) -> list[str]:
    provenance = description.get("provenance", {})
    versions = ", ".join(f"{escape(name)} {escape(version)}" for name, version in provenance.get("versions", {}).items())
    created, commit = (escape(provenance.get(name) or "not known") for name in ("created", "commit"))
    rows = [[name, value] for name, value in parameters.items() if name not in _PLACES]
    return [
        f"- Made: {created}, commit {commit}",
        f"- With {versions}",
        f"- Best epoch {escape(report.get('best_epoch', 'not known'))} of {escape(report.get('epochs', 'not known'))}, "
        "by the validation AUROC",
        *(f"- {escape(name)}: SHA-256 {escape(sha)}" for name, sha in provenance.get("manifests_sha256", {}).items()),
        "",
        *table(["setting", "value"], rows, texts=2),
    ]


def _with_interval(values: Mapping[str, Any], name: str) -> str:
    value, found = values.get(name), values.get(f"{name}_interval")
    if value is None:
        return TOO_FEW
    return f"{value:.3f}" + (f" ({found[0]:.3f} to {found[1]:.3f})" if found else "")


def _figure(value: float | None) -> str:
    return TOO_FEW if value is None else f"{value:.3f}"
