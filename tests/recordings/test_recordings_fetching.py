"""Fetching from a host that truncates, stalls, lies, refuses, leads on and changes files."""

import hashlib
import io
import json
import os
import signal
import subprocess
import sys
import threading
import time
import zipfile
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import requests
from hosts import (
    Site,
    careless,
    chunked,
    compressed,
    elsewhere,
    endless,
    later,
    lying,
    redirect,
    slow,
    stalled,
    status,
    truncated,
    web_page,
    without_ranges,
)  # fmt: skip

from twinlab import recordings
from twinlab.jobs import Cancelled, Job
from twinlab.recordings import FetchSettings, downloading, manifests, transfers
from twinlab.recordings.fetched import fetched_file
from twinlab.schema import InputError

MANIFEST = """
name: tiny
title: A tiny one
doi: 10.1000/tiny
citation: Nobody (2020)
license: {{name: none to speak of, allows: anything}}
species: mouse
area: V1
layout: sensorium-static
homepage: {url}/
stimuli: images
sessions: {sessions}
files:
{files}
traps: {{}}
unverified: []
"""
QUICK = FetchSettings(n_try=3, stall_timeout_s=0.3, connect_timeout_s=2.0, backoff_s=0.01)


def zipped(seed, n_byte=300_000):
    """A zip that does not shrink."""
    held = io.BytesIO()
    with zipfile.ZipFile(held, "w") as archive:
        archive.writestr("noise.bin", np.random.default_rng(seed).bytes(n_byte))
    return held.getvalue()


@pytest.fixture
def site(monkeypatch):
    for name in ("http_proxy", "https_proxy", "all_proxy"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.upper(), raising=False)
    site = Site()
    yield site
    site.close()


@pytest.fixture
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return tmp_path / "cache" / "twinlab"


@pytest.fixture
def manifest(site, tmp_path, monkeypatch, cache):
    """Offer files and write the manifest that names them; more fields of a file as given."""
    folder = tmp_path / "manifests"
    folder.mkdir()
    monkeypatch.setattr(manifests, "FOLDERS", (folder,))

    def write(files=None, base=None, listing="", **more):
        files = {"a.zip": zipped(0)} if files is None else files
        entries = []
        for i, (name, content) in enumerate(files.items()):
            site.files[f"/{name}"] = content
            entry = {"name": name, "session": str(i), "url": f"{base or site.url}/{name}"} | more
            if "sha256" not in more:
                entry["why_no_sha256"] = "none given"
            entries.append(f"  - {json.dumps(entry)}")
        text = MANIFEST.format(
            url=site.url,
            sessions=json.dumps({str(i): {} for i in range(len(files))}),
            files="\n".join(entries) if entries else "  []",
        )
        (folder / "tiny.yaml").write_text(text + listing)
        return list(files.values())

    return write


def fetch(settings=QUICK, **more):
    return recordings.fetch_recording("tiny", settings=settings, **more)


def refused(match, **more):
    """The one line with which a fetch fails, and nothing that looks whole."""
    with pytest.raises(InputError, match=match) as caught:
        fetch(**more)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def seen(folder):
    """Files that a user sees there."""
    return sorted(
        path.relative_to(folder).as_posix()
        for path in folder.rglob("*")
        if path.is_file() and ".fetching" not in path.parts
    )


def left_over(folder):
    """What lies in the hidden folder, but for the lock."""
    return sorted(path.name for path in (folder / ".fetching").iterdir() if path.name != "lock")


# ---- what goes well ----


def test_a_file_is_fetched_recorded_and_not_fetched_again(site, manifest, cache):
    (content,) = manifest()
    (path,) = fetch()
    assert path == cache / "tiny" / "a.zip"
    assert path.read_bytes() == content
    assert json.loads((cache / "tiny" / "checksums.json").read_text()) == {
        "a.zip": {"sha256": hashlib.sha256(content).hexdigest(), "size": len(content)}
    }
    n_asked = len(site.asked)
    assert fetch() == [path]
    assert len(site.asked) == n_asked
    assert seen(cache / "tiny") == ["a.zip", "checksums.json"]
    assert left_over(cache / "tiny") == []


def test_a_fetched_recording_opens_by_its_name(site, manifest, layout, pack):
    packed = pack(layout.root, "static11-2-3-tiny/").read_bytes()
    manifest({"packed.zip": packed})
    fetch()
    assert recordings.open_recording("tiny").sizes["neuron"] == 5


def test_progress_counts_bytes_and_ends_at_one(site, manifest):
    manifest({f"{i}.zip": zipped(i) for i in range(5)})
    site.script["/3.zip"] = [slow(100_000, 0.1)]
    heard = []
    fetch(job=Job(lambda job: heard.append((job.fraction, job.message)), interval=0))
    fractions = [fraction for fraction, _ in heard]
    assert fractions == sorted(fractions)
    assert heard[0] == (0, "fetching 5")
    assert fractions[-1] == 1
    assert any(0.8 < fraction < 1 for fraction in fractions)
    assert any("4 of 5 files" in message and "of 1.5 MB" in message for _, message in heard)


def test_files_are_fetched_at_the_same_time(site, manifest):
    together = threading.Barrier(3, timeout=10)

    def meet(handler):
        together.wait()  # breaks if the three do not come together
        without_ranges(handler)

    manifest({f"{i}.zip": zipped(i) for i in range(3)})
    site.script = {f"/{i}.zip": [meet] for i in range(3)}
    fetch(settings=replace(QUICK, n_parallel=3))
    assert not together.broken


def test_one_session_and_another_folder(site, manifest, tmp_path):
    contents = manifest({"deep/a.zip": zipped(0), "b.zip": zipped(1)})
    assert fetch(folder=tmp_path / "mine", session="0") == [tmp_path / "mine" / "deep" / "a.zip"]
    assert seen(tmp_path / "mine") == ["checksums.json", "deep/a.zip"]
    assert (tmp_path / "mine/deep/a.zip").read_bytes() == contents[0]
    refused("tiny: has no session 7; known: 0, 1", session="7")


def test_a_file_is_no_folder_to_put_files_into(site, manifest, tmp_path):
    manifest()
    (tmp_path / "taken").write_text("mine")
    refused("taken: is a file; name a folder to put tiny into", folder=tmp_path / "taken")
    assert (tmp_path / "taken").read_text() == "mine"


def test_redirects_are_followed(site, manifest):
    (content,) = manifest()
    site.files["/elsewhere"] = content
    site.script["/a.zip"] = [redirect("/further"), redirect("/further")]
    site.script["/further"] = [redirect(f"{site.url}/elsewhere")]
    assert fetch()[0].read_bytes() == content
    assert ("GET", "/elsewhere", None) in site.asked


def test_the_proxy_of_the_environment_is_used(site, manifest, monkeypatch):
    (content,) = manifest(base="http://data.example")
    monkeypatch.setenv("http_proxy", site.url)  # a proxy is asked for whole addresses
    assert fetch()[0].read_bytes() == content
    assert ("GET", "http://data.example/a.zip", None) in site.asked


def test_a_proxy_that_does_not_answer_is_named(site, manifest, monkeypatch):
    manifest(base="http://data.example")
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:9")
    refused("proxy")


def test_a_file_put_in_its_place_by_hand_is_checked_and_recorded(site, manifest, cache):
    (content,) = manifest()
    (cache / "tiny").mkdir(parents=True)
    (cache / "tiny" / "a.zip").write_bytes(content)
    fetch()
    assert site.asked == []
    assert seen(cache / "tiny") == ["a.zip", "checksums.json"]
    (cache / "tiny" / "checksums.json").unlink()
    (cache / "tiny" / "a.zip").write_bytes(content[:1000])
    refused(r"tiny/a\.zip: it is not a whole zip file; move it away and fetch again")


# ---- broken off, and gone on with ----


def test_what_was_truncated_is_continued_where_it_broke_off(site, manifest, cache):
    (content,) = manifest()
    site.script["/a.zip"] = [truncated(100_000), truncated(150_000), truncated(220_000)]
    assert fetch()[0].read_bytes() == content
    starts = [int(told[6:-1]) if told else 0 for told in site.ranges("/a.zip")]
    assert len(starts) == 4
    assert starts == sorted(starts)
    assert starts[0] == 0 < starts[1] <= 100_000 < starts[2] <= 150_000 < starts[3] <= 220_000


def test_a_later_call_goes_on_too(site, manifest, cache):
    (content,) = manifest()
    site.script["/a.zip"] = [truncated(200_000), *[status(503)] * 9]
    refused("the host answers 503 .*; 3 attempts in a row brought nothing")
    assert seen(cache / "tiny") == []
    assert left_over(cache / "tiny") == ["a.zip.part", "a.zip.part.json"]
    site.script["/a.zip"] = []
    assert fetch()[0].read_bytes() == content
    assert site.ranges("/a.zip")[-1].startswith("bytes=1")
    assert left_over(cache / "tiny") == []


def test_a_stall_is_noticed_and_gone_on_from(site, manifest):
    (content,) = manifest()
    site.script["/a.zip"] = [stalled(200_000)]
    assert fetch()[0].read_bytes() == content
    assert [bool(told) for told in site.ranges("/a.zip")] == [False, True]


def test_a_host_that_never_speaks_is_given_up(site, manifest, cache):
    manifest()
    site.script["/a.zip"] = [stalled(0)] * 9
    refused("the host went silent; 3 attempts in a row brought nothing")
    assert seen(cache / "tiny") == []


def test_a_host_that_ignores_ranges_starts_again(site, manifest):
    (content,) = manifest()
    site.script["/a.zip"] = [truncated(200_000), without_ranges]
    assert fetch()[0].read_bytes() == content


@pytest.mark.parametrize("answer", [None, without_ranges])
def test_a_file_that_changed_in_between_starts_again(site, manifest, answer):
    manifest()
    new = zipped(7)

    def change(handler):
        truncated(200_000)(handler)
        site.files["/a.zip"] = new

    site.script["/a.zip"] = [change, *([answer] if answer else [])]
    assert fetch()[0].read_bytes() == new


@pytest.mark.parametrize("n_byte", [300_000, 50_000])  # the second has nothing at the range
def test_a_rest_of_another_version_is_not_stuck_to_the_first(site, manifest, n_byte):
    """A host that ignores If-Range sends a range of the new file: 206, but another version."""
    manifest()
    new = zipped(7, n_byte)

    def change(handler):
        truncated(200_000)(handler)
        site.files["/a.zip"] = new

    site.script["/a.zip"] = [change, careless]
    assert fetch()[0].read_bytes() == new
    assert [bool(told) for told in site.ranges("/a.zip")] == [False, True, False]


def test_another_range_than_was_asked_for_is_not_stuck_on(site, manifest):
    (content,) = manifest()
    site.script["/a.zip"] = [truncated(200_000), elsewhere]
    assert fetch()[0].read_bytes() == content
    assert site.ranges("/a.zip")[-1] is None


def test_a_part_from_another_address_is_not_continued(site, manifest):
    (content,) = manifest()
    site.script["/a.zip"] = [truncated(200_000), *[status(503)] * 9]
    refused("503")
    manifest(base=f"{site.url}/mirror")
    site.files["/mirror/a.zip"] = content
    fetch()
    assert site.ranges("/mirror/a.zip") == [None]


def test_without_a_version_a_part_is_not_continued(site, manifest):
    (content,) = manifest()
    site.tagged = False
    site.script["/a.zip"] = [truncated(200_000)]
    assert fetch()[0].read_bytes() == content
    assert site.ranges("/a.zip") == [None, None]


def test_a_damaged_note_of_a_part_is_not_relied_on(site, manifest, cache):
    (content,) = manifest()
    site.script["/a.zip"] = [truncated(200_000), *[status(503)] * 9]
    refused("503")
    (cache / "tiny" / ".fetching" / "a.zip.part.json").write_text('{"url": ')
    site.script["/a.zip"] = []
    assert fetch()[0].read_bytes() == content
    assert site.ranges("/a.zip")[-1] is None


def test_a_length_that_is_not_told_is_known_by_its_end(site, manifest):
    (content,) = manifest()
    site.script["/a.zip"] = [chunked(100_000), chunked()]
    assert fetch()[0].read_bytes() == content


# ---- lies ----


@pytest.mark.parametrize("told", [310_000, 350_000])
def test_a_length_that_is_too_long_is_not_believed(site, manifest, cache, told):
    (content,) = manifest()
    assert len(content) < told
    site.script["/a.zip"] = [lying(told)] * 20
    refused("attempts in a row brought nothing")
    assert seen(cache / "tiny") == []
    site.script["/a.zip"] = [lying(told)]
    assert fetch()[0].read_bytes() == content


def test_a_length_that_is_too_short_makes_no_whole_zip(site, manifest, cache):
    manifest()
    site.script["/a.zip"] = [lying(250_000)] * 20
    refused("it is not a whole zip file.* put it at .*a.zip")
    assert seen(cache / "tiny") == []
    assert left_over(cache / "tiny") == []


def test_a_length_other_than_the_manifest_s_is_refused_before_it_is_fetched(site, manifest, cache):
    (content,) = manifest(size=1234)
    refused(f"it has {len(content)} bytes at the host, where the manifest says 1234")
    manifest(size=1234)
    site.script["/a.zip"] = [chunked()]
    refused(f"the host sent {len(content)} bytes, where the manifest says 1234")
    assert seen(cache / "tiny") == left_over(cache / "tiny") == []


def test_a_file_without_an_end_is_refused(site, manifest):
    manifest()
    site.script["/a.zip"] = [endless] * 9
    refused("does not say how long the file is")


def test_a_file_that_is_compressed_on_the_way_is_refused(site, manifest):
    manifest()
    site.script["/a.zip"] = [compressed]
    refused("sends the file compressed, though it was asked not to")


def test_a_page_in_place_of_the_file_is_refused(site, manifest, cache):
    manifest()
    site.script["/a.zip"] = [web_page]
    refused("it is a web page in place of the file; the host may ask for a login")
    site.files["/a.zip"] = b"not a zip at all, but of some length"
    refused(r"it is not a \.zip file")
    assert seen(cache / "tiny") == []


def test_a_published_checksum_is_held_to(site, manifest, cache):
    (content,) = manifest(sha256="0" * 64)
    digest = hashlib.sha256(content).hexdigest()
    refused(f"its sha256 is {digest}, where 0+ is published")
    assert seen(cache / "tiny") == left_over(cache / "tiny") == []
    manifest(sha256=digest)
    (path,) = fetch()
    path.write_bytes(zipped(1))
    refused(f"where {digest} is published; move it away")


def test_the_first_checksum_is_compared_ever_after(site, manifest, cache):
    (content,) = manifest()
    (path,) = fetch()
    damaged = bytearray(content)
    damaged[1000] ^= 1
    path.write_bytes(damaged)
    refused(r"was recorded at the first fetch .*checksums\.json.*; move it away")
    path.unlink()
    site.files["/a.zip"] = zipped(8)  # now the host has another file
    refused("was recorded at the first fetch")
    assert seen(cache / "tiny") == ["checksums.json"]
    site.files["/a.zip"] = content
    assert fetch() == [path]


def test_a_file_that_shrank_since_is_not_opened(site, manifest):
    (content,) = manifest()
    (path,) = fetch()
    assert fetched_file("tiny") == path
    path.write_bytes(content[:500])
    with pytest.raises(InputError, match="has 500 bytes, but had 300.* when it was fetched"):
        fetched_file("tiny")


# ---- refusals ----


@pytest.mark.parametrize(
    ("code", "said"), [(403, "403 Forbidden: it does not let us"), (404, "404 .*no such file")]
)
def test_an_answer_that_will_not_change_is_one_line_and_one_request(site, manifest, code, said):
    manifest()
    site.script["/a.zip"] = [status(code)] * 9
    line = refused(said)
    assert f"{site.url}/a.zip could not be fetched" in line
    assert "download it by hand" in line
    assert len(site.ranges("/a.zip")) == 1


@pytest.mark.parametrize("wait", ["1", None])
def test_a_busy_host_is_given_the_time_it_asks_for(site, manifest, wait):
    (content,) = manifest()
    site.script["/a.zip"] = [status(503, Retry_After=wait or later(2)), status(429)]
    began = time.monotonic()
    assert fetch()[0].read_bytes() == content
    assert time.monotonic() - began > 0.9  # a date has whole seconds


def test_a_host_that_asks_for_too_much_time_is_left(site, manifest):
    manifest()
    site.script["/a.zip"] = [status(503, Retry_After=7200)]
    refused("503 .* and asks to come back in 7200 s")
    assert len(site.ranges("/a.zip")) == 1


def test_waits_double_and_are_spread():
    waits = []

    class Patient(threading.Event):
        def wait(self, seconds):
            waits.append(seconds)
            return False

    session = requests.Session()
    settings = FetchSettings(n_try=9, backoff_s=1, longest_wait_s=20)
    download = downloading.Download(session, Path("x"), None, settings, Patient(), print)
    for i in range(1, 9):
        download._wait(downloading._Failed("no"), i)
    bounds = [1, 2, 4, 8, 16, 20, 20, 20]
    assert all(0.5 * most <= wait <= most for wait, most in zip(waits, bounds, strict=True))
    assert len(set(waits)) == len(waits)


def test_an_encrypted_address_does_not_lead_to_an_open_one():
    led = requests.Response()
    led.status_code, led.url = 302, "https://data.example/a.zip"
    session = downloading.open_session()
    led.headers["Location"] = "http://data.example/a.zip"
    with pytest.raises(downloading.Refused, match="http://data.example/a.zip.*not encrypted"):
        session.get_redirect_target(led)
    led.headers["Location"] = "//other.example/a.zip"
    assert session.get_redirect_target(led) == "//other.example/a.zip"
    led.url, led.headers["Location"] = "http://data.example/", "http://other.example/"
    assert session.get_redirect_target(led) == "http://other.example/"


def test_going_round_in_circles_ends(site, manifest):
    manifest()
    site.script["/a.zip"] = [redirect("/a.zip")] * 99
    refused("could not be fetched: the host cannot be trusted or found .*redirects")


def test_offline_says_which_file_to_put_where(site, manifest, cache):
    manifest({f"{i}.zip": zipped(i) for i in range(6)}, base="http://127.0.0.1:9")
    line = refused("http://127.0.0.1:9/0.zip could not be fetched: the host could not be reached")
    assert f"put it at {cache / 'tiny' / '0.zip'}" in line
    assert "Not fetched either: 1.zip, 2.zip, 3.zip, 4.zip, 5.zip." in line


def test_offline_is_found_out_once_and_not_for_each_file(site, manifest, monkeypatch):
    manifest({f"{i}.zip": zipped(i) for i in range(6)}, base="http://127.0.0.1:9")
    tried = []

    def attempt(self, url):
        tried.append(url)
        raise requests.ConnectionError

    monkeypatch.setattr(downloading.Download, "_attempt", attempt)
    refused("could not be reached", settings=replace(QUICK, n_parallel=1))
    assert tried == ["http://127.0.0.1:9/0.zip"] * QUICK.n_try


def test_one_file_that_fails_does_not_keep_the_others(site, manifest, cache):
    manifest({f"{i}.zip": zipped(i) for i in range(4)})
    site.script["/1.zip"] = [status(404)]
    refused("1.zip could not be fetched", settings=replace(QUICK, n_parallel=1))
    assert seen(cache / "tiny") == ["0.zip", "2.zip", "3.zip", "checksums.json"]


def test_files_without_an_address_are_asked_for_once_and_all(site, manifest, cache):
    contents = manifest({"a.zip": zipped(0), "b.zip": zipped(1)}, url=None, listing=(
        "listing: {url: 'https://data.example/all', note: both are needed}\n"))  # fmt: skip
    line = refused(
        r"no address is known for a\.zip, b\.zip; download what you need from https://d"
    )
    assert "(both are needed)" in line
    assert f"put it into {cache / 'tiny'}" in line
    assert not cache.exists()
    (cache / "tiny").mkdir(parents=True)
    for name, content in zip(("a.zip", "b.zip"), contents, strict=True):
        (cache / "tiny" / name).write_bytes(content)
    assert [path.name for path in fetch()] == ["a.zip", "b.zip"]


def test_a_recording_that_lists_no_files_takes_what_was_put_there(site, manifest, cache):
    manifest({}, listing="listing: {url: 'https://data.example/all', note: any}\n")
    refused("no address is known for its files")
    with pytest.raises(InputError, match="known, but not fetched yet"):
        fetched_file("tiny")
    (cache / "tiny").mkdir(parents=True)
    for name in ("mouse-1.npy", "mouse-2.npy"):
        np.save(cache / "tiny" / name, np.zeros(3))
    assert [path.name for path in fetch()] == ["mouse-1.npy", "mouse-2.npy"]
    with pytest.raises(InputError, match="has 2 sessions here; name one .*: mouse-1, mouse-2"):
        fetched_file("tiny")
    assert fetched_file("tiny", "mouse-2").name == "mouse-2.npy"
    (cache / "tiny" / "mouse-1.npy").write_bytes(b"<html>log in</html>")
    refused(r"mouse-1\.npy: it is a web page")


def test_what_is_simulated_is_not_fetched():
    assert recordings.fetch_recording("simulated") == []
    with pytest.raises(InputError, match="is made, not fetched"):
        fetched_file("simulated")


def test_shared_files_come_with_each_session(monkeypatch, cache):
    folder = cache / "stringer2018"
    folder.mkdir(parents=True)
    (folder / "images_natimg2800_all.mat").write_bytes(b"MATLAB")
    with pytest.raises(InputError, match="known, but not fetched yet"):
        fetched_file("stringer2018")
    mine = folder / "natimg2800_M170714_MP032_2017-09-14.mat"
    mine.write_bytes(b"MATLAB")
    assert fetched_file("stringer2018") == mine
    assert fetched_file("stringer2018", "M170714_MP032_2017-09-14") == mine


def test_a_disk_that_is_too_small_is_told_before_anything_is_fetched(site, manifest, monkeypatch):
    (content,) = manifest()
    usage = type(transfers.shutil.disk_usage("/"))
    monkeypatch.setattr(transfers.shutil, "disk_usage", lambda path: usage(10**9, 10**9, 250_000))
    refused("needs 0.0 GB in .* where 0.0 GB are free; free some, name another folder")
    assert site.ranges("/a.zip") == []
    assert ("HEAD", "/a.zip", None) in site.asked
    monkeypatch.setattr(transfers.shutil, "disk_usage", lambda path: usage(10**9, 0, 400_000))
    assert fetch()[0].read_bytes() == content


# ---- stopped ----


@pytest.mark.parametrize("answer", [stalled(200_000), slow(50_000, 0.2), stalled(0)])
def test_a_cancel_is_honoured_at_once_and_gone_on_from(site, manifest, cache, answer):
    (content,) = manifest()
    site.script["/a.zip"] = [answer]
    patient = replace(QUICK, stall_timeout_s=60.0)
    job = Job()
    job.start(lambda job: fetch(settings=patient, job=job))
    until(lambda: site.ranges("/a.zip"))
    time.sleep(0.2)
    job.cancel()
    with pytest.raises(Cancelled):
        job.wait(20)  # far less than a stalled read is waited for
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("fetch-")]
    assert seen(cache / "tiny") == []
    assert fetch()[0].read_bytes() == content


def test_a_cancel_while_waiting_for_another_try_is_honoured(site, manifest):
    manifest()
    site.script["/a.zip"] = [status(503, Retry_After=100)]
    job = Job()
    job.start(lambda job: fetch(job=job))
    until(lambda: site.ranges("/a.zip"))
    job.cancel()
    with pytest.raises(Cancelled):
        job.wait(20)
    assert len(site.ranges("/a.zip")) == 1


FETCH = """
import sys
from pathlib import Path
from twinlab.recordings import FetchSettings, fetch_recording, manifests
manifests.FOLDERS = (Path(sys.argv[1]),)
fetch_recording("tiny", sys.argv[2], settings=FetchSettings(n_try=3, backoff_s=0.01))
"""


def start_fetching(tmp_path):
    return subprocess.Popen(
        [sys.executable, "-c", FETCH, str(tmp_path / "manifests"), str(tmp_path / "mine")],
        env=os.environ | {"OMP_NUM_THREADS": "1"},
    )


def until(happened, patience_s=30):
    for _ in range(int(patience_s / 0.02)):
        if happened():
            return
        time.sleep(0.02)
    pytest.fail("waited in vain")


def test_a_killed_fetch_leaves_nothing_that_looks_whole_and_is_continued(site, manifest, tmp_path):
    contents = manifest({"a.zip": zipped(0), "b.zip": zipped(1)})
    site.script["/a.zip"] = [stalled(200_000)]
    part = tmp_path / "mine" / ".fetching" / "a.zip.part"
    process = start_fetching(tmp_path)
    until(lambda: part.is_file() and part.stat().st_size > 100_000)
    until(lambda: (tmp_path / "mine" / "b.zip").is_file())
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert "a.zip" not in seen(tmp_path / "mine")
    had = part.stat().st_size
    paths = fetch(folder=tmp_path / "mine")
    assert [path.read_bytes() for path in paths] == contents
    assert site.ranges("/a.zip")[-1] == f"bytes={had}-"
    assert len(site.ranges("/b.zip")) == 1
    assert seen(tmp_path / "mine") == ["a.zip", "b.zip", "checksums.json"]
    assert left_over(tmp_path / "mine") == []


def test_two_processes_that_fetch_the_same_take_turns(site, manifest, tmp_path):
    (content,) = manifest()
    site.script["/a.zip"] = [slow(30_000, 0.1)]
    both = [start_fetching(tmp_path) for _ in range(2)]
    assert [process.wait(60) for process in both] == [0, 0]
    assert (tmp_path / "mine" / "a.zip").read_bytes() == content
    assert site.ranges("/a.zip") == [None]


def test_waiting_for_another_fetch_is_reported_and_can_be_cancelled(site, manifest, cache):
    from filelock import FileLock

    manifest()
    (cache / "tiny" / ".fetching").mkdir(parents=True)
    with FileLock(cache / "tiny" / ".fetching" / "lock"):
        job = Job()
        job.start(lambda job: fetch(job=job))
        until(lambda: job.message.startswith("waiting for another fetch into"))
        job.cancel()
        with pytest.raises(Cancelled):
            job.wait(20)
    assert site.asked == []
