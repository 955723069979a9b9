"""Images are decoded once: what comes from the cache is what was decoded, whoever was interrupted and whatever was damaged."""

from __future__ import annotations

import fcntl
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from support.decoders import crashing
from support.learning import dicom_file, picture, write_channel

from dicom_workflow.errors import CacheError, DicomError, LearningError
from dicom_workflow.learning.data import cache, channel, decoder_pool, images
from dicom_workflow.learning.data.cache.folder import load_cached
from dicom_workflow.learning.data.cache.pack import take

SIDE = 32
ROOT = Path(__file__).resolve().parents[3]


@pytest.fixture
def samples(tmp_path):
    write_channel(tmp_path / "channel", 12)
    samples = channel.read_channel(tmp_path / "channel").samples
    for sample in samples:
        os.utime(sample.image, (0, 0))
    return samples


def loaded(samples, folder, **arguments):
    return images.load_images(samples, size_px=SIDE, progress=False, cache_dir=folder, **arguments)


def plain(samples):
    return images.load_images(samples, size_px=SIDE, progress=False).images


def packs(folder):
    return sorted(folder.glob("*.images"))


def refuse(path, size_px, version):
    raise AssertionError(f"{path} was decoded again")


def damage(pack, *, at):
    """Change one byte, counted from the end when `at` is negative."""
    data = bytearray(pack.read_bytes())
    data[at] ^= 1
    pack.write_bytes(data)


def test_the_cache_gives_the_decoded_images_bit_for_bit(samples, tmp_path):
    for folder in (tmp_path / "cache", tmp_path / "cache"):  # built, then found
        found = loaded(samples, folder)
        assert found.images.dtype == np.float16
        np.testing.assert_array_equal(found.images.view(np.uint16), plain(samples).view(np.uint16))
        assert found.samples == tuple(samples)


def test_a_second_run_decodes_nothing(samples, tmp_path):
    assert loaded(samples, tmp_path / "cache").decoded == 12
    assert loaded(samples, tmp_path / "cache", decode=refuse).decoded == 0


def test_without_a_folder_there_is_no_cache(samples, tmp_path):
    assert loaded(samples, "").decoded == loaded(samples, None).decoded == 12
    assert {path.name for path in tmp_path.iterdir()} == {"channel"}


def test_a_longer_list_decodes_only_what_is_new_whatever_the_order(samples, tmp_path):
    loaded(samples[:8], tmp_path / "cache")
    found = loaded(samples[::-1], tmp_path / "cache")
    assert found.decoded == 4
    np.testing.assert_array_equal(found.images, plain(samples[::-1]))


def test_a_copy_of_a_file_under_another_name_is_known(samples, tmp_path):
    loaded(samples[:1], tmp_path / "cache")
    copy = tmp_path / "copy.dcm"
    copy.write_bytes(samples[0].image.read_bytes())
    found = load_cached([copy], tmp_path / "cache", size_px=SIDE, version="1", decode=refuse, progress=False)
    assert found.decoded == 0


def test_a_file_with_other_content_of_the_same_size_and_time_is_decoded_again(samples, tmp_path):
    path = samples[0].image
    before = loaded(samples, tmp_path / "cache").images[0].copy()
    times = path.stat().st_atime_ns, path.stat().st_mtime_ns
    dicom_file(path, 255 - picture((), np.random.default_rng(1)))
    os.utime(path, ns=times)
    found = loaded(samples, tmp_path / "cache")
    assert found.decoded == 1
    assert not np.array_equal(found.images[0], before)
    np.testing.assert_array_equal(found.images, plain(samples))


def test_files_that_did_not_change_are_not_read_again(samples, tmp_path, monkeypatch):
    monkeypatch.setattr(cache.file_index, "_SETTLED_SECONDS", -1.0)
    loaded(samples, tmp_path / "cache")
    monkeypatch.setattr(cache.file_index.hashlib, "file_digest", lambda *_: pytest.fail("read again"))
    assert loaded(samples, tmp_path / "cache").decoded == 0


def test_another_size_and_another_preprocessing_version_are_other_images(samples, tmp_path):
    loaded(samples, tmp_path / "cache")
    assert images.load_images(samples, size_px=40, progress=False, cache_dir=tmp_path / "cache").decoded == 12
    assert loaded(samples, tmp_path / "cache", version=images.preprocessing_version(reduced=True)).decoded == 12
    assert len(packs(tmp_path / "cache")) == 3


def test_bad_files_are_named_each_time_and_leave_no_gap(samples, tmp_path):
    samples[1].image.write_bytes(b"not DICOM")
    samples[3].image.unlink()
    without = images.load_images(samples, size_px=SIDE, progress=False)
    for expected_decoded in (11, 1):
        found = loaded(samples, tmp_path / "cache")
        assert found.problems == without.problems
        assert found.samples == without.samples
        assert found.decoded == expected_decoded
        np.testing.assert_array_equal(found.images, without.images)


def test_a_bad_file_that_can_be_decoded_by_now_joins_the_others(samples, tmp_path):
    def no_decoder(path, size_px, version):
        if path == samples[2].image:
            raise DicomError(f"{path}: no decoder")
        return images.decode(path, size_px, version)

    assert len(loaded(samples, tmp_path / "cache", decode=no_decoder).problems) == 1
    found = loaded(samples, tmp_path / "cache")
    assert (found.problems, len(found.images)) == ((), 12)
    np.testing.assert_array_equal(found.images, plain(samples))


def test_nothing_but_bad_files_is_no_image(samples, tmp_path):
    samples[0].image.write_bytes(b"not DICOM")
    for _ in range(2):
        found = loaded(samples[:1], tmp_path / "cache")
        assert found.images.shape == (0, 1, SIDE, SIDE)
        assert len(found.problems) == 1


@pytest.mark.parametrize("at", [0, 100, 256, 256 + 34, 4096, -1, -SIDE * SIDE * 2], ids=str)
def test_a_changed_byte_anywhere_is_noticed_and_its_row_is_decoded_again(samples, tmp_path, at):
    loaded(samples, tmp_path / "cache")
    (pack,) = packs(tmp_path / "cache")
    damage(pack, at=at)
    found = loaded(samples, tmp_path / "cache")
    np.testing.assert_array_equal(found.images, plain(samples))
    assert found.decoded == (12 if at in (0, 100) else 1)  # its first line says what it is
    assert loaded(samples, tmp_path / "cache", decode=refuse).decoded == 0


@pytest.mark.parametrize("left", [0, 10, 300, 4096, -1])
def test_a_pack_that_was_cut_is_made_whole(samples, tmp_path, left):
    loaded(samples, tmp_path / "cache")
    (pack,) = packs(tmp_path / "cache")
    pack.write_bytes(pack.read_bytes()[:left])
    np.testing.assert_array_equal(loaded(samples, tmp_path / "cache").images, plain(samples))


@pytest.mark.parametrize("text", ["", "[]", "{broken", '{"a": 1}', json.dumps({"a": [1, 2, 3, 4, "x" * 64]})])
def test_a_damaged_memory_of_files_is_no_memory(samples, tmp_path, text):
    loaded(samples, tmp_path / "cache")
    (tmp_path / "cache/files.json").write_text(text)
    assert loaded(samples, tmp_path / "cache").decoded == 0


BUILDER = """
import sys, time
sys.path[:0] = [{root!r}, {tests!r}]
from pathlib import Path
from dicom_workflow.learning.data import images
from dicom_workflow.learning.data.channel import read_channel
def slowly(path, size_px, version):
    with open({log!r}, "a") as stream:
        stream.write(path.name + chr(10))
    time.sleep({pause})
    return images.decode(path, size_px, version)
samples = read_channel({channel!r}).samples
found = images.load_images(samples, size_px=32, progress=False, cache_dir={folder!r}, decode=slowly, workers=1)
print(found.images.shape[0], float(found.images.astype("f4").sum()))
"""


def builder(samples, tmp_path, *, pause):
    log = tmp_path / "log"
    log.touch()
    code = BUILDER.format(
        root=str(ROOT), tests=str(ROOT / "tests"), log=str(log), pause=pause,
        channel=str(tmp_path / "channel"), folder=str(tmp_path / "cache"),
    )  # fmt: skip
    return subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True), log


@pytest.mark.parametrize("after", [1, 5])
def test_a_killed_builder_leaves_nothing_wrong_and_its_work_is_used(samples, tmp_path, after):
    process, log = builder(samples, tmp_path, pause=0.05)
    with process:
        while len(log.read_text().splitlines()) <= after + 1:  # a row is written while the next file is begun
            time.sleep(0.005)
        process.send_signal(signal.SIGKILL)
    assert process.returncode == -signal.SIGKILL
    assert packs(tmp_path / "cache") == []
    found = loaded(samples, tmp_path / "cache")
    assert 12 - after - 3 <= found.decoded <= 12 - after
    np.testing.assert_array_equal(found.images, plain(samples))
    assert [path.suffix for path in (tmp_path / "cache").iterdir() if path.name != "files.json"] == [".images"]


def test_rows_torn_by_a_power_cut_are_decoded_again(samples, tmp_path):
    loaded(samples, tmp_path / "cache")
    (pack,) = packs(tmp_path / "cache")
    damage(pack, at=-1)
    pack.rename(pack.with_suffix(".partial"))
    found = loaded(samples, tmp_path / "cache")
    assert found.decoded == 1
    np.testing.assert_array_equal(found.images, plain(samples))


def test_two_processes_that_build_at_once_decode_each_file_once(samples, tmp_path):
    first, log = builder(samples, tmp_path, pause=0.02)
    second, _ = builder(samples, tmp_path, pause=0.02)
    said = [process.communicate()[0] for process in (first, second)]
    assert first.returncode == second.returncode == 0
    assert said[0] == said[1]
    assert said[0].startswith("12 ")
    assert sorted(log.read_text().split()) == sorted(sample.image.name for sample in samples)


def test_who_keeps_the_images_keeps_nobody_waiting(samples, tmp_path):
    """Two processes of one run ask at once: the second waits for the first to build, not for it to end."""
    kept = loaded(samples, tmp_path / "cache").images
    [pack] = packs(tmp_path / "cache")
    assert is_free(pack)
    assert len(kept) == len(samples)


def is_free(path):
    with path.open("rb") as stream:
        try:
            fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
    return True


def test_what_was_used_longest_ago_goes_first(samples, tmp_path):
    folder = tmp_path / "cache"
    row = SIDE * SIDE * 2
    for number, few in enumerate((samples[:4], samples[4:8])):
        loaded(few, folder)
        for pack in packs(folder):
            if pack.stat().st_mtime > 100:
                os.utime(pack, (number, number))
    oldest, newer = sorted(packs(folder), key=lambda pack: pack.stat().st_mtime)
    found = loaded(samples[8:], folder, cache_gb=(2 * (4096 + 4 * row) + 4096) / 1e9)
    assert found.decoded == 4
    assert not oldest.exists()
    assert newer.exists()
    assert len(packs(folder)) == 2


def test_images_that_are_mapped_stay_when_their_pack_is_removed(samples, tmp_path):
    found = loaded(samples, tmp_path / "cache")
    for pack in packs(tmp_path / "cache"):
        pack.unlink()
    np.testing.assert_array_equal(found.images, plain(samples))


def test_a_pack_larger_than_the_limit_stays_in_memory_and_says_so(samples, tmp_path):
    found = loaded(samples, tmp_path / "cache", cache_gb=1e-6)
    assert found.note.startswith("decoded into memory: ")
    assert "not enough space for 12 images of 32 px" in found.note
    np.testing.assert_array_equal(found.images, plain(samples))
    assert packs(tmp_path / "cache") == []


def test_a_folder_that_cannot_be_made_is_said_and_the_run_goes_on(samples, tmp_path):
    (tmp_path / "file").write_text("")
    found = loaded(samples, tmp_path / "file/cache")
    assert "decoded images cannot be kept here" in found.note
    np.testing.assert_array_equal(found.images, plain(samples))
    with pytest.raises(CacheError, match="Name another one"):
        load_cached([], tmp_path / "file/cache", size_px=SIDE, version="1", decode=refuse)


def test_only_its_owner_can_read_the_cache(samples, tmp_path):
    loaded(samples, tmp_path / "cache")
    for path in (tmp_path / "cache", *(tmp_path / "cache").iterdir()):
        assert path.stat().st_mode & 0o077 == 0


def test_a_folder_that_others_may_write_to_is_not_trusted_with_pixels(samples, tmp_path):
    folder = tmp_path / "cache"
    folder.mkdir()
    for mode in (0o777, 0o1777, 0o770):
        folder.chmod(mode)
        found = loaded(samples, folder)
        assert f"it belongs to user {os.geteuid()} with mode {mode:o}" in found.note
        np.testing.assert_array_equal(found.images, plain(samples))
    assert not list(folder.iterdir())


def test_a_link_in_the_place_of_a_pack_is_not_followed(samples, tmp_path):
    loaded(samples, tmp_path / "cache")
    [pack] = packs(tmp_path / "cache")
    pack.unlink()
    (tmp_path / "precious").write_text("mine")
    pack.with_suffix(".partial").symlink_to(tmp_path / "precious")
    assert "decoded images cannot be kept here" in loaded(samples, tmp_path / "cache").note
    assert (tmp_path / "precious").read_text() == "mine"


def test_a_pipe_among_the_files_is_named_and_nobody_waits_for_it(samples, tmp_path):
    samples[0].image.unlink()
    os.mkfifo(samples[0].image)
    for folder in ("", tmp_path / "cache"):
        found = loaded(samples, folder)
        assert len(found.samples) == 11
        assert "not a regular file but" in found.problems[0]


def test_taken_rows_are_a_copy_in_the_order_asked_for(samples, tmp_path, monkeypatch):
    monkeypatch.setattr(cache.pack, "_RELEASE_BYTES", 3 * SIDE * SIDE * 2)
    found = loaded(samples, tmp_path / "cache")
    rows = np.array([7, 0, 0, 11, 5, 2, 9])
    np.testing.assert_array_equal(take(found.images, rows), plain(samples)[rows])
    np.testing.assert_array_equal(take(plain(samples), rows), plain(samples)[rows])
    assert take(found.images, rows[:0]).shape == (0, 1, SIDE, SIDE)


def test_writing_to_mapped_images_reaches_no_one_else(samples, tmp_path):
    found = loaded(samples, tmp_path / "cache")
    found.images[:] = 0
    np.testing.assert_array_equal(loaded(samples, tmp_path / "cache").images, plain(samples))


# decoder processes


def test_processes_give_what_threads_give(samples, tmp_path):
    samples[4].image.write_bytes(b"not DICOM")
    outcomes = []
    for name, processes in (("threads", False), ("processes", True)):
        target = tmp_path / name
        target.write_bytes(bytes(12 * SIDE * SIDE * 2))
        jobs = [decoder_pool.Job(s.image, b"key", target, n * SIDE * SIDE * 2) for n, s in enumerate(samples)]
        done = decoder_pool.decode_all(jobs, SIDE, "1", images.decode, workers=2, processes=processes)
        outcomes.append((list(done), target.read_bytes()))
    assert outcomes[0] == outcomes[1]
    assert [number for number, outcome in enumerate(outcomes[0][0]) if outcome.problem] == [4]


def test_a_file_that_crashes_its_decoder_is_one_bad_file():
    jobs = [decoder_pool.Job(Path(name), b"") for name in ("a.dcm", "crash.dcm", "b.dcm")]
    problems = [out.problem for out in decoder_pool.decode_all(jobs, 8, "1", crashing, workers=1, processes=True)]
    assert problems == ["", "crash.dcm: cannot be read: its decoder was ended by signal 11.", ""]


def test_a_mistake_in_the_program_is_no_bad_file(capfd):
    with pytest.raises(LearningError, match=r"mistake\.dcm: a decoder process ended with exit code 1"):
        list(decoder_pool.decode_all([decoder_pool.Job(Path("mistake.dcm"), b"")], 8, "1", crashing, workers=1, processes=True))
    assert "ZeroDivisionError" in capfd.readouterr().err
