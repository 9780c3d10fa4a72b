"""Files are whole or not at all."""

import errno

import pytest

from twinlab.files import write_whole


def test_a_file_appears_only_when_it_is_finished(tmp_path):
    target = tmp_path / "new" / "result.txt"
    with write_whole(target) as partial:
        partial.write_text("half")
        assert not target.exists()
    assert target.read_text() == "half"
    assert [path.name for path in target.parent.iterdir()] == ["result.txt"]


def test_a_failed_write_leaves_the_old_file_and_nothing_else(tmp_path):
    target = tmp_path / "result.txt"
    target.write_text("old")

    def fill_the_disk():
        with write_whole(target) as partial:
            partial.write_text("half")
            raise OSError(errno.ENOSPC, "no space left on device")

    with pytest.raises(OSError, match="no space left"):
        fill_the_disk()
    assert target.read_text() == "old"
    assert [path.name for path in tmp_path.iterdir()] == ["result.txt"]


def test_a_folder_is_replaced_whole(tmp_path):
    target = tmp_path / "twin"
    for content in ("first", "second"):
        with write_whole(target) as partial:
            partial.mkdir()
            (partial / content).write_text(content)
    assert [path.name for path in target.iterdir()] == ["second"]
    assert [path.name for path in tmp_path.iterdir()] == ["twin"]


def test_a_file_never_replaces_a_folder(tmp_path):
    target = tmp_path / "results"
    target.mkdir()
    (target / "thesis.txt").write_text("years of work")

    def write():
        with write_whole(target) as partial:
            partial.write_text("a result")

    with pytest.raises(IsADirectoryError):
        write()
    assert (target / "thesis.txt").read_text() == "years of work"


def test_a_folder_that_could_not_be_replaced_stands_as_it_was(tmp_path):
    target = tmp_path / "twin"
    target.mkdir()
    (target / "old").write_text("old")

    def write_nothing():
        with write_whole(target):
            pass

    with pytest.raises(OSError, match="No such file|a directory"):
        write_nothing()
    assert (target / "old").exists()
    assert [path.name for path in tmp_path.iterdir()] == ["twin"]
