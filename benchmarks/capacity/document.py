"""Write ``docs/scale.md`` and its figures from the model and the simulation.

PYTHONPATH=benchmarks python -m capacity.document
"""

from __future__ import annotations

import argparse
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any

import scale as bench
from capacity import figures, limits, model
from capacity.assumptions import KINDS
from capacity.figures import count

from dicom_workflow.aws.stacks import prices

HERE = Path(__file__).resolve().parent
PAGE = HERE.parents[1] / "docs" / "scale.md"
SEED, SIMULATED_FILES, SIMULATED_OBJECTS, DECADES = 0, 10_000, 10_000, (300, 3_000, 30_000)
FORMAT_NAMES = {"raw": "uncompressed", "jpeg_ls": "JPEG-LS", "j2k": "JPEG 2000", "htj2k": "HTJ2K"}
A, N = model.ASSUMPTIONS, model.SCALES


def main() -> None:
    argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter).parse_args()
    PAGE.write_text(render(), encoding="utf-8")
    for name, draw in (("scale", figures.figure), ("scale-breaks", figures.breaks_figure)):
        (PAGE.parent / f"{name}.png").write_bytes(draw().to_png())
        print(PAGE.parent / f"{name}.png")
    print(PAGE)


def render() -> str:
    """Return the page."""
    text = (HERE / "document.md").read_text(encoding="utf-8")
    return text.format(**tables(), **text_values())


# Formatting of numbers


def number(value: float) -> str:
    """Return a number with two or three significant digits."""
    if value == 0:
        return "0"
    if abs(value) >= 100:
        digits = max(0, len(f"{abs(value):.0f}") - 3)
        return f"{round(value, -digits):,.0f}"
    return f"{value:.1f}" if abs(value) >= 10 else f"{value:.2f}" if abs(value) >= 0.1 else f"{value:.2g}"


def usd(value: float) -> str:
    return f"{number(value)} $"


def time_of(hours: float) -> str:
    for size, word in ((24 * 365.25, "years"), (24 * 1.5, "days"), (1.5, "h")):
        if hours >= size:
            return f"{number(hours / {'years': 24 * 365.25, 'days': 24, 'h': 1}[word])} {word}"
    return f"{number(hours * 60)} min"


def table(head: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    lines = [f"| {' | '.join(head)} |", f"| {' | '.join(['---'] * len(head))} |"]
    return "\n".join([*lines, *(f"| {' | '.join(map(str, row))} |" for row in rows)])


# The page's tables


@cache
def simulated() -> dict[str, Any]:
    """The simulations of the page, with a fixed seed."""
    return {
        "ingest": bench.ingest_sweep(SIMULATED_FILES, SEED),
        "labeling": bench.labeling_sweep(SIMULATED_OBJECTS, SEED),
        "decades": bench.decades(DECADES, SEED),
    }


def tables() -> dict[str, str]:
    return {
        "summary": _summary(),
        "breaks": table(
            ["limit", "reached at images", "reason", "remedy"],
            ((row.what, number(row.images), row.why, row.knob) for row in limits.breaks()),
        ),
        "storage": _storage(),
        "ingest": _ingest(),
        "limits": _limits(),
        "simulated_ingest": _simulated_ingest(),
        "manifests": table(
            ["images", "manifest", "read and checked in", "labeling jobs"],
            (
                (count(n), f"{number(m.gigabytes)} GB", time_of(m.read_hours), f"{m.jobs:,}")
                for n, m in ((n, model.manifests(n)) for n in N)
            ),
        ),
        "labeling": _labeling(),
        "simulated_labeling": _simulated_labeling(),
        "training": _training(),
        "search": _search(),
        "thousand": _thousand(),
        "decades": table(
            ["objects", "ingest, ms per object", "labeling, s per object"],
            (
                (f"{row['objects']:,}", number(row["ingest_ms_per_object"]), number(row["labeling_seconds_per_object"]))
                for row in simulated()["decades"]["rows"]
            ),
        ),
        "kinds": "\n".join(f"- *{kind}*: {words}" for kind, words in KINDS.items()),
        "assumptions": table(
            ["assumption", "value", "unit", "kind", "source"],
            ((f"`{item.name}`", _plain(item.value), item.unit, item.kind, item.source) for item in A.values()),
        ),
    }


def _plain(value: float) -> str:
    return f"{value:,.0f}" if value == round(value) else f"{value:,.3g}"


def _summary() -> str:
    rows: list[tuple[str, list[str]]] = [
        ("JPEG-LS in S3", [f"{number(model.storage(n)[1].terabytes)} TB" for n in N]),
        ("uploaders and tasks for a month", [" and ".join(map(str, model.fleet_for(n))) for n in N]),
        ("ingest with them", [time_of(model.ingest(n, *model.fleet_for(n)).hours) for n in N]),
        ("labeling jobs", [f"{model.manifests(n).jobs:,}" for n in N]),
        ("reading everything three times", [f"{number(model.labeling(n).readers_for_a_year)} reader years" for n in N]),
        ("training on one ml.g5.xlarge", [time_of(model.training(n)[1].hours) for n in N]),
        ("training on one ml.p5.48xlarge", [time_of(model.training(n)[2].hours) for n in N]),
        ("AWS once, labeling by the self-hosted service", [usd(_once(n)) for n in N]),
        ("of that, transfer out of AWS", [usd(figures.leaving(n)) for n in N]),
        ("storage a month, without the idle cost of the stacks", [usd(_monthly(n)) for n in N]),
        ("the readers", [usd(model.labeling(n).people_usd) for n in N]),
    ]
    return table(["", *map(count, N)], ((name, *values) for name, values in rows))


def _once(images: int) -> float:
    return _own(model.dollars(images).once)


def _monthly(images: int) -> float:
    return _own(model.dollars(images).per_month)


def _storage() -> str:
    rows = []
    for index, form in enumerate(model.FORMATS):
        found = [model.storage(n)[index] for n in N]
        cells = [
            f"{number(row.terabytes)} TB: {', '.join(map(number, (row.standard_usd, row.infrequent_usd, row.glacier_usd)))}"
            for row in found
        ]
        rows.append((FORMAT_NAMES[form], *cells))
    return table(["$ a month in S3 Standard, Infrequent Access, Glacier Instant Retrieval", *map(count, N)], rows)


def _ingest() -> str:
    rows = []
    for uploaders, tasks in model.FLEETS:
        found = [model.ingest(n, uploaders, tasks) for n in N]
        rate = number(found[0].images_per_second), found[0].bound_by
        rows.append((f"{uploaders} and {tasks}", *rate, *(time_of(row.hours) for row in found)))
    shown = table(["uploaders and tasks", "images/s", "limited by", *map(count, N)], rows)
    costs = [model.ingest(n, *model.fleet_for(n)) for n in N]
    return (
        f"{shown}\n\nTasks, database and requests cost {', '.join(usd(c.usd) for c in costs)}; reading back to an uploader "
        f"outside AWS {', '.join(usd(c.read_back_usd) for c in costs)}."
    )


def _limits() -> str:
    names = list(model.ingest(1, 1, 1).limits)
    found = [model.ingest(1_000_000, *fleet).limits for fleet in model.FLEETS]
    return table(
        ["", *(f"{uploaders} and {tasks}" for uploaders, tasks in model.FLEETS)],
        ((name, *(number(limits[name]) for limits in found)) for name in names),
    )


def _simulated_ingest() -> str:
    rows = []
    for name, row in simulated()["ingest"].items():
        rows.append(
            (
                name,
                number(row["images_per_second"]),
                number(row["arithmetic"]) if "arithmetic" in row else "",
                f"{number(row['p50_seconds'])} s" if "p50_seconds" in row else "",
                f"{number(row['p99_seconds'])} s",
                f"{row['retries']}; {row['read_back']:,} of {SIMULATED_FILES:,} read back" if "retries" in row else "0",
            )
        )
    return table(["", "images/s", "computed", "per file, median", "per file, 99 %", "sent again"], rows)


def _labeling() -> str:
    rows: list[tuple[str, list[str]]] = []
    found = [model.labeling(n) for n in N]
    rows += [
        ("hours of reading", [number(row.reader_hours) for row in found]),
        *((f"days of {people} readers", [number(model.days_of_reading(n, people)) for n in N]) for people in (10, 100, 1000)),
        ("pre-annotation calls", [f"{row.pre_invocations:,}" for row in found]),
        ("consolidation calls, one per batch", [f"{row.batches:,}" for row in found]),
        ("the two Lambda functions", [usd(row.lambda_usd) for row in found]),
        ("Ground Truth, all in one month", [usd(row.groundtruth_usd) for row in found]),
        ("the self-hosted service, a year", [usd(row.self_hosted_usd) for row in found]),
        ("images to readers outside AWS", [usd(row.to_readers_usd) for row in found]),
        ("*the readers themselves*", [usd(row.people_usd) for row in found]),
    ]
    return table(["", *map(count, N)], ((name, *values) for name, values in rows))


def _simulated_labeling() -> str:
    rows = []
    for name, row in simulated()["labeling"].items():
        rows.append(
            (
                name,
                number(row["days"]),
                number(row["days_with_adjudication"]),
                f"{100 * row['efficiency']:.0f} %",
                f"{100 * row['idle_share']:.0f} %",
                row["expired"],
                " / ".join(number(value) for value in row["object_wait_hours"]),
            )
        )
    head = ["", "days", "with adjudication", "readers' time used", "without an image", "expired leases"]
    return table([*head, "hours per object, 50 / 90 / 99 %"], rows)


def _training() -> str:
    rows = []
    for index, machine in enumerate(model.MACHINES):
        found = [model.training(n)[index] for n in N]
        rows.append((machine, number(found[0].images_per_second), *(f"{time_of(t.hours)}, {usd(t.usd)}" for t in found)))
    asked = [model.prediction(n) for n in N]
    rows.append(("a prediction for each, on processors", "", *(f"{number(h)} processor h, {usd(cost)}" for h, cost in asked)))
    return table([f"{A('epochs'):.0f} epochs, 224 pixels", "images/s", *map(count, N)], rows)


def _search() -> str:
    found = [model.search(n) for n in N]
    rows: list[tuple[str, list[str]]] = [
        ("embedded index (LanceDB)", [f"{number(row.gigabytes)} GB" for row in found]),
        ("built in, two processors", [time_of(row.build_hours) for row in found]),
        ("OpenSearch nodes, r6g.4xlarge", [str(row.nodes) if row.nodes else "none needed" for row in found]),
        ("a month", [usd(row.usd) for row in found]),
    ]
    return table(["", *map(count, N)], ((name, *values) for name, values in rows))


def _thousand() -> str:
    found = [model.per_thousand_studies(n) for n in N]
    rows = [(name, *(usd(f.once[name]) for f in found)) for name in found[0].once]
    rows.append(("*together, labeled by the self-hosted service*", *(usd(_own(f.once)) for f in found)))
    rows += [(f"{name}, a month", *(usd(f.per_month[name]) for f in found)) for name in found[0].per_month]
    rows.append(("*together, a month, S3 Standard*", *(usd(_own(f.per_month)) for f in found)))
    return table(["", *map(count, N)], rows)


def _own(lines: Mapping[str, float]) -> float:
    """Sum the lines that are not alternatives to another line."""
    return sum(value for name, value in lines.items() if not name.startswith("or "))


# Values in the text


def text_values() -> dict[str, str]:
    p = prices.load()
    known = Counter(price.status for price in p.values())
    images = {f"images_{i}": count(n) for i, n in enumerate(N, 1)}
    work = model.labeling(N[0])
    one = model.ingest(1_000_000, 1, 1)
    raw = model.ingest(1_000_000, 1, 1, "raw")
    tiers = p["s3_standard"].tiers
    hi = model.healthimaging_usd(N[0])
    index = [n * A("index_bytes") for n in N]
    decoded = [model.decoding(n)[0] for n in N]
    cached = [model.cache_bytes(n) for n in N]
    places = int(A("readers_per_image"))
    return {
        **images,
        "tier_1": f"{tiers[0].up_to:,.0f}",
        "tier_2": f"{tiers[1].up_to:,.0f}",
        "index_bytes": f"{A('index_bytes'):,.0f}",
        "index_1": number(index[0] / 1e9),
        "index_2": number(index[1] / 1e9),
        "index_3": number(index[2] / 1e12),
        "hi_first": usd(hi[0]),
        "hi_rest": usd(hi[1]),
        "jpeg_ls_mb": number(model.image_bytes("jpeg_ls") / 1e6),
        "workers": f"{A('upload_workers'):.0f}",
        "rtt": f"{A('round_trip_ms'):.0f}",
        "task_rate": number(one.limits["Orthanc's processors"]),
        "writer_rate": number(one.limits["the database's writer"]),
        "raw_slower": number(one.images_per_second / raw.images_per_second),
        "listing_rows": f"{number(N[1] ** 2 / 2 / A('listing_page') / 1e9)} billion",
        "listing_2": number(model.listing_hours(N[1])),
        "listing_3": number(model.listing_hours(N[2])),
        "objects_per_job": f"{A('objects_per_job'):,.0f}",
        "jobs_3": f"{model.manifests(N[2]).jobs:,}",
        "jobs_at_once": f"{A('jobs_at_once'):.0f}",
        "portal_rate": number(A("portal_answers_per_second")),
        "portal_readers": number(A("portal_answers_per_second") * A("seconds_per_image")),
        "readers_3": number(model.labeling(N[2]).readers_for_a_year),
        "answers_1": number(work.answers_per_second),
        "sim_objects": f"{SIMULATED_OBJECTS:,}",
        "sim_places": str(places),
        "reader_hours": f"{A('reader_hours_per_day'):.0f}",
        "spot_low": f"{100 * p['spot_share_low'].usd:.0f}",
        "spot_high": f"{100 * p['spot_share_high'].usd:.0f}",
        "decode_1": number(decoded[0]),
        "decode_2": number(decoded[1]),
        "decode_3": number(decoded[2]),
        "train_px": f"{A('train_px'):.0f}",
        "cache_1": number(cached[0] / 1e9),
        "cache_2": number(cached[1] / 1e12),
        "cache_3": number(cached[2] / 1e12),
        "per_study": f"{A('images_per_study'):.3f}",
        "usd_hour": f"{A('reader_usd_per_hour'):.0f}",
        "people_thousand": number(1000 * work.people_usd / (N[0] / A("images_per_study"))),
        "tol_ingest": f"{100 * bench.TOLERANCE['ingest_error']:.0f}",
        "tol_labeling": f"{100 * bench.TOLERANCE['labeling_error']:.0f}",
        "tol_decade": f"{100 * bench.TOLERANCE['decade_error']:.0f}",
        "decade_last": f"{DECADES[-2]:,}",
        "region": p.region,
        "read": f"{max(price.read for price in p.values()):%Y-%m-%d}",
        "vendor": str(known["vendor"]),
        "secondary": str(known["secondary"]),
        "unconfirmed": str(known["unconfirmed"]),
        "unconfirmed_names": ", ".join(f"`{name}`" for name, price in p.items() if price.status == "unconfirmed"),
    }


if __name__ == "__main__":
    main()
