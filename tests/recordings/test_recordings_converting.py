"""Conversion is whole or not there, goes on where it was killed, in the memory of blocks."""

import os
import subprocess
import sys
import tracemalloc

import dask.array as da
import numpy as np
import pytest
import xarray as xr

from twinlab import recordings
from twinlab.jobs import Cancelled, Job
from twinlab.recordings import chunks, store
from twinlab.recordings.layouts import sensorium_static
from twinlab.schema import InputError, fingerprint, is_lazy, make_recording

KILLED = """
import os, signal, sys
from twinlab import recordings
from twinlab.jobs import Job
from twinlab.recordings import chunks

chunks.ROWS = 2
reports = 0

def listen(job):
    global reports
    reports += job.message == "writing response"
    if reports == 4:  # before the fourth block
        os.kill(os.getpid(), signal.SIGKILL)

recordings.convert_recording(sys.argv[1], sys.argv[2], Job(listen, interval=0))
"""


@pytest.fixture
def small_blocks(monkeypatch):
    monkeypatch.setattr(chunks, "ROWS", 2)


def files_in(folder):
    return {
        str(file.relative_to(folder)): file.read_bytes()
        for file in folder.rglob("*")
        if file.is_file()
    }


def reads_of(monkeypatch):
    """First trials of the blocks of responses that are taken from the source from now on."""
    reads, read = [], sensorium_static._response_rows

    def counted(source, trials, *args, **kwargs):
        reads.append(trials.start)
        return read(source, trials, *args, **kwargs)

    monkeypatch.setattr(sensorium_static, "_response_rows", counted)
    return reads


def errors_of(path):
    found = recordings.check_recording(path)
    return [str(finding) for finding in found if finding.severity == "error"]


def left_of(target):
    return sorted(path.name for path in target.parent.glob(f"*{target.name}*"))


def kill_one(layout, target):
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", KILLED, str(layout.root), str(target)], check=False
    )
    assert done.returncode == -9


def stop_one(layout, target):
    """Cancel a conversion before the fourth block of responses."""
    reports = 0

    def listen(job):
        nonlocal reports
        reports += job.message == "writing response"
        if reports == 4:  # heard while the block is read
            job.cancel()

    with pytest.raises(Cancelled):
        recordings.convert_recording(layout.root, target, Job(listen, interval=0))


def test_a_killed_conversion_goes_on_and_ends_as_one_that_was_not(
    layout, tmp_path, monkeypatch, small_blocks
):
    target = tmp_path / "it.zarr"
    kill_one(layout, target)
    assert left_of(target) == ["it.zarr.parts"]
    reads = reads_of(monkeypatch)
    recordings.convert_recording(layout.root, target)
    assert sorted(reads) == [6, 8]  # of 9 trials, the first three blocks were finished
    assert left_of(target) == ["it.zarr"]
    whole = recordings.convert_recording(layout.root, tmp_path / "whole.zarr")
    assert files_in(target) == files_in(whole)
    assert len(list((whole / "response").glob("[0-9]*"))) == 5


def test_finished_blocks_are_not_taken_on_trust(layout, tmp_path, monkeypatch, small_blocks):
    target = tmp_path / "it.zarr"
    stop_one(layout, target)
    chunk = tmp_path / "it.zarr.parts" / "store" / "response" / "1.0"
    chunk.write_bytes(bytes(len(chunk.read_bytes())))
    (chunk.parent / "2.0").unlink()
    reads = reads_of(monkeypatch)
    recordings.convert_recording(layout.root, target)
    assert sorted(reads) == [2, 4, 6, 8]
    xr.testing.assert_identical(
        recordings.open_recording(target), recordings.open_recording(layout.root)
    )


def test_what_was_finished_of_another_source_is_not_used(layout, tmp_path, small_blocks):
    target = tmp_path / "it.zarr"
    stop_one(layout, target)
    layout.save("data/responses/0", layout.response[0] + 1)  # same size, another time
    recordings.convert_recording(layout.root, target)
    found = recordings.open_recording(target)
    np.testing.assert_allclose(found.response[0], layout.response[0] + 1, rtol=1e-6)


def test_a_cancelled_conversion_goes_on(layout, tmp_path, monkeypatch, small_blocks):
    target = tmp_path / "it.zarr"
    stop_one(layout, target)
    assert left_of(target) == ["it.zarr.parts"]
    reads, heard = reads_of(monkeypatch), []
    job = Job(lambda job: heard.append((job.fraction, job.message)), interval=0)
    recordings.convert_recording(layout.root, target, job)
    assert sorted(reads) == [6, 8]
    assert left_of(target) == ["it.zarr"]
    assert [fraction for fraction, _ in heard] == sorted(fraction for fraction, _ in heard)
    assert heard[-1] == (1.0, "writing")


def test_a_fault_found_while_writing_leaves_nothing_behind(layout, tmp_path, small_blocks):
    target = recordings.convert_recording(layout.root, tmp_path / "it.zarr")
    before = files_in(target)
    file = layout.root / "data/responses/7.npy"

    def spoil(job):
        if job.message == "writing stimulus" and file.stat().st_size > 100:
            file.write_bytes(file.read_bytes()[:-8])

    with pytest.raises(InputError, match="data/responses: 7.npy: truncated"):
        recordings.convert_recording(layout.root, target, Job(spoil, interval=0))
    assert left_of(target) == ["it.zarr"]
    assert files_in(target) == before


def test_a_faulty_source_is_refused_before_anything_is_written(layout, tmp_path):
    layout.save("data/responses/7", np.ones(4))
    with pytest.raises(InputError, match="7.npy: shape"):
        recordings.convert_recording(layout.root, tmp_path / "it.zarr")
    assert left_of(tmp_path / "it.zarr") == []


def test_a_full_disk_is_told_before_anything_is_written(layout, tmp_path, monkeypatch):
    usage = type("Usage", (), {"free": 10})
    monkeypatch.setattr(chunks.shutil, "disk_usage", lambda path: usage)
    with pytest.raises(InputError, match=r"the store needs .* GB and 0.0 GB are free"):
        recordings.convert_recording(layout.root, tmp_path / "new" / "it.zarr")
    assert not (tmp_path / "new").exists()


def test_a_folder_that_is_not_ours_is_left_alone(layout, tmp_path):
    letters = tmp_path / "it.zarr.parts"
    letters.mkdir()
    (letters / "letter").touch()
    with pytest.raises(InputError, match="holds something else"):
        recordings.convert_recording(layout.root, tmp_path / "it.zarr")
    assert (letters / "letter").exists()


@pytest.mark.parametrize("pixels", [1.0, 0.5])
@pytest.mark.parametrize("withheld", [False, True])
def test_a_source_read_in_blocks_is_the_same(layout, tmp_path, small_blocks, pixels, withheld):
    for trial, image in enumerate(layout.image_id):
        layout.save(f"data/images/{trial}", layout.pixels[image] * pixels)
    for trial in np.flatnonzero(withheld & (layout.tiers == "test")):
        layout.save(f"data/responses/{trial}", np.zeros(5))
    layout.save("data/behavior/3", np.zeros(3))
    opened = recordings.open_recording(layout.root)
    stored = recordings.open_recording(
        recordings.convert_recording(layout.root, tmp_path / "it.zarr")
    )
    xr.testing.assert_identical(opened, stored)
    assert stored.stimulus.dtype == (np.uint8 if pixels == 1 else np.float32)
    assert np.isnan(stored.response).any() == withheld
    assert ("responses of 4 test trials" in stored.attrs["withheld"]) == withheld


def test_a_zip_is_converted_as_its_folder_is(layout, pack, tmp_path, small_blocks):
    packed = pack(layout.root, "static11-2-3-tiny/")
    one = recordings.convert_recording(packed, tmp_path / "one.zarr")
    other = recordings.convert_recording(layout.root, tmp_path / "other.zarr")
    assert files_in(one) == files_in(other)


def synthetic(n_block, made, rows=64, n_neuron=500, n_pixel=(1, 20, 25)):
    """Images and responses of noise, made a block of trials at a time."""
    n_trial = n_block * rows

    def blocks(shape, dtype):
        def block(block_info=None):
            made.append(block_info[None]["array-location"][0][0])
            rng, size = np.random.default_rng(made[-1]), (rows, *shape[1:])
            if dtype == np.uint8:
                return rng.integers(0, 256, size, dtype)
            return rng.standard_normal(size, dtype)

        sizes = ((rows,) * n_block, *((size,) for size in shape[1:]))
        meta = np.empty((0,) * len(shape), dtype)
        return da.map_blocks(block, chunks=sizes, dtype=dtype, meta=meta)

    return make_recording(
        stimulus=blocks((n_trial, *n_pixel), np.uint8),
        response=blocks((n_trial, n_neuron), np.float32),
        trial={
            "stimulus_index": np.arange(n_trial),
            "image_id": np.arange(n_trial),
            "split": np.where(np.arange(n_trial) % 5, "train", "validation"),
        },
        neuron={"neuron_id": np.arange(n_neuron), "session": ["s"] * n_neuron},
        recording_id="noise",
    )


def test_a_lazy_recording_is_written_in_the_memory_of_two_blocks(tmp_path):
    block = 64 * 5000 * 4
    recordings.save_recording(synthetic(2, []), tmp_path / "warm.zarr")  # what is kept for good
    peaks = []
    for n_block in (8, 32):
        made = []
        recording = synthetic(n_block, made, n_neuron=5000)
        made.clear()
        tracemalloc.start()
        path = recordings.save_recording(recording, tmp_path / f"{n_block}.zarr")
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
        assert sorted(made) == sorted(2 * [64 * number for number in range(n_block)])  # once each
        assert errors_of(path) == []
    assert peaks[1] < peaks[0] + block / 2  # 24 blocks more
    assert peaks[1] < 2 * block + 1_000_000


def test_infinite_responses_are_refused_as_they_are_written(tmp_path):
    recording = synthetic(3, [])
    recording["response"] = recording.response.where(recording.image_id != 70, np.inf)
    with pytest.raises(InputError, match=r"`response` is infinite at \(trial, neuron\) \(70, 0\)"):
        recordings.save_recording(recording, tmp_path / "it.zarr")
    assert left_of(tmp_path / "it.zarr") == []


@pytest.fixture
def stored(tmp_path, monkeypatch):
    """A store of several chunks, one of which is missing values and one zeros throughout."""
    monkeypatch.setattr(chunks, "COLUMNS", 250)
    recording = synthetic(3, [])
    recording["response"] = recording.response.where(recording.image_id >= 64)
    recording["stimulus"] = recording.stimulus * (np.arange(3 * 64) >= 64)[:, None, None, None]
    return recordings.save_recording(recording, tmp_path / "it.zarr")


def test_a_store_is_opened_without_being_read(stored, monkeypatch):
    whole = recordings.open_recording(stored)
    mapped, memmap = [], np.memmap

    def counted(file, *args, **kwargs):
        mapped.append(os.path.basename(file))
        return memmap(file, *args, **kwargs)

    monkeypatch.setattr(np, "memmap", counted)
    lazy = recordings.open_recording(stored, lazy=True)
    assert is_lazy(lazy)
    assert mapped == []
    assert lazy.attrs == whole.attrs
    one = lazy.response[:, 300].values
    assert sorted(mapped) == ["0.1", "1.1", "2.1"]  # the neuron's own chunks
    np.testing.assert_array_equal(one, whole.response[:, 300])
    mapped.clear()
    some = lazy.response[[150, 3, 149]].values
    assert sorted(set(mapped)) == ["0.0", "0.1", "2.0", "2.1"]  # those of the trials
    np.testing.assert_array_equal(some, whole.response[[150, 3, 149]])
    xr.testing.assert_identical(lazy.compute(), whole)
    assert fingerprint(lazy) == whole.attrs["fingerprint"]


@pytest.mark.parametrize("damage", ["lost", "cut short"])
@pytest.mark.parametrize("chunk", ["0.1", "2.0"])  # all missing values; ordinary
def test_a_lazy_store_with_a_damaged_chunk_is_refused(stored, damage, chunk):
    file = stored / "response" / chunk
    if damage == "lost":
        file.unlink()
    else:
        file.write_bytes(file.read_bytes()[:-1])
    message = rf"response: chunks {chunk} of 6 are missing or not 64000 bytes long; convert"
    with pytest.raises(InputError, match=message):
        recordings.open_recording(stored, lazy=True)


def test_changed_values_are_found_by_the_check(stored, monkeypatch):
    monkeypatch.setattr(store, "_memory", lambda: 1000)  # too little for it to be read at once
    assert errors_of(stored) == []
    file = stored / "response" / "2.0"
    file.write_bytes(file.read_bytes()[:-1] + b"x")
    recordings.open_recording(stored)  # what is on the disk is not read
    (fault,) = errors_of(stored)
    assert "content does not match its fingerprint" in fault


def test_a_lazy_write_into_memory_does_not_reach_the_disk(stored):
    lazy = recordings.open_recording(stored, lazy=True)
    block = lazy.response[:10, :10].values
    block[:] = 7
    assert errors_of(stored) == []


@pytest.mark.parametrize(("memory", "lazy"), [(1_000_000, True), (100_000_000, False)])
def test_what_is_larger_than_a_quarter_of_the_memory_stays_on_the_disk(
    stored, monkeypatch, memory, lazy
):
    monkeypatch.setattr(store, "_memory", lambda: memory)
    assert is_lazy(recordings.open_recording(stored)) == lazy
    assert is_lazy(recordings.open_recording(stored, lazy=not lazy)) == (not lazy)


def test_an_older_store_is_not_left_on_the_disk(stored, tmp_path):
    older = tmp_path / "older.zarr"
    recordings.open_recording(stored).drop_encoding().to_zarr(older, zarr_format=2)
    assert errors_of(older) == []
    with pytest.raises(InputError, match="is compressed, as older stores are; convert"):
        recordings.open_recording(older, lazy=True)


def test_only_a_store_can_be_left_on_the_disk(layout):
    with pytest.raises(InputError, match="only a Zarr store can be left on the disk"):
        recordings.open_recording(layout.root, lazy=True)
