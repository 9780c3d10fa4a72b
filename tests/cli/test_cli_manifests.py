"""`twinlab recordings list`, `show` and `fetch`, as their user meets them."""

import json

import pytest
from command import call, mistake
from hosts import Site, status

from twinlab import recordings
from twinlab.recordings import manifests

TINY = """
name: tiny
title: A tiny one
doi: 10.1000/tiny
citation: Nobody (2020)
license: {{name: CC BY-NC-ND 4.0, allows: little, contact: write to the authors first}}
species: mouse
area: V1
layout: stringer2018
homepage: {url}/
stimuli: images
sessions: {{"one": {{neurons: 1234}}, "two": {{}}}}
files: [{{name: "{{session}}.mat", url: "{url}/{{session}}.mat", why_no_sha256: none given}}]
traps: {{zeros: zeros stand for missing}}
unverified: [license.name, sessions.neurons]
"""


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return tmp_path / "cache" / "twinlab"


@pytest.fixture
def site(tmp_path, monkeypatch):
    """A host of one small recording, which is the only one known."""
    site = Site()
    site.files = {"/one.mat": b"MATLAB 5.0 one", "/two.mat": b"MATLAB 5.0 two"}
    (tmp_path / "manifests").mkdir()
    (tmp_path / "manifests" / "tiny.yaml").write_text(TINY.format(url=site.url))
    monkeypatch.setattr(manifests, "FOLDERS", (tmp_path / "manifests",))
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    yield site
    site.close()


def test_the_list_names_every_recording_on_a_line_of_its_own():
    code, said, _ = call("recordings", "list")
    assert code == 0
    lines = said.splitlines()
    assert lines[0].split() == ["name", "species", "area", "neurons", "license", "fetched"]
    assert [line.split()[0] for line in lines[1:]] == recordings.list_recordings()
    (lurz,) = (line for line in lines if line.startswith("lurz2020"))
    for word in ("mouse", "V1", "5,335", "CC BY-NC-ND 4.0", "no"):
        assert word in lurz
    (sensorium,) = (line for line in lines if line.startswith("sensorium2022"))
    assert "(unverified)" in sensorium


def test_the_list_is_also_for_programs():
    rows = {row["name"]: row for row in json.loads(call("recordings", "list", "--json")[1])}
    assert list(rows) == recordings.list_recordings()
    assert rows["lurz2020"]["neurons"] == 5335
    assert rows["lurz2020"]["license_verified"]
    assert not rows["sensorium2022"]["license_verified"]
    assert rows["sensorium2022"]["neurons"] is None
    assert (rows["cowley2023"]["n_file"], rows["cowley2023"]["n_fetched"]) == (150, 0)


@pytest.mark.parametrize("name", recordings.list_recordings())
def test_a_manifest_is_shown_with_its_terms_traps_and_marks(name):
    code, said, _ = call("recordings", "show", name)
    assert code == 0
    words = " ".join(said.split())
    manifest = recordings.describe_recording(name)
    for text in (manifest.title, manifest.license.allows, *manifest.traps.values()):
        assert " ".join(text.split()) in words
    for path in manifest.unverified:
        assert path in said[said.index("unverified taken from memory") :]
    for session in manifest.sessions:
        assert f"{session.name}: " in said
    assert ("(unverified)" in said) == bool(manifest.unverified)
    assert json.loads(call("recordings", "show", name, "--json")[1])["doi"] == manifest.doi


def test_marks_stand_at_what_they_are_about(site):
    lines = call("recordings", "show", "tiny")[1].splitlines()
    marked = {line.split()[0] for line in lines if "(unverified)" in line}
    assert marked == {"license", "session"}
    assert "session    one: 1,234 neurons (unverified)" in lines


def test_a_fetch_says_what_it_fetched_and_on_which_terms(site, cache, tmp_path):
    code, said, err = call("recordings", "fetch", "tiny", "--session", "one")
    assert code == 0, err
    assert "Downloading" not in err  # progress alone
    assert said.splitlines() == [
        str(cache / "tiny" / "one.mat"),
        "Terms: CC BY-NC-ND 4.0; write to the authors first.",
    ]
    assert "1 of 2 files" in call("recordings", "list")[1]
    assert json.loads(call("recordings", "show", "tiny", "--json")[1])["n_fetched"] == 1
    assert call("recordings", "fetch", "tiny", "--to", tmp_path / "mine")[0] == 0
    assert (tmp_path / "mine" / "two.mat").read_bytes() == b"MATLAB 5.0 two"
    assert call("recordings", "fetch", "tiny")[0] == 0
    assert "yes" in call("recordings", "list")[1]


def test_a_fetch_that_fails_ends_with_two_and_one_line(site):
    site.script["/one.mat"] = [status(404)]
    assert "one.mat could not be fetched: the host answers 404" in mistake(
        "recordings", "fetch", "tiny"
    )
    assert "no session three; known: one, two" in mistake(
        "recordings", "fetch", "tiny", "--session", "three"
    )
    assert "small: no such recording; known: tiny" in mistake("recordings", "fetch", "small")
    assert "--json shows manifests" in mistake("recordings", "show", "small.zip", "--json")


def test_what_is_made_is_not_fetched():
    code, said, _ = call("recordings", "fetch", "simulated")
    assert (code, said) == (0, "simulated: nothing to fetch, it is made where it is named.\n")
