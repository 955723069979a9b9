"""Capacity model: storage, ingest, labeling, training, search and costs for a number of images.

Everything follows from `assumptions` and `prices`; ``docs/scale.md`` is made of what these functions return. Sizes are decimal
(MB, GB, TB) except where a price is per binary GB, which `costs.gib` converts.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

from capacity.assumptions import ASSUMPTIONS, AssumptionError, Assumptions

from dicom_workflow.aws.stacks.costs import gib
from dicom_workflow.aws.stacks.prices import Prices, load

SCALES = (377_110, 10_000_000, 1_000_000_000)
"""MIMIC-CXR, a large hospital group, a country."""
FLEETS = ((1, 1), (4, 2), (16, 6), (64, 32))
"""Uploaders and Orthanc tasks; two and six are `MinTasks` and `MaxTasks` of the archive stack."""
FORMATS = ("raw", "jpeg_ls", "j2k", "htj2k")
MACHINES = ("ml.c7i.4xlarge", "ml.g5.xlarge", "ml.p5.48xlarge")
DAY = 86_400.0


def image_bytes(form: str, a: Assumptions = ASSUMPTIONS) -> float:
    """Return the bytes of one image in a format of `FORMATS`."""
    if form not in FORMATS:
        raise AssumptionError(f"expected a format of {', '.join(FORMATS)}, got {form!r}.")
    return a("image_megabytes") * 1e6 / (1.0 if form == "raw" else a(f"{form}_ratio"))


@dataclass(frozen=True)
class Stored:
    """Images at rest, in one format."""

    form: str
    terabytes: float
    standard_usd: float
    """A month, like the next; S3 Standard."""
    infrequent_usd: float
    """S3 Standard-IA: what is read seldom and at once."""
    glacier_usd: float
    """S3 Glacier Instant Retrieval."""


def storage(images: int, a: Assumptions = ASSUMPTIONS, p: Prices | None = None) -> list[Stored]:
    """Return what so many images take in every format, and what they cost a month."""
    p = p or load()
    rows = []
    for form in FORMATS:
        size = images * image_bytes(form, a)
        usd = [p.cost(name, gib(size)) for name in ("s3_standard", "s3_standard_ia", "s3_glacier_ir")]
        rows.append(Stored(form, size / 1e12, *usd))
    return rows


def healthimaging_usd(images: int, a: Assumptions = ASSUMPTIONS, p: Prices | None = None) -> tuple[float, float]:
    """Return dollars a month in HealthImaging while images are in use, and after thirty days without."""
    p = p or load()
    studies = images / a("images_per_study")
    size = studies * max(5 * 2**20, a("images_per_study") * image_bytes("htj2k", a))
    return p.cost("healthimaging_frequent", gib(size)), p.cost("healthimaging_archive", gib(size))


@dataclass(frozen=True)
class Ingested:
    """A batch of images on their way into the archive."""

    images_per_second: float
    bound_by: str
    hours: float
    limits: Mapping[str, float]
    """Images per second that each part could do."""
    usd: float
    """What AWS asks for the hours, the writes and the requests."""
    read_back_usd: float
    """For the bytes that are read back, where the uploader is outside AWS and on the internet; nothing inside the region."""


def orthanc_seconds(form: str, a: Assumptions = ASSUMPTIONS) -> float:
    """Return the processor seconds of Orthanc for one image stored and read back."""
    return (a("orthanc_ms") + a("orthanc_ms_per_mb") * image_bytes(form, a) / 1e6) / 1000


def ingest(
    images: int, uploaders: int, tasks: int, form: str = "jpeg_ls", a: Assumptions = ASSUMPTIONS, p: Prices | None = None
) -> Ingested:
    """Return the throughput of uploaders and Orthanc tasks, and the part that limits it.

    Parameters
    ----------
    images, uploaders, tasks : int
    form : str
        One of `FORMATS`.
    a : Assumptions
    p : Prices, optional
    """
    p = p or load()
    size = image_bytes(form, a) / 1e6
    transfer = size / a("uplink_mb_per_second")
    client = (a("client_ms") + a("client_ms_per_mb") * size) / 1000
    statements = a("index_statements") * a("index_round_trip_ms") / 1000
    one = a("upload_round_trips") * a("round_trip_ms") / 1000 + 2 * transfer + client + orthanc_seconds(form, a) + statements
    limits = {
        "workers waiting": uploaders * a("upload_workers") / one,
        "uploaders' network": uploaders / transfer,
        "uploaders' processor": uploaders / client,
        "Orthanc's processors": tasks * a("orthanc_vcpu") / orthanc_seconds(form, a),
        "Orthanc's database connections": tasks * a("index_connections") / statements,
        "the database's writer": 1000 / a("index_serial_ms"),
        "one prefix of the bucket": a("bucket_puts_per_second") / a("puts_per_image"),
    }
    bound, rate = min(limits.items(), key=lambda item: item[1])
    hours = images / rate / 3600
    task_usd = a("orthanc_vcpu") * p["fargate_arm64_vcpu"].usd + a("orthanc_memory_gb") * p["fargate_arm64_memory"].usd
    acu = max(0.5, rate * a("acu_per_image_per_second"))
    usd = hours * (tasks * task_usd + acu * p["aurora_acu"].usd + p["alb"].usd)
    usd += p.cost("aurora_io", images * a("index_requests") / 1e6)
    usd += p.cost("s3_put", images * a("puts_per_image") / 1000) + p.cost("s3_get", images / 1000)
    read_back = p.cost("data_out", gib(images * image_bytes(form, a)))
    return Ingested(rate, bound, hours, limits, usd, read_back)


def listing_hours(images: int, a: Assumptions = ASSUMPTIONS) -> float:
    """Return the hours the database passes over rows while all instances are listed page by page, by offset."""
    return images**2 / (2 * a("listing_page")) / a("offset_rows_per_second") / 3600


@dataclass(frozen=True)
class Manifests:
    gigabytes: float
    read_hours: float
    """By one process, every line checked."""
    jobs: int


def manifests(images: int, a: Assumptions = ASSUMPTIONS) -> Manifests:
    """Return the size of the manifests and the number of labeling jobs."""
    return Manifests(
        images * a("manifest_line_bytes") / 1e9,
        images / a("manifest_lines_per_second") / 3600,
        math.ceil(images / a("objects_per_job")),
    )


@dataclass(frozen=True)
class Labeled:
    """A labeling of everything."""

    answers: float
    reader_hours: float
    people_usd: float
    """What the readers cost; an assumption, and not AWS's."""
    readers_for_a_year: float
    batches: int
    pre_invocations: int
    lambda_usd: float
    groundtruth_usd: float
    """Ground Truth's price per object, all in one month; people of one's own cost AWS nothing more."""
    self_hosted_usd: float
    """The self-hosted service for a year, as many of it as the answers need, and its requests."""
    to_readers_usd: float
    """For the images that readers outside AWS look at, once for each reading."""
    answers_per_second: float
    """That such readers give while they are at work."""


def labeling(images: int, a: Assumptions = ASSUMPTIONS, p: Prices | None = None) -> Labeled:
    """Return what it takes to have every image read."""
    p = p or load()
    answers = images * (a("readers_per_image") + a("adjudicated"))
    hours = answers * a("seconds_per_image") / 3600 / a("labeling_efficiency")
    readers = hours / (a("reader_hours_per_day") * a("reader_days_per_year"))
    batches = math.ceil(images / a("batch_objects"))
    seconds = images * a("pre_seconds") + batches * a("post_seconds")
    lambda_usd = p.cost("lambda_requests", (images + batches) / 1e6) + p.cost("lambda_arm64", seconds * a("lambda_gb"))
    requests = p.cost("s3_put", (images + 3 * batches) / 1000) + p.cost("s3_get", images * a("readers_per_image") / 1000)
    answer_rate = readers * a("labeling_efficiency") / a("seconds_per_image")
    services = max(1, math.ceil(answer_rate / a("portal_answers_per_second")))
    month = p.hours_per_month * (
        services * (p["fargate_arm64_vcpu"].usd + 4 * p["fargate_arm64_memory"].usd) + p["alb"].usd + 0.5 * p["aurora_acu"].usd
    )
    return Labeled(
        answers=answers,
        reader_hours=hours,
        people_usd=hours * a("reader_usd_per_hour"),
        readers_for_a_year=readers,
        batches=batches,
        pre_invocations=images,
        lambda_usd=lambda_usd,
        groundtruth_usd=p.cost("groundtruth_object", images) + lambda_usd + requests,
        self_hosted_usd=12 * month + requests,
        to_readers_usd=p.cost("data_out", gib(answers * image_bytes("jpeg_ls", a))),
        answers_per_second=answer_rate,
    )


def days_of_reading(images: int, readers: int, a: Assumptions = ASSUMPTIONS) -> float:
    """Return the working days that so many readers need."""
    return labeling(images, a).reader_hours / (readers * a("reader_hours_per_day"))


@dataclass(frozen=True)
class Trained:
    machine: str
    images_per_second: float
    hours: float
    usd: float


def training(images: int, a: Assumptions = ASSUMPTIONS, p: Prices | None = None) -> list[Trained]:
    """Return hours and dollars of all epochs on each machine of `MACHINES`; the cache is built before."""
    p = p or load()
    rates = (a("train_per_core") * a("cpu_cores") / 2, a("train_g5"), a("train_p5"))
    rows = []
    for machine, rate in zip(MACHINES, rates, strict=True):
        hours = images * a("epochs") / rate / 3600
        usd = hours * p[f"training_{machine}"].usd
        rows.append(Trained(machine, rate, hours, usd))
    return rows


def cache_bytes(images: int, a: Assumptions = ASSUMPTIONS) -> float:
    """Return the bytes of the training cache."""
    return images * a("train_px") ** 2 * a("cache_bytes_per_pixel")


def decoding(images: int, a: Assumptions = ASSUMPTIONS, p: Prices | None = None) -> tuple[float, float]:
    """Return processor hours and dollars (ml.c7i.4xlarge) of decoding every image once, as building the cache does."""
    p = p or load()
    hours = images * a("decode_ms") / 3.6e6
    return hours, hours / (a("cpu_cores") / 2) * p["training_ml.c7i.4xlarge"].usd


def prediction(images: int, a: Assumptions = ASSUMPTIONS, p: Prices | None = None) -> tuple[float, float]:
    """Return processor hours and dollars of one prediction for every image, decoding included, on processors alone."""
    p = p or load()
    hours = images * (a("decode_ms") + a("predict_ms")) / 3.6e6
    return hours, hours / (a("cpu_cores") / 2) * p["training_ml.c7i.4xlarge"].usd


@dataclass(frozen=True)
class Searched:
    """An index for similar images; what would build one does not exist yet."""

    gigabytes: float
    """Embedded, on disk."""
    build_hours: float
    """On two processors."""
    nodes: int
    """Of OpenSearch, r6g.4xlarge; 0 while the embedded one is enough."""
    usd: float
    """A month: of the nodes, or of the embedded one's bytes in S3."""


def search(images: int, a: Assumptions = ASSUMPTIONS, p: Prices | None = None) -> Searched:
    """Return what an index of so many images takes."""
    p = p or load()
    size = images * a("search_bytes")
    nodes = 0 if images <= a("search_embedded_images") else max(2, math.ceil(images / a("search_per_node")))
    usd = p.cost("s3_standard", gib(size))
    if nodes:
        disk = images / 1e6 * a("search_node_gb_per_million")
        usd = nodes * p.hours_per_month * p["opensearch_r6g.4xlarge"].usd + p.cost("opensearch_storage", disk)
    return Searched(size / 1e9, images / 1e6 * a("search_build_seconds") / 3600, nodes, usd)


@dataclass(frozen=True)
class Dollars:
    """What AWS asks; `per_month` lines recur, the others do not. People are in neither."""

    once: Mapping[str, float]
    per_month: Mapping[str, float]

    def per_thousand_studies(self, images: int, a: Assumptions = ASSUMPTIONS) -> Dollars:
        """Return the dollars of a thousand studies."""
        share = 1000 / (images / a("images_per_study"))
        return Dollars({k: v * share for k, v in self.once.items()}, {k: v * share for k, v in self.per_month.items()})


def fleet_for(images: int) -> tuple[int, int]:
    """Return the smallest fleet of `FLEETS` that ingests so many images within thirty days, else the largest."""
    return next((fleet for fleet in FLEETS if ingest(images, *fleet).hours <= 30 * 24), FLEETS[-1])


def dollars(images: int, a: Assumptions = ASSUMPTIONS, p: Prices | None = None) -> Dollars:
    """Return what a whole run over so many images costs: JPEG-LS in S3, all of them labeled by the self-hosted service."""
    p = p or load()
    work = labeling(images, a, p)
    stored = next(row for row in storage(images, a, p) if row.form == "jpeg_ls")
    brought = ingest(images, *fleet_for(images), a=a, p=p)
    machine = training(images, a, p)[1 if images <= 10_000_000 else 2]
    once = {
        "ingest": brought.usd,
        "reading back over the internet": brought.read_back_usd,
        "labeling, self-hosted": work.self_hosted_usd,
        "or labeling, Ground Truth": work.groundtruth_usd,
        "images to readers over the internet": work.to_readers_usd,
        "training": decoding(images, a, p)[1] + machine.usd,
        "prediction": prediction(images, a, p)[1],
    }
    per_month = {
        "images, S3 Standard": stored.standard_usd,
        "or images, Glacier Instant Retrieval": stored.glacier_usd,
        "index of the archive": p.cost("aurora_storage", gib(images * a("index_bytes"))),
        "search": search(images, a, p).usd,
    }
    return Dollars(once, per_month)


def per_thousand_studies(images: int, a: Assumptions = ASSUMPTIONS, p: Prices | None = None) -> Dollars:
    """Return the dollars of a thousand studies when there are so many images."""
    return dollars(images, a, p).per_thousand_studies(images, a)
