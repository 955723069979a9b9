"""The labeling service is killed and restarted while three readers work: no acknowledged answer is lost."""

from __future__ import annotations

import json
import sqlite3
import sys
import threading
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from support.groundtruth import (
    Visitor,
    job_request,
    label,
    make_images,
    output_lines,
    running,
    said,
    without_times,
)

OBJECTS = 24
KILLS = 2


def answers_in(workspace: Path) -> int:
    with sqlite3.connect(f"file:{workspace}/groundtruth/job-database.sqlite?mode=ro", uri=True) as db:
        count = db.execute("SELECT count(*) FROM answers").fetchone()[0]
    db.close()
    return int(count)


def test_killed_in_the_middle_of_labeling_the_output_is_that_of_an_undisturbed_run(tmp_path: Path) -> None:
    with running(tmp_path / "calm") as service:
        label(service, OBJECTS, at_once=13)
    with running(tmp_path / "stormy") as service:

        def strike() -> None:
            for kill in range(1, KILLS + 1):
                while answers_in(service.workspace) < kill * OBJECTS * 3 // (KILLS + 1):
                    time.sleep(0.005)
                service.kill()
                service.start()

        readings = label(service, OBJECTS, at_once=13, disturbance=threading.Thread(target=strike))
    calm, stormy = (without_times(output_lines(tmp_path / name)) for name in ("calm", "stormy"))
    place = {line["case"]: line["source-ref"] for line in stormy}
    assert [{**line, "source-ref": place[line["case"]]} for line in calm] == stormy
    assert sum(reading.retries for reading in readings) >= KILLS
    assert sum(reading.answered for reading in readings) >= OBJECTS * 3


def test_an_answer_that_was_acknowledged_is_there_after_a_kill(tmp_path: Path) -> None:
    workspace = tmp_path / "workspace"
    make_images(workspace, 12)
    with running(workspace) as service:
        service.make_team()
        service.client().create_labeling_job(**job_request(workspace, workers=1))
        service.wait_for("reading", "InProgress")
        acknowledged: dict[str, str] = {}
        visitor = Visitor(service.url, "reader-1")
        for number in range(4):
            task = visitor.next_task()
            state = ("positive", "negative", "uncertain")[number % 3]
            assert visitor.answer(task, said({"Edema": state})).json()["accepted"] is True
            service.kill()  # at once: nothing may be on its way to the disk still
            acknowledged[task] = state
            service.start()
            # The session survived too, and so did the lease of the next image.
            again = visitor.answer(task, said({"Edema": "unknown"})).json()
            assert again["repeated"] is True
        with sqlite3.connect(workspace / "groundtruth/job-database.sqlite") as db:
            rows = db.execute(
                "SELECT t.task, a.content FROM answers a JOIN tasks t USING (job, number, worker_id) ORDER BY a.number"
            ).fetchall()
        db.close()
    kept = {f"/tasks/{task}": json.loads(json.loads(content)["annotation"])["labels"]["Edema"] for task, content in rows}
    assert kept == acknowledged
