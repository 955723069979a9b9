"""Plan past this machine: the queues against theory, the labeling model against the real engine, the page against the code."""

from __future__ import annotations

import json
import math
import random
import re
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import scale as benchmark
from capacity import document, figures, ingest_model, labeling_model, labeling_replay, limits, model
from capacity.assumptions import ASSUMPTIONS, KINDS, AssumptionError
from capacity.events import Loop, Place, Process
from capacity.ingest_model import Ingest
from capacity.labeling_model import Job, ModelDesk, Reader, work
from hypothesis import given, settings
from hypothesis import strategies as st

from dicom_workflow.archive.orthanc_process import find_orthanc
from dicom_workflow.aws.stacks import costs, prices

ROOT = Path(__file__).resolve().parents[2]

# Queues


def queue(servers: int, arrivals: float, service: float, customers: int, seed: int = 1) -> tuple[Place, float, float]:
    """Run M/M/c; return its place, the time, and the mean number in it by its own count."""
    loop, draw = Loop(), random.Random(seed)
    place = Place(loop, servers)
    inside, area, last = 0, 0.0, 0.0

    def step(change: int) -> None:
        nonlocal inside, area, last
        area += inside * (loop.now - last)
        inside, last = inside + change, loop.now

    def customer() -> Process:
        step(1)
        yield from place.hold(draw.expovariate(service))
        step(-1)

    def source() -> Process:
        for _ in range(customers):
            yield draw.expovariate(arrivals)
            loop.start(customer())

    loop.start(source())
    end = loop.run()
    return place, end, area / end


def erlang_wait(servers: int, arrivals: float, service: float) -> float:
    """Mean wait of M/M/c (Erlang C)."""
    load = arrivals / service
    tail = load**servers / math.factorial(servers) * servers / (servers - load)
    waiting = tail / (sum(load**k / math.factorial(k) for k in range(servers)) + tail)
    return waiting / (servers * service - arrivals)


@pytest.mark.parametrize(("servers", "load"), [(1, 0.5), (1, 0.8), (3, 0.7), (8, 0.9)])
def test_a_queue_waits_as_theory_says(servers: int, load: float) -> None:
    found, _, _ = queue(servers, arrivals=load * servers, service=1.0, customers=60_000)
    assert found.mean_wait == pytest.approx(erlang_wait(servers, load * servers, 1.0), rel=0.12)
    assert found.utilization == pytest.approx(load, rel=0.03)


def test_littles_law_holds_for_what_waits_and_for_what_is_inside() -> None:
    place, end, inside = queue(2, arrivals=1.7, service=1.0, customers=20_000)
    assert place.waits == 20_000
    assert place.mean_queue == pytest.approx(place.waited / end), "an identity, when every customer has left"
    busy = 2 * place.utilization
    assert inside == pytest.approx(place.mean_queue + busy)


def test_who_came_first_is_served_first_and_a_seed_fixes_everything() -> None:
    loop, served = Loop(), []
    place = Place(loop, 1)

    def customer(number: int) -> Process:
        yield place
        served.append(number)
        yield 1.0
        place.leave()

    for number in range(5):
        loop.start(customer(number))
    assert loop.run() == 5.0
    assert served == [0, 1, 2, 3, 4]
    plan = Ingest(files=500, uploaders=2, tasks=2, lost=0.05, round_trip_seconds=0.02)
    assert ingest_model.simulate(plan, 7) == ingest_model.simulate(plan, 7)
    assert ingest_model.simulate(plan, 8) != ingest_model.simulate(plan, 7)


def test_time_does_not_run_backwards() -> None:
    loop = Loop()
    loop.run()
    loop.now = 5.0
    with pytest.raises(AssertionError, match=r"expected a time from 5.0 on, got 4.0"):
        loop.at(4.0, lambda: None)


# Ingest


def test_one_worker_takes_the_sum_of_the_steps() -> None:
    plan = Ingest(
        files=50, workers=1, spread=0, client_seconds=0.01, store_seconds=0.02, read_seconds=0.005, index_seconds=0.004,
        disk_seconds=0.006, round_trip_seconds=0.02, round_trips=2, file_mb=1, link_mb_per_second=100,
    )  # fmt: skip
    assert 1 / ingest_model.simulate(plan).files_per_second == pytest.approx(0.01 + 0.02 + 0.005 + 0.004 + 0.006 + 0.04 + 0.02)


@pytest.mark.parametrize(
    ("change", "bound"),
    [
        ({"processors": 2, "store_seconds": 0.1, "read_seconds": 0.02}, 2 / 0.12),
        ({"tasks": 3, "processors": 2, "store_seconds": 0.1, "read_seconds": 0.02}, 6 / 0.12),
        ({"index_seconds": 0.05, "tasks": 8}, 1 / 0.05),
        ({"file_mb": 5, "link_mb_per_second": 50}, 50 / 5),
        ({"client_seconds": 0.08}, 1 / 0.08),
        ({"round_trip_seconds": 2.0, "workers": 4}, 4 / 4.004),
    ],
)
def test_with_many_at_once_the_narrowest_part_limits_the_rate(change: dict[str, Any], bound: float) -> None:
    plan = replace(Ingest(files=1500, workers=64, client_seconds=0.001, store_seconds=0.002, read_seconds=0.001), **change)
    found = ingest_model.simulate(plan)
    assert found.files_per_second == pytest.approx(bound, rel=0.12)
    assert found.files_per_second <= bound * 1.02


def test_a_lost_answer_costs_time_and_no_file() -> None:
    plan = Ingest(files=2000, lost=0.1, timeout_seconds=1.0)
    found, calm = ingest_model.simulate(plan), ingest_model.simulate(replace(plan, lost=0.0))
    assert found.verified == calm.verified == 2000
    assert calm.retries == 0
    assert found.retries == pytest.approx(2000 * 0.1 / 0.9, rel=0.25)
    assert found.p99_seconds > 1.0 > calm.p99_seconds


@pytest.mark.parametrize("fleet", model.FLEETS)
def test_simulation_and_arithmetic_of_ingest_agree(fleet: tuple[int, int]) -> None:
    found = ingest_model.simulate(benchmark.cloud_ingest(*fleet, 3000 * max(1, fleet[0] // 16)))
    assert found.files_per_second == pytest.approx(model.ingest(1, *fleet).images_per_second, rel=0.06)


# Labeling

PEOPLE = st.lists(
    st.builds(
        Reader,
        mean_seconds=st.floats(5, 60),
        spread=st.floats(0.1, 1.5),
        begins=st.floats(0, 600),
        hours=st.sampled_from([0.05, 0.5, 24.0]),
        leaves=st.sampled_from([0.0, 0.05, 0.2]),
        away_seconds=st.floats(10, 400),
        looks_again_seconds=st.floats(3, 30),
    ),
    min_size=3,
    max_size=6,
)


class Watched(ModelDesk):
    """A desk that checks its own rules after everything that happens."""

    def lease(self, reader: int, now: float) -> int | None:
        number = super().lease(reader, now)
        if number is not None:
            held = {who for who, until in self._held[number].items() if until > now}
            assert reader in held and reader not in self._answered.get(number, set())
            assert len(held | self._answered.get(number, set())) <= self._job.places
            assert self._closed <= number < self._opened
        return number


@settings(max_examples=40, deadline=None)
@given(PEOPLE, st.integers(1, 3), st.integers(1, 30), st.integers(0, 5))
def test_every_object_gets_as_many_different_readers_as_it_wants(
    readers: list[Reader], places: int, batch: int, seed: int
) -> None:
    job = Job(objects=40, places=places, batch=batch, lease_seconds=60)
    desk = Watched(job)
    ended, spent, answers = work(readers, desk, seed)
    by_object: dict[int, list[int]] = {}
    for _, reader, number in answers:
        by_object.setdefault(number, []).append(reader)
    assert sorted(by_object) == list(range(40))
    assert all(len(given) == len(set(given)) == places for given in by_object.values())
    assert ended == max(desk.completed.values())
    opened = [desk.opened_at[number] for number in range(40)]
    assert opened == sorted(opened)
    for number in range(batch, 40):
        before = range((number // batch - 1) * batch, number // batch * batch)
        assert opened[number] >= max(desk.completed[other] for other in before), "a batch opened before the last one was done"
    assert all(value >= 0 for value in spent.values())


@pytest.mark.parametrize(("places", "batch", "lease", "seed"), [(3, 20, 60, 0), (2, 7, 40, 1), (1, 60, 300, 2)])
def test_model_and_real_engine_agree_answer_by_answer(tmp_path: Path, places: int, batch: int, lease: int, seed: int) -> None:
    job = Job(objects=60, places=places, batch=batch, lease_seconds=lease)
    readers = [
        Reader(mean, 0.9, begins=begins, hours=0.2, leaves=0.06, away_seconds=away, looks_again_seconds=7)
        for mean, away, begins in ((20, 30, 0), (30, 100, 10), (25, 300, 20), (40, 90, 5))
    ]
    engine, status = labeling_replay.replay(tmp_path, job, readers, seed)
    desk = ModelDesk(job)
    _, _, model = work(readers, desk, seed)
    assert status == "Completed"
    assert engine == model, "when, who, what"
    assert desk.expired > 0 or lease == 300, "leases that run out are part of what is compared"


def test_a_job_needs_as_many_readers_as_places() -> None:
    with pytest.raises(ValueError, match="expected at least 3 readers, as many as places of an object, got 2"):
        labeling_model.simulate(Job(objects=5), [Reader(), Reader()])


def test_readers_without_shifts_and_without_waiting_read_at_their_own_rate() -> None:
    found = labeling_model.simulate(Job(objects=4000, places=1, batch=4000), [Reader(30.0, 0.5) for _ in range(10)])
    assert found.answers_per_hour == pytest.approx(10 * 3600 / 30, rel=0.03)
    assert found.idle_share < 0.02
    assert found.expired == 0


def test_small_batches_and_long_leases_keep_readers_waiting() -> None:
    readers = [Reader(leaves=0.005, away_seconds=6000, looks_again_seconds=20) for _ in range(12)]
    job = Job(objects=2000, batch=1000)
    usual = labeling_model.simulate(job, readers)
    assert labeling_model.simulate(replace(job, batch=50), readers).idle_share > usual.idle_share
    assert labeling_model.simulate(replace(job, lease_seconds=28_800), readers).idle_share > usual.idle_share
    assert labeling_model.simulate(replace(job, places=2), readers).seconds < usual.seconds


def test_nobody_reads_at_night() -> None:
    person = Reader(begins=8 * 3600.0, hours=6)
    assert labeling_model.at_work(person, 9 * 3600.0) == 9 * 3600.0
    assert labeling_model.at_work(person, 14 * 3600.0) == 32 * 3600.0
    assert labeling_model.at_work(person, 0.0) == 8 * 3600.0


def test_what_is_adjudicated_is_a_job_of_its_own() -> None:
    job = Job(objects=1000, adjudicated=0.1)
    assert labeling_model.adjudication_of(job) == Job(objects=100, places=1)
    assert labeling_model.adjudication_of(replace(job, adjudicated=0.0)) is None


# Arithmetic


def everything(a: Any) -> dict[str, Any]:
    """All that the arithmetic says, with some assumptions."""
    found: dict[str, Any] = {"breaks": limits.breaks(a)}
    for n in model.SCALES:
        found[f"{n}"] = (
            model.storage(n, a), model.healthimaging_usd(n, a), model.listing_hours(n, a), model.manifests(n, a),
            [model.ingest(n, *fleet, a=a) for fleet in model.FLEETS], model.labeling(n, a), model.training(n, a),
            model.cache_bytes(n, a), model.decoding(n, a), model.prediction(n, a), model.search(n, a),
            model.per_thousand_studies(n, a),
            [model.image_bytes(form, a) for form in model.FORMATS],
        )  # fmt: skip
    return found


@pytest.mark.parametrize("name", [name for name in ASSUMPTIONS if name != "orthanc_read_ms_per_mb"])
def test_something_depends_on_each_assumption(name: str) -> None:
    changed = ASSUMPTIONS.with_(**{name: 0.6 * ASSUMPTIONS(name)})
    assert everything(changed) != everything(ASSUMPTIONS), "the read-back's own share is the simulation's alone"
    assert changed[name].kind == "assumed"


@pytest.mark.parametrize("item", ASSUMPTIONS.values(), ids=list(ASSUMPTIONS))
def test_an_assumption_has_a_unit_and_says_where_it_is_from(item: Any) -> None:
    assert item.unit and item.value > 0
    assert item.kind in KINDS
    assert item.source or item.kind == "assumed"


def test_an_assumption_that_there_is_not_fails_by_name() -> None:
    with pytest.raises(AssumptionError, match=r"no assumption 'seconds_per_picture'\. Known assumptions: images_per_study"):
        ASSUMPTIONS.with_(seconds_per_picture=3)
    with pytest.raises(AssumptionError, match="expected a format of raw, jpeg_ls, j2k, htj2k, got 'gif'"):
        model.image_bytes("gif")


def test_known_sizes_and_dollars() -> None:
    raw, jpeg_ls, *_ = model.storage(377_110)
    assert raw.terabytes == pytest.approx(4.713875)
    assert jpeg_ls.terabytes == pytest.approx(4.713875 / 2.43)
    assert raw.standard_usd == pytest.approx(4.713875e12 / 2**30 * 0.023)
    large = model.storage(1_000_000_000)[0].standard_usd
    gib = 12.5e15 / 2**30
    assert large == pytest.approx(51_200 * 0.023 + 460_800 * 0.022 + (gib - 512_000) * 0.021)
    assert model.manifests(377_110).jobs == 4
    assert model.manifests(100_000).jobs == 1
    assert model.cache_bytes(1000) == 1000 * 224 * 224 * 2
    assert model.labeling(50_000).groundtruth_usd == pytest.approx(4000, rel=0.01)


def test_small_studies_are_charged_as_five_megabytes_in_healthimaging() -> None:
    tiny = ASSUMPTIONS.with_(image_megabytes=0.1)
    studies = 10_000 / ASSUMPTIONS("images_per_study")
    assert model.healthimaging_usd(10_000, tiny)[0] == pytest.approx(studies * 5 / 1024 * 0.105)


def test_a_break_is_where_the_arithmetic_itself_says_so() -> None:
    found = {row.what: row.images for row in limits.breaks()}
    assert list(found.values()) == sorted(found.values())
    week = 7 * 24
    assert model.ingest(round(found["One uploader, one task, one week"]), 1, 1).hours == pytest.approx(week)
    assert model.ingest(round(found["64 uploaders, 32 tasks, one week"]), 64, 32).hours == pytest.approx(week)
    g5, p5 = (next(t for t in model.training(10**6) if t.machine == m) for m in ("ml.g5.xlarge", "ml.p5.48xlarge"))
    assert found["One ml.g5.xlarge, one week"] * g5.hours / 1e6 == pytest.approx(week)
    assert found["One ml.p5.48xlarge, one week"] * p5.hours / 1e6 == pytest.approx(week)
    assert model.listing_hours(round(found["Listing the archive by pages in an hour"])) == pytest.approx(1.0, rel=1e-5)
    assert model.days_of_reading(round(found["Ten readers, one year"]), 10) == pytest.approx(220, rel=1e-4)
    assert model.manifests(round(found["Objects in one labeling job"])).jobs == 1
    assert model.manifests(round(found["Objects in one labeling job"]) + 1).jobs == 2
    assert all(row.knob and row.why for row in limits.breaks())


def test_more_images_never_cost_less_and_a_thousand_studies_are_their_share() -> None:
    for smaller, larger in zip(model.SCALES, model.SCALES[1:], strict=False):
        one, other = model.dollars(smaller), model.dollars(larger)
        assert all(one.once[name] <= other.once[name] for name in one.once)
        assert all(one.per_month[name] <= other.per_month[name] for name in one.per_month)
    images = model.SCALES[0]
    studies = images / ASSUMPTIONS("images_per_study")
    share = model.per_thousand_studies(images)
    assert share.once["training"] * studies / 1000 == pytest.approx(model.dollars(images).once["training"])


def test_the_dry_run_and_this_page_price_the_storage_of_a_thousand_studies_alike() -> None:
    lines = costs.per_thousand_studies(prices.load(), by_ground_truth=False)
    stored = next(line.usd for line in lines if line.what == "a month of storage")
    uncompressed = model.storage(round(1000 * costs.IMAGES_PER_STUDY))[model.FORMATS.index("raw")]
    assert stored == pytest.approx(uncompressed.standard_usd, rel=1e-3)


def test_people_are_in_no_bill_of_aws() -> None:
    dear = ASSUMPTIONS.with_(reader_usd_per_hour=10_000)
    assert model.dollars(377_110, dear) == model.dollars(377_110)
    assert model.labeling(377_110, dear).people_usd == pytest.approx(100 * model.labeling(377_110).people_usd)


def test_another_regions_prices_change_the_dollars_and_nothing_else(tmp_path: Path) -> None:
    data = json.loads((ROOT / "dicom_workflow/aws/stacks/prices.json").read_text(encoding="utf-8"))
    data["prices"]["s3_standard_ia"]["usd"] *= 2
    path = tmp_path / "prices.json"
    path.write_text(json.dumps(data))
    dear, usual = model.storage(10**6, p=prices.load(path)), model.storage(10**6)
    assert [row.infrequent_usd for row in dear] == [2 * row.infrequent_usd for row in usual]
    assert [(row.terabytes, row.standard_usd) for row in dear] == [(row.terabytes, row.standard_usd) for row in usual]


# The page


@pytest.fixture(scope="module")
def page() -> str:
    return document.PAGE.read_text(encoding="utf-8")


def test_the_page_is_what_the_code_computes(page: str) -> None:
    assert page == document.render(), "docs/scale.md is out of date: run `PYTHONPATH=benchmarks python -m capacity.document`"


def test_the_pages_snippet_runs(page: str, capsys: pytest.CaptureFixture[str]) -> None:
    (snippet,) = re.findall(r"```python\n(.*?)```", page, re.DOTALL)
    exec(snippet, {})  # noqa: S102  our own documentation
    assert re.fullmatch(r"[\d,]+ hours of reading\n", capsys.readouterr().out)


def test_the_page_shows_its_pictures_and_hides_no_doubt(page: str) -> None:
    for name in re.findall(r"!\[.*?\]\((.*?)\)", page):
        assert (document.PAGE.parent / name).read_bytes().startswith(b"\x89PNG")
    for name, price in prices.load().items():
        assert (f"`{name}`" in page) == (price.status == "unconfirmed")
    assert "Our own search is measured at 100,000 images" in page
    assert "{" not in re.sub(r"```.*?```", "", page, flags=re.DOTALL)


def test_the_pictures_are_drawn() -> None:
    for draw in (figures.figure, figures.breaks_figure):
        assert draw().to_png(dpi=30).startswith(b"\x89PNG")


@pytest.mark.parametrize(
    ("value", "text"), [(0, "0"), (0.00016, "0.00016"), (0.2, "0.20"), (4.905, "4.91"), (41.8, "41.8"), (1234567, "1,230,000")]
)
def test_numbers_have_three_digits(value: float, text: str) -> None:
    assert document.number(value) == text


@pytest.mark.parametrize(("hours", "text"), [(0.5, "30.0 min"), (5, "5.00 h"), (48, "2.00 days"), (17532, "2.00 years")])
def test_times_have_a_fitting_unit(hours: float, text: str) -> None:
    assert document.time_of(hours) == text


def test_what_the_plan_assumes_of_labeling_is_what_the_simulation_finds() -> None:
    found = document.simulated()["labeling"]["usual"]["efficiency"]
    assert found == pytest.approx(ASSUMPTIONS("labeling_efficiency"), abs=0.02)


# The benchmark


@pytest.mark.orthanc
@pytest.mark.skipif(not find_orthanc(), reason="there is no Orthanc here")
def test_the_benchmark_runs_to_its_last_line() -> None:
    command = [sys.executable, ROOT / "benchmarks/scale.py", "--quick"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=240)
    assert done.returncode == 0, done.stderr
    figures = json.loads(done.stdout.splitlines()[-1])
    assert figures["benchmark"] == "scale"
    assert set(figures["holds"]) == set(figures["tolerance"])
    assert figures["engine_difference_seconds"] == 0.0
    assert figures["holds"]["engine_difference_seconds"] is True
    assert figures["measured"]["engine"]["status"] == "Completed"
    ingest = figures["measured"]["ingest"]
    assert ingest["measured_per_second"].keys() == ingest["predicted_per_second"].keys() > set(ingest["judged_on"])
    assert [row["objects"] for row in figures["simulated"]["decades"]["rows"]] == [300, 1000, 3000]
