"""Reading a run folder that grows."""

from __future__ import annotations

from pathlib import Path

from sway_dash.suite.tail import CHUNK, LineTail


def test_a_line_longer_than_a_chunk_does_not_stop_the_reader(tmp_path: Path) -> None:
    path = tmp_path / "events.jsonl"
    long = b"x" * (2 * CHUNK + 5)
    path.write_bytes(b"first\n" + long + b"\nlast\ntorn")
    tail: LineTail[int] = LineTail(path, len, CHUNK)
    found: list[int] = []
    for _ in range(5):
        found += tail.read()
    assert found == [5, len(long), 4]
    with path.open("ab") as file:
        file.write(b" no more\n")
    assert tail.read() == [len(b"torn no more")]
