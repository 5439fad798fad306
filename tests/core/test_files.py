"""Files that are written whole or not at all."""

import os
import stat

import pytest

from sway_dash.core.files import write_whole


def test_text_and_bytes_are_written_and_nothing_else_is_left(tmp_path):
    write_whole(tmp_path / "a", "σ\n")
    write_whole(tmp_path / "b", b"\xff")
    assert (tmp_path / "a").read_bytes() == "σ\n".encode()
    assert (tmp_path / "b").read_bytes() == b"\xff"
    assert sorted(p.name for p in tmp_path.iterdir()) == ["a", "b"]


def test_what_was_there_stays_when_writing_fails(tmp_path, monkeypatch):
    path = tmp_path / "kept"
    path.write_text("old")

    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("pathlib.Path.replace", full)
    with pytest.raises(OSError, match="No space left"):
        write_whole(path, "new")
    assert path.read_text() == "old"
    assert [p.name for p in tmp_path.iterdir()] == ["kept"]


def test_who_may_read_a_file_stays_the_same(tmp_path):
    path = tmp_path / "secret"
    path.write_text("old")
    path.chmod(0o600)
    write_whole(path, "new")
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


def test_a_link_stays_a_link_and_a_long_name_is_no_obstacle(tmp_path):
    target = tmp_path / ("n" * 255)
    write_whole(target, "old")
    (tmp_path / "link").symlink_to(target)
    write_whole(tmp_path / "link", "new")
    assert (tmp_path / "link").is_symlink()
    assert target.read_text() == "new"


def test_a_pipe_gets_the_text_itself(tmp_path):
    out, into = os.pipe()
    write_whole(f"/dev/fd/{into}", "through")
    os.close(into)
    with os.fdopen(out) as reader:
        assert reader.read() == "through"


def test_a_device_that_takes_nothing_is_an_os_error():
    with pytest.raises(OSError, match="No space left"):
        write_whole("/dev/full", "x")
