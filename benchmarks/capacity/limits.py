"""Limits that are reached as the number of images grows, and how to raise them."""

from __future__ import annotations

import math
from dataclasses import dataclass

from capacity import model
from capacity.assumptions import ASSUMPTIONS, Assumptions

from dicom_workflow.aws.stacks.prices import Prices, load


@dataclass(frozen=True)
class Break:
    """A limit, the number of images at which it is reached, and the parameter that raises it."""

    what: str
    images: float
    why: str
    knob: str


def breaks(a: Assumptions = ASSUMPTIONS, p: Prices | None = None) -> list[Break]:
    """Return the limits in the order in which they are reached."""
    p = p or load()
    week = 7 * 24
    one = model.ingest(1_000_000, 1, 1, a=a, p=p)
    whole = model.ingest(1_000_000, 64, 32, a=a, p=p)
    team = a("reader_hours_per_day") * a("reader_days_per_year") * 10
    g5 = next(row for row in model.training(1_000_000, a, p) if row.machine == "ml.g5.xlarge")
    p5 = next(row for row in model.training(1_000_000, a, p) if row.machine == "ml.p5.48xlarge")
    cache = model.cache_bytes(1, a)
    rows = [
        Break(
            "Similar images without an index",
            a("search_exact_images"),
            "every vector is compared",
            "IVF_RQ, built in minutes",
        ),
        Break(
            "Objects in one labeling job",
            a("objects_per_job"),
            "Ground Truth's quota",
            "`splits.split_for_jobs`; the jobs share one work team",
        ),
        Break(
            "Ten readers, one year",
            team * 3600 * a("labeling_efficiency") / (a("seconds_per_image") * (a("readers_per_image") + a("adjudicated"))),
            f"{a('readers_per_image'):.0f} readings of {a('seconds_per_image'):.0f} s an image",
            "label a sample; one reader and adjudication; a model's suggestions; `MaxPercentageOfInputDatasetLabeled`",
        ),
        Break(
            "Orthanc's own SQLite index",
            a("sqlite_images"),
            "Orthanc Book",
            "`archive` stack: PostgreSQL from the first image on",
        ),
        Break(
            "The cache on one A10G",
            0.6 * a("gpu_gb_g5") * 1e9 / cache,
            "more than 60 % of the card's memory",
            "the cache is read from disk; larger card; `--size_px`",
        ),
        Break(
            "Twenty labeling jobs at once",
            a("objects_per_job") * a("jobs_at_once"),
            "limit of the self-hosted service",
            "start the next job when one is complete",
        ),
        Break(
            "The cache on the disk of ml.g5.xlarge",
            a("disk_gb_g5") * 1e9 / cache,
            f"{cache / 1000:.0f} KB an image",
            "an instance with a larger disk; one shard per process",
        ),
        Break(
            "Listing the archive by pages in an hour",
            math.sqrt(3600 * 2 * a("listing_page") * a("offset_rows_per_second")),
            "the database skips all rows before each page",
            "`instances.jsonl` of the upload instead of a listing; several archives",
        ),
        Break(
            "One uploader, one task, one week",
            one.images_per_second * week * 3600,
            one.bound_by,
            "more uploaders, each with part of the folders; `MinTasks` of the archive stack",
        ),
        Break(
            "One ml.g5.xlarge, one week",
            1e6 * week / g5.hours,
            f"{a('epochs'):.0f} epochs",
            "`instance_type`, `instance_count`; fewer epochs of more images",
        ),
        Break(
            "The largest Orthanc known to its authors",
            a("known_orthanc_images"),
            "no larger one is documented",
            "several archives, by hash of the study; HealthImaging",
        ),
        Break(
            "One OpenSearch pair",
            2 * a("search_per_node"),
            "113 million vectors on two r6g.4xlarge",
            "more nodes; fewer bits a vector",
        ),
        Break(
            "64 uploaders, 32 tasks, one week",
            whole.images_per_second * week * 3600,
            whole.bound_by,
            "`MaxTasks`, `TaskSize`, `DatabaseMaxCapacity`; several archives, each with its own database",
        ),
        Break(
            "One ml.p5.48xlarge, one week",
            1e6 * week / p5.hours,
            f"{a('epochs'):.0f} epochs",
            "`instance_count`; fewer epochs",
        ),
        Break(
            "Aurora's volume",
            a("database_tib") * 2**40 / a("index_bytes"),
            f"{a('index_bytes'):,.0f} bytes an image",
            "never the first limit",
        ),
    ]
    return sorted(rows, key=lambda row: row.images)
