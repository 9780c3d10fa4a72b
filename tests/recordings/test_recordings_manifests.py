"""Manifests: all of them valid, what they call verified is what the sources say, faults in one."""

import re

import pytest

from twinlab import recordings
from twinlab.recordings import manifests
from twinlab.recordings.manifests import is_unverified
from twinlab.schema import InputError

# What the sources were read to say, typed again from them: name -> (DOI, license, layout).
KNOWN = {
    "allen-visual-coding-2p": (
        "10.1038/s41593-019-0550-9", "Allen Institute terms of use", "allen-nwb1"),
    "allen-visual-coding-neuropixels": (
        "10.1038/s41586-020-03171-x", "Allen Institute terms of use", "nwb2"),
    "antolik2016": ("10.1371/journal.pcbi.1004927", None, "antolik2016"),
    "cadena2019": ("10.1371/journal.pcbi.1006897", "CC BY-NC-ND 4.0", "cadena2019"),
    "cowley2023": (
        "10.1101/2023.11.22.568315", "GPL-3.0 (of the repository as a whole)", "cowley2023"),
    "franke2022": ("10.1038/s41586-022-05270-3", None, "sensorium-static"),
    "lurz2020": ("10.1101/2020.10.05.326256", "CC BY-NC-ND 4.0", "sensorium-static"),
    "microns": ("10.1038/s41586-025-08790-w", None, "nwb2"),
    "minimodel2024": ("10.1038/s41467-025-61171-9", "not stated", "minimodel2024"),
    "sensorium2022": ("10.48550/arXiv.2206.08666", None, "sensorium-static"),
    "sensorium2023": ("10.48550/arXiv.2305.19654", "CC BY-NC-ND 4.0", "sensorium-dynamic"),
    "simulated": (None, "none needed", "simulated"),
    "stringer2018": ("10.1038/s41586-019-1346-5", "CC BY-NC 4.0", "stringer2018"),
}  # fmt: skip
# Neurons of each session.
NEURONS = {
    "antolik2016": {"region1": 103, "region2": 55, "region3": 102},
    "lurz2020": {"20457-5-9": 5335},
    "minimodel2024": {
        "L1_A5_nat60k_2023_02_27": 6636, "L1_A1_nat60k_2023_03_06": 6055,
        "FX9_nat60k_2023_05_15": 3575, "FX10_nat60k_2023_05_16": 4792,
        "FX8_nat60k_2023_05_16": 5804, "FX20_nat60k_2023_09_29": 2746,
    },
    "sensorium2022": {
        "21067-10-18": 8372, "22846-10-16": 7344, "23343-5-17": 7334, "23656-14-22": 8107,
        "23964-4-22": 8098, "26872-17-20": 7776,
    },
    "sensorium2023": {
        "29156-11-10": 7440, "29228-2-10": 7928, "29234-6-9": 8285, "29513-3-5": 7671,
        "29514-2-9": 7495, "29515-10-12": 7863, "29623-4-9": 7908, "29647-19-8": 8202,
        "29712-5-9": 7939, "29755-2-8": 8122,
    },
    # sum over the readme's table, per monkey
    "cowley2023": {"WE": 209, "PE": 2059, "RA": 680},
}  # fmt: skip
TRIALS = {
    ("lurz2020", "20457-5-9"): {"train": 4472, "validation": 522, "test": 999},
    ("sensorium2022", "23964-4-22"): {"train": 4490},
    ("antolik2016", "region1"): {"train": 1800, "validation": 50 * 10},
    ("antolik2016", "region2"): {"train": 1260, "validation": 50 * 8},
    ("antolik2016", "region3"): {"train": 1800, "validation": 50 * 12},
}
# Hosts, and folders on them, where the sources say that files are.
PLACES = {
    "allen-visual-coding-2p":
        "https://allen-brain-observatory.s3.amazonaws.com/visual-coding-2p/ophys_experiment_data/",
    "allen-visual-coding-neuropixels":
        "https://allen-brain-observatory.s3.amazonaws.com/visual-coding-neuropixels/ecephys-cache/",
    "antolik2016":
        "https://journals.plos.org/ploscompbiol/article/file?type=supplementary&id=info:doi/"
        "10.1371/journal.pcbi.1004927.s001",
    "cadena2019": "https://doid.gin.g-node.org/2e31e304e03d6357c98ac735a1fe5788/",
    "cowley2023":
        "https://raw.githubusercontent.com/cowleygroup/V4_compact_models/"
        "f4552ad9d34a466ebc66658f72a08a8e5038f1cf/data_V4_responses/",
    "lurz2020": "https://gin.g-node.org/cajal/Lurz2020/archive/master.zip",
    "sensorium2023": "https://gin.g-node.org/pollytur/",
    "stringer2018": "https://ndownloader.figshare.com/files/12462698",
}  # fmt: skip
# Sizes and checksums that were published, or measured on a version that cannot change.
FILES = {
    ("stringer2018", "natimg2800_M170714_MP032_2017-09-14.mat"): (244220197, None),
    ("cowley2023", "images/images_201025.zip"): (4131376, "3abb6367"),
    ("cowley2023", "images/images_210225.zip"): (4137526, "79bfb106"),
    ("cowley2023", "images/images_210322.zip"): (3785781, "a72f357c"),
    ("cowley2023", "images/images_210325.zip"): (1841475, "992774ec"),
    ("cowley2023", "responses_raw/responses_210325.npy"): (2560128, "4008dbbf"),
    ("cowley2023", "responses_repeat_averaged/responses_201025.npy"): (854528, "f729f3dc"),
    ("cowley2023", "responses_repeat_averaged/responses_210225.npy"): (528128, "853f1962"),
    ("cowley2023", "responses_repeat_averaged/responses_210322.npy"): (566528, "1d643594"),
    ("cowley2023", "responses_repeat_averaged/responses_210325.npy"): (256128, "555e6703"),
}
# What the sources themselves give from memory, or do not give.
FROM_MEMORY = {
    "allen-visual-coding-2p": {"traps.blanks"},
    "antolik2016": {"license.name", "license.allows"},
    "franke2022": {"license.name", "license.allows", "stimuli", "traps.channels", "files.url"},
    "microns": {"license.name", "license.allows"},
    "sensorium2022": {"license.name", "license.allows", "files.url"},
}
SCANS = {"lurz2020": 1, "sensorium2022": 7, "franke2022": 10, "sensorium2023": 10}


def test_every_public_set_has_a_manifest():
    assert recordings.list_recordings() == sorted(KNOWN)


@pytest.mark.parametrize("name", sorted(KNOWN))
def test_what_a_manifest_calls_verified_is_what_the_sources_say(name):
    manifest = recordings.describe_recording(name)

    def verified(path):
        return not is_unverified(manifest, path)

    doi, license_, layout = KNOWN[name]
    assert manifest.doi == doi
    assert manifest.layout == layout
    assert (manifest.license.name if verified("license.name") else None) == license_
    if name == "cowley2023":
        found = {}
        for session in manifest.sessions:
            monkey = session.note.split()[1].rstrip(",")
            found[monkey] = found.get(monkey, 0) + session.neurons
    else:
        found = {
            session.name: session.neurons
            for session in manifest.sessions
            if session.neurons is not None and verified(f"sessions.{session.name}.neurons")
        }
        for session in manifest.sessions:
            assert session.trials == TRIALS.get((name, session.name))
    assert found == NEURONS.get(name, {})
    for file in manifest.files:
        if file.url is not None and verified("files.url"):
            assert file.url.startswith(PLACES[name])
        size, digest = FILES.get((name, file.name), (None, None))
        assert file.size == size
        assert (file.sha256 or "")[:8] == (digest or "")
    assert FROM_MEMORY.get(name, set()) <= set(manifest.unverified)


@pytest.mark.parametrize("name", sorted(KNOWN))
def test_a_manifest_says_in_words_what_its_license_allows(name):
    manifest = recordings.describe_recording(name)
    assert len(manifest.license.allows) > 40
    if "NC-ND" in manifest.license.name:
        assert "contact the authors before use" in manifest.license.contact
        assert re.search("commercial", manifest.license.allows)
    assert manifest.traps


@pytest.mark.parametrize(("name", "n"), SCANS.items())
def test_scans_have_one_file_each_that_bears_their_name(name, n):
    manifest = recordings.describe_recording(name)
    assert len(manifest.files) == len(manifest.sessions) == n
    for file in manifest.files[: n if n > 1 else 0]:
        assert file.session in file.name
        assert file.session in file.url


def test_a_pattern_stands_for_one_file_a_session_and_a_name_of_its_own_goes_first():
    manifest = recordings.describe_recording("cowley2023")
    assert len(manifest.sessions) == 50
    assert len({file.name for file in manifest.files}) == len(manifest.files) == 150
    mine = manifests.files_of_session(manifest, "210325")
    assert [file.name for file in mine if file.sha256] == [
        "images/images_210325.zip",
        "responses_raw/responses_210325.npy",
        "responses_repeat_averaged/responses_210325.npy",
    ]
    assert len(mine) == 3
    assert {file.session for file in mine} == {"210325"}


def test_checksums_of_files_that_are_here_are_the_manifest_s(shared_data):
    import hashlib

    folder = shared_data / "cowley2023-macaque-v4"
    manifest = recordings.describe_recording("cowley2023")
    known = [file for file in manifest.files if file.sha256]
    for file in known:
        content = (folder / file.name).read_bytes()
        assert len(content) == file.size
        assert hashlib.sha256(content).hexdigest() == file.sha256
    assert len(known) == 9


def test_a_session_brings_its_terms_along(layout, pack):
    for part, value in (("animal_ids", 20457), ("sessions", 5), ("scan_idx", 9)):
        layout.save(f"meta/neurons/{part}", [value] * 5)
    opened = recordings.open_recording(layout.root)
    assert opened.attrs["source"] == "10.1101/2020.10.05.326256"
    assert opened.attrs["license"] == (
        "CC BY-NC-ND 4.0; contact the authors before use in your own research"
    )


def test_terms_that_were_not_verified_say_so():
    assert manifests.terms_of_session("26872-17-20") == (
        "10.48550/arXiv.2206.08666",
        "CC BY-NC-ND 4.0 (unverified); contact the authors before use in your own research",
    )
    assert manifests.terms_of_session("1-1-1") == ("", "see source")


def test_an_unknown_name_or_session_lists_the_known_ones():
    with pytest.raises(InputError, match="lurz: no such recording; known: allen.*, lurz2020, "):
        recordings.describe_recording("lurz")
    with pytest.raises(InputError, match="lurz2020: has no session 1-1-1; known: 20457-5-9"):
        manifests.files_of_session(recordings.describe_recording("lurz2020"), "1-1-1")


# ---- manifests that are not as they should be ----

WHOLE = """
name: tiny
title: A tiny one
doi: 10.1000/tiny
citation: Nobody (2020)
license: {name: none, allows: anything}
species: mouse
area: V1
layout: sensorium-static
homepage: https://example.org/
stimuli: images
sessions:
  "1": {neurons: 3}
  "2":
files:
  - {name: "a_{session}.zip", url: "https://example.org/{session}", why_no_sha256: none given}
traps: {none: none known}
unverified: [doi, sessions.neurons, sessions.1.neurons, files.url, traps.none, license.name]
"""


@pytest.fixture
def written(tmp_path, monkeypatch):
    """Write a manifest and read it."""
    monkeypatch.setattr(manifests, "FOLDERS", (tmp_path,))

    def write(text):
        (tmp_path / "tiny.yaml").write_text(text)
        return recordings.describe_recording("tiny")

    return write


def test_a_whole_manifest_is_read(written):
    manifest = written(WHOLE)
    assert [file.name for file in manifest.files] == ["a_1.zip", "a_2.zip"]
    assert manifest.files[1].url == "https://example.org/2"
    assert manifest.n_neuron is None  # one session's is not known
    assert is_unverified(manifest, "license.name")
    assert not is_unverified(manifest, "license.allows")
    assert is_unverified(manifest, "sessions.2.neurons")


@pytest.mark.parametrize(
    ("before", "after", "said"),
    [
        ("doi: 10.1000/tiny", "doi: tiny", "doi 'tiny' is not a DOI"),
        ("name: tiny", "name: tin", "name is 'tin', but the file is called tiny.yaml"),
        ("sensorium-static", "cuneiform", "unknown layout 'cuneiform'; known: sensorium-static"),
        ("neurons: 3", "neurons: three", "sessions.1.neurons must be a whole number or null"),
        ("neurons: 3", "neurons: -3", "sessions.1.neurons must be a whole number or null"),
        ("neurons: 3", "neurons: true", "sessions.1.neurons must be a whole number or null"),
        ("neurons: 3", "trials: {train: x}", "must be a table of a whole number or null"),
        ('"1": {', "1: {", "sessions: 1 must be text; put it in quotes"),
        ("species: mouse", "species: ''", "species must be text, but is ''"),
        (", allows: anything", "", "license lacks allows"),
        ("license: {name: none, allows: anything}", "license: MIT", "license must be a table"),
        ("https://example.org/{", "ftp://example.org/{", "must start with https:// or http://"),
        ("https://example.org/{session}", "https://example.org/", "its url does not"),
        ("a_{session}.zip", "../a_{session}.zip", "must be a plain relative path"),
        ("a_{session}.zip", "/a_{session}.zip", "must be a plain relative path"),
        ("why_no_sha256: none given", "sha256: abc", "is not 64 hexadecimal digits"),
        (", why_no_sha256: none given", "", "needs either sha256 or why_no_sha256"),
        ('url: "https://example.org/{session}"', "url: null", "no `listing` says where it is"),
        ("traps.none", "traps.some", "unverified names 'traps.some', which is not there"),
        ("[doi,", "[3,", "unverified must be a list"),
    ],
)
def test_a_fault_is_named(written, before, after, said):
    assert before in WHOLE
    with pytest.raises(InputError, match=re.escape(said)):
        written(WHOLE.replace(before, after))


def test_all_faults_are_said_at_once(written):
    text = (
        WHOLE.replace("doi:", "dio:")
        .replace("neurons: 3", "neurons: x")
        .replace("why_no", "reason_of_no")
    )
    with pytest.raises(InputError) as caught:
        written(text)
    for said in ("lacks doi", "has unknown dio", "sessions.1.neurons must be", "files[0] has un"):
        assert said in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("text", ["title: [", "- a list", "", "\x00", "name: !!python/name:os.x"])
def test_what_is_no_manifest_is_one_line(written, text):
    with pytest.raises(InputError) as caught:
        written(text)
    assert "\n" not in str(caught.value)
