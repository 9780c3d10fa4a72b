import hashlib
import http.server
import threading
from functools import partial

import pytest

from twinlab import recordings
from twinlab.jobs import Cancelled, Job
from twinlab.recordings import catalogue
from twinlab.schema import InputError

MANIFEST = """
title = "A tiny one"
doi = "10.0/tiny"
license = "none to speak of"
citation = "Nobody (2020)"
homepage = "http://127.0.0.1:{port}/"
layout = "sensorium-static"

[[files]]
name = "packed.zip"
session = "11-2-3"
url = "http://127.0.0.1:{port}/packed.zip"
"""


def test_the_public_recordings_are_known():
    assert recordings.list_recordings() == ["lurz2020", "sensorium2022"]
    lurz = recordings.describe_recording("lurz2020")
    assert lurz.doi == "10.1101/2020.10.05.326256"
    assert lurz.license.startswith("CC BY-NC-ND 4.0")
    assert [file.session for file in lurz.files] == ["20457-5-9"]
    sensorium = recordings.describe_recording("sensorium2022")
    assert len({file.session for file in sensorium.files}) == 7


@pytest.mark.parametrize("name", recordings.list_recordings())
def test_a_manifest_names_each_file_once_and_where_it_is(name):
    manifest = recordings.describe_recording(name)
    for file in manifest.files:
        assert file.url.startswith(f"{manifest.homepage}/")
        assert file.session.count("-") == 2
        assert file.sha256 is None or len(file.sha256) == 64
    assert len({file.name for file in manifest.files}) == len(manifest.files)


def test_a_session_brings_its_terms_along(layout, pack):
    for part, value in (("animal_ids", 20457), ("sessions", 5), ("scan_idx", 9)):
        layout.save(f"meta/neurons/{part}", [value] * 5)
    opened = recordings.open_recording(layout.root)
    assert opened.attrs["source"] == "10.1101/2020.10.05.326256"
    assert opened.attrs["license"].startswith("CC BY-NC-ND 4.0")


def test_an_unknown_name_lists_the_known_ones():
    with pytest.raises(InputError, match="lurz: no such recording; known: lurz2020, sensorium"):
        recordings.describe_recording("lurz")


@pytest.fixture
def cache(tmp_path, monkeypatch):
    monkeypatch.setattr(catalogue, "_cache_folder", lambda name: tmp_path / "cache" / name)
    return tmp_path / "cache"


def test_a_known_recording_that_was_not_fetched_says_how(cache):
    with pytest.raises(InputError, match="not fetched yet; run `twinlab recordings fetch lurz"):
        recordings.open_recording("lurz2020")


def test_one_of_several_sessions_must_be_named(cache, layout, pack):
    (cache / "sensorium2022").mkdir(parents=True)
    for file in recordings.describe_recording("sensorium2022").files[:2]:
        path = pack(layout.root, f"{file.name.removesuffix('.zip')}/")
        path.rename(cache / "sensorium2022" / file.name)
    with pytest.raises(InputError, match="has 2 sessions here; name one with `session`: 26872"):
        recordings.open_recording("sensorium2022")
    with pytest.raises(InputError, match="has no session 1-1-1; known: 26872-17-20"):
        recordings.open_recording("sensorium2022", session="1-1-1")


class Quiet(http.server.SimpleHTTPRequestHandler):
    def log_message(self, *args):
        pass


@pytest.fixture
def host(tmp_path, monkeypatch, cache):
    """A web server on this machine that offers what lies in `tmp_path`, and its manifest."""
    server = http.server.ThreadingHTTPServer(
        ("127.0.0.1", 0), partial(Quiet, directory=str(tmp_path))
    )
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    folder = tmp_path / "manifests"
    folder.mkdir()
    (folder / "tiny.toml").write_text(MANIFEST.format(port=server.server_port))
    monkeypatch.setattr(catalogue, "FOLDERS", (folder,))
    yield folder / "tiny.toml"
    server.shutdown()
    thread.join()
    server.server_close()


def test_a_fetched_recording_opens_by_its_name(host, layout, pack, cache):
    pack(layout.root, "static11-2-3-tiny/")
    heard = []
    job = Job(lambda job: heard.append((job.fraction, job.message)), interval=0)
    assert recordings.fetch_recording("tiny", job=job) == [cache / "tiny" / "packed.zip"]
    assert heard[0] == (0, "fetching packed.zip")
    assert heard[-1][0] == 1
    opened = recordings.open_recording("tiny")
    assert opened.attrs["license"] == "none to speak of"
    assert opened.attrs["source"] == "10.0/tiny"


def test_a_fetch_goes_where_it_is_told_and_is_not_repeated(host, layout, pack, tmp_path):
    path = pack(layout.root, "")
    (fetched,) = recordings.fetch_recording("tiny", tmp_path / "mine", session="11-2-3")
    assert fetched.read_bytes() == path.read_bytes()
    path.unlink()
    assert recordings.fetch_recording("tiny", tmp_path / "mine") == [fetched]


def test_a_checksum_is_held_to(host, layout, pack, cache):
    path = pack(layout.root, "")
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    text = host.read_text()
    host.write_text(f'{text}sha256 = "{"0" * 64}"\n')
    with pytest.raises(InputError, match=r"packed\.zip could not be fetched \(.*hash"):
        recordings.fetch_recording("tiny")
    assert not list((cache / "tiny").iterdir())
    host.write_text(f'{text}sha256 = "{digest}"\n')
    assert len(recordings.fetch_recording("tiny")) == 1


def test_a_page_instead_of_the_file_is_refused(host, tmp_path, cache):
    (tmp_path / "packed.zip").write_text("<html>please log in</html>")
    with pytest.raises(InputError, match="sent something that is not a whole zip file"):
        recordings.fetch_recording("tiny")
    assert not list((cache / "tiny").iterdir())


def test_a_file_that_the_host_lacks_is_one_line(host):
    with pytest.raises(InputError, match="could not be fetched .*404.* download it by hand to"):
        recordings.fetch_recording("tiny")


def test_a_cancelled_fetch_leaves_nothing_behind(host, layout, pack, cache):
    pack(layout.root, "")
    job = Job(lambda job: job.cancel() if "MB" in job.message else None, interval=0)
    with pytest.raises(Cancelled):
        recordings.fetch_recording("tiny", job=job)
    assert not list((cache / "tiny").glob("packed.zip"))


def test_a_manifest_that_is_not_as_it_should_be_says_all(host):
    text = host.read_text().replace("doi =", "dio =").replace("sensorium-static", "cuneiform")
    host.write_text(text + 'mirror = "none"\n')
    with pytest.raises(InputError) as caught:
        recordings.describe_recording("tiny")
    for part in ("lacks doi", "unknown dio", "files[0] has unknown mirror", "layout 'cuneiform'"):
        assert part in str(caught.value)
    host.write_text("title = ")
    with pytest.raises(InputError, match="not a readable manifest"):
        recordings.describe_recording("tiny")
