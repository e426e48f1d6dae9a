"""Files are written whole or not at all, and a destination is tried before the work."""

import os
import sys
import threading

import pytest

from lmdm_mini.files import check_writable, write_text, written_whole


def test_a_failure_leaves_the_old_file_and_nothing_else(tmp_path):
    path = tmp_path / "table.json"
    write_text(path, "old")
    with pytest.raises(ZeroDivisionError), written_whole(path) as part:
        part.write_text("half")
        raise ZeroDivisionError
    assert path.read_text() == "old" and os.listdir(tmp_path) == ["table.json"]


def test_what_a_library_raises_becomes_one_sentence(tmp_path):
    with pytest.raises(OSError, match="table.json could not be written: no more paper"):
        with written_whole(tmp_path / "table.json", (RuntimeError,)):
            raise RuntimeError("no more paper")


def test_a_link_stays_a_link(tmp_path):
    (tmp_path / "target.txt").write_text("old")
    link = tmp_path / "link.txt"
    link.symlink_to(tmp_path / "target.txt")
    write_text(link, "new")
    assert link.is_symlink() and (tmp_path / "target.txt").read_text() == "new"


def test_two_threads_do_not_mix_their_files(tmp_path):
    path, texts = tmp_path / "a.txt", ["a" * 100_000, "b" * 100_000]
    threads = [threading.Thread(target=write_text, args=(path, text)) for text in 5 * texts]
    [thread.start() for thread in threads]
    [thread.join() for thread in threads]
    assert path.read_text() in texts and os.listdir(tmp_path) == ["a.txt"]


def test_long_names_are_possible(tmp_path):
    path = check_writable(tmp_path / ("n" * 240 + ".wav"))
    write_text(path, "all of it")
    assert path.read_text() == "all of it"


def test_places_that_cannot_be_written_are_named_at_once(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(OSError, match="is a folder; name a file in it"):
        check_writable(tmp_path)
    with pytest.raises(OSError, match="cannot be written: File name too long"):
        check_writable(tmp_path / ("n" * 300 + ".wav"))
    with pytest.raises(OSError, match="cannot be written"):
        check_writable(tmp_path / "file" / "a.wav")
    with pytest.raises(OSError, match="holds a byte that is no text"):
        check_writable(tmp_path / "a\udcff.wav")
    assert os.listdir(tmp_path) == ["file"]
    assert check_writable(tmp_path / "new" / "folder" / "a.wav").parent.is_dir()


@pytest.mark.skipif(sys.platform != "linux", reason="/proc is Linux's")
def test_a_protected_folder_is_refused():
    with pytest.raises(OSError, match="/proc/music.wav cannot be written"):
        check_writable("/proc/music.wav")
