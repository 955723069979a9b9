"""Assumptions of the capacity model, each with its unit, its source and the kind of source."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType

from dicom_workflow.aws.stacks.costs import IMAGES_PER_STUDY, MEGABYTES_PER_IMAGE
from dicom_workflow.errors import WorkflowError

KINDS = {
    "measured": "measured on two processors of a fourth-generation AMD EPYC by a benchmark of this project",
    "simulated": "result of the simulation of `make bench NAME=scale`",
    "published": "from a publication or from documentation",
    "scaled": "computed from a published figure",
    "assumed": "an estimate to be replaced by your own figure",
}


class AssumptionError(WorkflowError):
    """There is no such assumption."""


@dataclass(frozen=True)
class Assumption:
    """One assumed number."""

    name: str
    value: float
    unit: str
    kind: str
    """A key of `KINDS`."""
    source: str


class Assumptions(Mapping[str, Assumption]):
    """All assumptions by name; the error for an unknown name lists the known ones."""

    def __init__(self, items: Mapping[str, Assumption]) -> None:
        self._items = MappingProxyType(dict(items))

    def __getitem__(self, name: str) -> Assumption:
        try:
            return self._items[name]
        except KeyError:
            raise AssumptionError(f"There is no assumption {name!r}. Known assumptions: {', '.join(self)}.") from None

    def __iter__(self):  # type: ignore[no-untyped-def]
        return iter(self._items)

    def __len__(self) -> int:
        return len(self._items)

    def __call__(self, name: str) -> float:
        """Return a value."""
        return self[name].value

    def with_(self, **values: float) -> Assumptions:
        """Return these assumptions with some other values."""
        own = {
            name: Assumption(name, value, self[name].unit, "assumed", "given by the caller") for name, value in values.items()
        }
        return Assumptions({**self._items, **own})


_ROWS = (
    # Images
    ("images_per_study", IMAGES_PER_STUDY, "images", "published", "MIMIC-CXR: 377,110 images of 227,835 studies"),
    ("image_megabytes", MEGABYTES_PER_IMAGE, "MB", "assumed", "2500 × 2500 pixels of two bytes"),
    ("jpeg_ls_ratio", 2.43, "times smaller", "published", "Clunie 2000: lossless, digital X-ray"),
    ("j2k_ratio", 2.43, "times smaller", "published", "Clunie 2000: overall the same as JPEG-LS"),
    ("htj2k_ratio", 2.26, "times smaller", "assumed", "7 % larger than JPEG 2000"),
    # Ingest
    ("upload_workers", 16, "files at once", "measured", "the default of `upload`"),
    ("upload_round_trips", 2.3, "per file", "measured", "`make bench NAME=scale`"),
    ("round_trip_ms", 20, "ms", "assumed", "a cloud region in the same country"),
    ("uplink_mb_per_second", 110, "MB/s", "assumed", "1 Gbit/s of each uploader, each way"),
    ("client_ms", 0.8, "ms of a processor per file", "measured", "uploads of files of 0.6, 5 and 12.5 MB"),
    ("client_ms_per_mb", 2.0, "ms of a processor", "measured", "the same"),
    ("orthanc_ms", 1.3, "ms of a processor per file", "measured", "the same, with read-back; SQLite index"),
    ("orthanc_ms_per_mb", 3.9, "ms of a processor", "measured", "the same"),
    ("orthanc_read_ms_per_mb", 0.44, "ms of a processor", "measured", "the same files read back alone; a part of the above"),
    ("orthanc_vcpu", 2, "vCPU of one task", "assumed", "an arm64 vCPU as fast as the processor measured"),
    ("orthanc_memory_gb", 8, "GB of one task", "assumed", "`TaskSize: medium` of the archive stack, like the vCPU"),
    ("index_statements", 20.3, "per image", "measured", "log of a real PostgreSQL 15 below a real Orthanc"),
    ("index_bytes", 5_181, "bytes per image", "measured", "the same; short headers"),
    ("index_round_trip_ms", 1.0, "ms", "assumed", "from a task to Aurora in the same zone"),
    ("index_connections", 50, "per Orthanc task", "assumed", "maximum of a task in the archive stack"),
    ("index_serial_ms", 0.5, "ms per image", "assumed", "time in which the writer executes one transaction alone"),
    ("index_requests", 30, "I/O requests per image", "assumed", "what Aurora charges"),
    ("acu_per_image_per_second", 0.01, "ACU", "assumed", "half an ACU at least"),
    ("offset_rows_per_second", 8_881_850, "rows", "measured", "PostgreSQL 15 skipping rows of an index by OFFSET, in memory"),
    ("listing_page", 1000, "rows", "measured", "`search_for_instances`: one request per page"),
    ("sqlite_images", 300_000, "images", "published", "Orthanc Book: several hundreds of thousands"),
    ("known_orthanc_images", 50e6, "images", "published", "Orthanc Book: the largest documented installation"),
    ("bucket_puts_per_second", 3_500, "per prefix", "published", "S3 user guide"),
    ("puts_per_image", 2, "objects", "assumed", "Orthanc keeps the file and its header"),
    ("database_tib", 128, "TiB", "assumed", "not looked up: the largest Aurora volume"),
    # Manifests and labeling
    ("manifest_line_bytes", 300, "bytes", "measured", "`make bench NAME=manifest`"),
    ("manifest_lines_per_second", 138_166, "lines", "measured", "the same: read and checked"),
    ("objects_per_job", 100_000, "objects", "published", "Ground Truth's quota, also of the self-hosted service"),
    ("jobs_at_once", 20, "jobs", "measured", "limit of the self-hosted service"),
    ("readers_per_image", 3, "readers", "assumed", "the default of a labeling job"),
    ("seconds_per_image", 30, "s", "assumed", "a radiologist, fourteen findings, with regions"),
    ("reader_hours_per_day", 6, "h", "assumed", ""),
    ("reader_days_per_year", 220, "days", "assumed", ""),
    ("reader_usd_per_hour", 100, "$", "assumed", "not part of AWS's bill: shown separately"),
    ("adjudicated", 0.1, "of the images", "assumed", "one more reader decides"),
    ("labeling_efficiency", 0.94, "of the readers' time", "simulated", "20 readers, batches of 1000, leases of 30 minutes"),
    ("batch_objects", 1000, "objects", "published", "MaxConcurrentTaskCount; its default"),
    ("portal_answers_per_second", 60.9, "answers", "measured", "the self-hosted service and three readers on two processors"),
    ("pre_seconds", 0.05, "s of Lambda per object", "assumed", ""),
    ("post_seconds", 5.0, "s of Lambda per batch", "assumed", ""),
    ("lambda_gb", 0.5, "GB", "assumed", ""),
    # Training, prediction
    ("train_px", 224, "pixels a side", "assumed", ""),
    ("cache_bytes_per_pixel", 2, "bytes", "measured", "the cache's own format"),
    ("decode_ms", 72, "ms of a processor", "measured", "JPEG-LS, 2500 × 2048 of 12 bits, best of three decoders"),
    ("epochs", 30, "epochs", "assumed", ""),
    ("train_per_core", 13.3, "images/s", "measured", "one core, bfloat16, 224 pixels, input included"),
    ("train_g5", 586, "images/s", "scaled", "914 of an RTX 3090 (timm, 224 pixels) by memory bandwidth, 600 of 936 GB/s"),
    ("train_p5", 24_270, "images/s", "scaled", "the same by 3350 GB/s, eight times, less 7 %; not measured"),
    ("cpu_cores", 16, "vCPU", "published", "ml.c7i.4xlarge; a vCPU is half a core"),
    ("predict_ms", 19, "ms of a processor", "measured", "one image through the network, 224 pixels, one core"),
    ("gpu_gb_g5", 24, "GB", "published", "A10G"),
    ("disk_gb_g5", 250, "GB", "published", "the disk of ml.g5.xlarge"),
    # Engines alone; our own search is measured at 100,000 images
    ("search_bytes", 4_450, "bytes per image", "measured", "LanceDB, a million vectors of 1024, IVF_RQ; the engine alone"),
    ("search_build_seconds", 69, "s per million", "measured", "the same, two processors"),
    ("search_embedded_images", 10e6, "images", "assumed", "up to here one process with a folder or a bucket is sufficient"),
    ("search_exact_images", 10_000, "images", "measured", "below this no index is needed"),
    (
        "search_per_node",
        56.5e6,
        "images",
        "published",
        "OpenSearch, 113 million × 1024 on two r6g.4xlarge, recall 0.98, 259 ms",
    ),
    ("search_node_gb_per_million", 5, "GB", "assumed", "vectors on disk and replica"),
)

ASSUMPTIONS = Assumptions({row[0]: Assumption(row[0], float(row[1]), row[2], row[3], row[4]) for row in _ROWS})
