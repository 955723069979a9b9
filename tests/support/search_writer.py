"""A process that writes to a search store: the same new keys as others at once, or batch after batch until it is killed."""

from __future__ import annotations

import os
import resource
import sys
import time
from pathlib import Path

import numpy as np
from support.search_corpus import DIMENSIONS, SPACE, make_report

from dicom_workflow.errors import SearchStoreError
from dicom_workflow.formats.labels import default_label_set
from dicom_workflow.search.documents import Embeddings, ImageDocument
from dicom_workflow.search.query import ReportQuery
from dicom_workflow.search.store import open_store


def documents(keys: list[str]) -> tuple[list[ImageDocument], Embeddings]:
    """Return images of these ids with an embedding each."""
    rng = np.random.default_rng(0)
    return [ImageDocument(key, view_position="PA") for key in keys], Embeddings.of(
        SPACE, keys, rng.normal(size=(len(keys), DIMENSIONS))
    )


def same_keys(url: str, start_at: float, rounds: int = 12, size: int = 20) -> None:
    """Write the same keys in the same rounds as every other process that was given this start."""
    store = open_store(url)
    print("ready", flush=True)
    sys.stdin.readline()
    for number in range(rounds):
        keys = [f"2.25.{number}.{at}" for at in range(size)]
        store.upsert_images(*documents(keys))
        store.upsert_reports(make_report(key, [("cough", "positive")]) for key in keys)
        time.sleep(start_at)


def until_killed(url: str, name: str) -> None:
    """Write small batches and print each one's name once the store has acknowledged it."""
    store = open_store(url)
    for number in range(100_000):
        keys = [f"{name}.{number}.{at}" for at in range(10)]
        store.upsert_images(*documents(keys))
        store.upsert_reports(make_report(key, [("pneumothorax", "positive")]) for key in keys)
        print(f"{name}.{number}", flush=True)


def refused(url: str, how: str) -> None:
    """Print what a store says to a write without the right to write (``read-only``) or the space (``disk-full``), and reads."""
    store = open_store(url)
    before = len(list(store.scan_images()))
    default_label_set()  # of a file of the package, which nobody else may have the right to read
    if how == "read-only" and os.geteuid() == 0:
        os.setuid(65534)  # nobody; root may write anywhere
    if how == "disk-full":
        resource.setrlimit(resource.RLIMIT_FSIZE, (500, 500))  # stands for a full disk: longer files cannot be written
    store = open_store(url)
    for act in (
        lambda: store.upsert_images(*documents(["2.25.new"])),
        lambda: store.delete(image_ids=["2.25.0001"]),
        store.maintain,
    ):
        try:
            print(f"written: {act()}")
        except SearchStoreError as error:
            print(f"refused: {error}")
    print(f"read: {len(list(store.scan_images())) == before} {store.search_reports(ReportQuery('pneumothorax')).total > 0}")


if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).parents[1]))
    if sys.argv[1] == "same-keys":
        same_keys(sys.argv[2], float(sys.argv[3]))
    elif sys.argv[1] == "refused":
        refused(sys.argv[2], sys.argv[3])
    else:
        until_killed(sys.argv[2], sys.argv[3])
