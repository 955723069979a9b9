"""A training channel: what a training job reads, in one folder, on a laptop and on SageMaker."""

from __future__ import annotations

import io
import json
import tarfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from botocore.exceptions import ClientError, EndpointConnectionError
from support.stack_foundation import s3_storage

from dicom_workflow.archive import download
from dicom_workflow.archive.folder import FolderArchive
from dicom_workflow.archive.upload import upload
from dicom_workflow.errors import DeployError, LearningError, SettingsError
from dicom_workflow.formats import manifests
from dicom_workflow.formats.instances import Instance
from dicom_workflow.formats.object_reference import ObjectReference
from dicom_workflow.learning.evaluation.report import Evaluation, Figures, LabelFigures
from dicom_workflow.learning.model import bundle_archive
from dicom_workflow.pipeline import training
from dicom_workflow.settings import Settings
from dicom_workflow.storage import Storage, to_uri
from dicom_workflow.synthetic import dataset

EVALUATION = Evaluation(
    "test", "multi-label", "states", {"states": Figures(9, 9, {"Edema": LabelFigures(3, 6, 0, 0.5)}, macro_auroc=0.91234)}
)
ABSENT = "studies/1.2/series/1.3/instances/1.4"


@pytest.fixture
def archive(tmp_path: Path) -> FolderArchive:
    return FolderArchive(tmp_path / "archive")


@pytest.fixture
def instances(tmp_path: Path, archive: FolderArchive) -> tuple[Instance, ...]:
    dataset.make_dataset(tmp_path / "phantoms", patients=2, seed=1, size_px=64, progress=False)
    return upload(tmp_path / "phantoms" / "images", archive, progress=False).instances


def training_manifest(folder: Path, *sources: str) -> str:
    uri = to_uri(folder / "training.manifest")
    images = (source.rpartition("/")[2] for source in sources)
    lines = zip(sources, images, strict=True)
    manifests.write(uri, ({"source": source, "image": f"images/{image}.dcm", "split": "train"} for source, image in lines))
    return uri


def test_channel_holds_the_images_and_the_manifest(
    tmp_path: Path, archive: FolderArchive, instances: tuple[Instance, ...]
) -> None:
    uri = training_manifest(tmp_path, *(instance.reference.to_source() for instance in instances))
    staged = training.stage(uri, instances, archive, tmp_path / "channel", progress=False)
    assert (staged.images, dict(staged.refused)) == (len(instances), {})
    for _, line in manifests.read(to_uri(staged.folder / "train.manifest")):
        assert (staged.folder / line["image"]).read_bytes() == archive.retrieve_instance(ObjectReference.from_line(line))


def test_line_whose_image_cannot_be_had_is_named_and_the_rest_goes_on(
    tmp_path: Path, archive: FolderArchive, instances: tuple[Instance, ...]
) -> None:
    gone = instances[0].reference.to_source()
    archive.delete_instance(instances[0].reference)
    uri = training_manifest(tmp_path, ABSENT, *(instance.reference.to_source() for instance in instances))
    staged = training.stage(uri, instances, archive, tmp_path / "channel", progress=False)
    assert staged.images == len(instances) - 1
    assert staged.refused[ABSENT] == "not among the archive's instances"
    assert instances[0].sop_instance_uid in staged.refused[gone]


def test_channel_without_one_image_is_an_error(tmp_path: Path, archive: FolderArchive) -> None:
    with pytest.raises(LearningError, match="not one image of 1 lines was fetched: not among the archive's instances"):
        training.stage(training_manifest(tmp_path, ABSENT), [], archive, tmp_path / "channel", progress=False)


@pytest.fixture
def s3(tmp_path: Path) -> Iterator[Storage]:
    with s3_storage(tmp_path) as storage:
        yield storage


def test_channel_is_sent_to_s3_with_the_manifest_last(
    tmp_path: Path, s3: Storage, archive: FolderArchive, instances: tuple[Instance, ...]
) -> None:
    uri = training_manifest(tmp_path, *(instance.reference.to_source() for instance in instances))
    staged = training.stage(uri, instances, archive, tmp_path / "channel", progress=False)
    sent: list[str] = []
    writer = s3.writer
    s3.writer = lambda uri, **more: sent.append(uri) or writer(uri, **more)  # type: ignore[method-assign,func-returns-value]
    count = training.upload_channel(staged.folder, "s3://radiographs/channel", s3)
    assert count == len(sent) == len(instances) + 1
    assert sent[-1] == "s3://radiographs/channel/train.manifest"
    assert set(s3.list("s3://radiographs/channel")) == set(sent)
    with pytest.raises(SettingsError, match="channel_uri: expected an s3:// folder"):
        training.upload_channel(staged.folder, "/somewhere", s3)


def test_a_link_out_of_the_channel_is_not_sent(tmp_path: Path, s3: Storage) -> None:
    (tmp_path / "secret").write_text("not an image")
    folder = tmp_path / "channel"
    folder.mkdir()
    (folder / "1.dcm").symlink_to(tmp_path / "secret")
    with pytest.raises(SettingsError, match="links to a file outside the channel"):
        training.upload_channel(folder, "s3://radiographs/channel", s3)
    assert not list(s3.list("s3://radiographs/channel"))


def test_figures_are_read_out_of_a_training_jobs_archive_and_nothing_is_unpacked(tmp_path: Path) -> None:
    path = tmp_path / "output.tar.gz"
    history = '{"epoch": 1}\n{"epoch": 2}\n'
    files = {"./evaluation.json": json.dumps(EVALUATION.to_json()), "history.jsonl": history, "../evil": "x"}
    with tarfile.open(path, "w:gz") as packed:
        for name, text in files.items():
            member = tarfile.TarInfo(name)
            member.size = len(text)
            packed.addfile(member, io.BytesIO(text.encode()))
    evaluation, epochs = training.read_output(to_uri(path), Storage())
    assert [line["epoch"] for line in epochs] == [1, 2]
    assert training.Trained("", evaluation, tuple(epochs)).metrics()["macro_auroc"] == 0.9123
    assert [entry.name for entry in tmp_path.iterdir()] == ["output.tar.gz"]


def test_a_run_that_measured_nothing_has_every_figure_empty() -> None:
    """With 24 images or fewer there may be no test patient: the record, the demo and notebook 06 go on."""
    empty, full = training.Trained("").metrics(), training.Trained("", EVALUATION).metrics()
    assert empty.keys() == full.keys()
    assert (empty["macro_auroc"], empty["macro_auroc_interval"], empty["auroc"]) == (None, [], {})


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("evaluation.json", b"{nope", "is not the output.tar.gz of a training job: Expecting"),
        ("history.jsonl", b"\xff\n", "is not the output.tar.gz of a training job: 'utf-8' codec"),
        ("evaluation.json", bytes(1001), "expected evaluation.json of at most 1,000 bytes, got 1,001"),
    ],
)
def test_a_training_jobs_archive_that_is_damaged_or_a_bomb_is_refused(
    name: str, content: bytes, message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(bundle_archive, "MAX_OUTPUT_BYTES", 1000)
    with tarfile.open(tmp_path / "output.tar.gz", "w:gz") as packed:
        member = tarfile.TarInfo(name)
        member.size = len(content)
        packed.addfile(member, io.BytesIO(content))
    with pytest.raises(LearningError, match=message):
        training.read_output(to_uri(tmp_path / "output.tar.gz"), Storage())


class Sagemaker:
    """Answers status requests in turn: a status, or an error that is raised."""

    def __init__(self, *answers: str | Exception) -> None:
        self.answers = list(answers)

    def describe_training_job(self, TrainingJobName: str) -> dict[str, str]:
        answer = self.answers.pop(0)
        if isinstance(answer, Exception):
            raise answer
        return {"TrainingJobStatus": answer}


def refusal(code: str, status: int) -> ClientError:
    response = {"Error": {"Code": code, "Message": "said so"}, "ResponseMetadata": {"HTTPStatusCode": status}}
    return ClientError(response, "DescribeTrainingJob")


def wait_for(monkeypatch: pytest.MonkeyPatch, *answers: str | Exception, unavailable_seconds: float = 60) -> None:
    monkeypatch.setattr("boto3.client", lambda *_, **__: Sagemaker(*answers))
    training.wait(Settings.from_env({}), "job-1", poll_seconds=0, unavailable_seconds=unavailable_seconds)


def test_a_throttled_or_unanswered_status_request_does_not_end_the_waiting(monkeypatch: pytest.MonkeyPatch) -> None:
    outages = refusal("ThrottlingException", 400), refusal("InternalFailure", 503), EndpointConnectionError(endpoint_url="x")
    wait_for(monkeypatch, "InProgress", *outages, "InProgress", "Completed")
    with pytest.raises(DeployError, match="training job job-1, which goes on: AWS answered ThrottlingException: said"):
        wait_for(monkeypatch, *outages, unavailable_seconds=-1)


def test_a_refused_status_request_is_an_error_in_words(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(DeployError, match="job-1, which goes on: AWS answered ExpiredTokenException: said so"):
        wait_for(monkeypatch, "InProgress", refusal("ExpiredTokenException", 400))
    with pytest.raises(LearningError, match="training job job-1 stopped: no reason given"):
        wait_for(monkeypatch, "Stopped")


def test_training_place_is_one_of_two(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match="train_on: expected one of local, sagemaker, got 'gpu'"):
        training.train(Settings.from_env({}), tmp_path, tmp_path, train_on="gpu")


def test_copies_are_read_back_and_carry_their_uri(s3: Storage, archive: FolderArchive, instances: tuple[Instance, ...]) -> None:
    absent = Instance("1.4", "1.3", "1.2")
    made = download.copy_to("s3://radiographs/images", [*instances, absent], archive, s3, progress=False)
    assert [copy.uri for copy in made.instances] == [f"s3://radiographs/images/{i.sop_instance_uid}.dcm" for i in instances]
    assert s3.read_bytes(made.instances[0].uri) == archive.retrieve_instance(instances[0].reference)
    assert list(made.refused) == ["1.4"]
    [entry, *_] = manifests.entries_for(made.instances, ["Edema"], by="source-ref")
    assert entry["source-ref"] == made.instances[0].uri


def test_nothing_is_copied_without_a_folder(s3: Storage, archive: FolderArchive, instances: tuple[Instance, ...]) -> None:
    assert download.copy_to("", instances, archive, s3).instances == instances
    assert s3.list("s3://radiographs") == []
