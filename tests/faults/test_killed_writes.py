"""Writes that are killed, or meet a full disk, leave the file before whole; what they leave behind is no one's row."""

from __future__ import annotations

import errno
import hashlib
import os
import random
import signal
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from itertools import count
from pathlib import Path

import pytest

from samis.cli.failures import disk_full
from samis.core import files as core_files
from samis.core.files import write_atomic
from samis.evaluation.rows import read_measured
from samis.evaluation.score_row import ScoreRow, read_row
from samis.sam.download import Official, fetch

pytestmark = pytest.mark.skipif(os.name != "posix", reason="needs fork and SIGKILL")


def row(version: int, *, images: int = 300) -> ScoreRow:
    """A row all of whose numbers tell its version."""
    each = [{"id": f"i{number}", "class_name": "a", "mae": version} for number in range(images)]
    return ScoreRow(
        name=f"version {version}", kind="tuned", dataset="steel", split="test", n_images=images, prompt="none",
        mask_rule=None, oracle=False, protocol="pysod", metrics={"mae": version}, directions={"mae": -1},
        curves={"precision": [version] * 256}, images=each,
    )  # fmt: skip


def kill_while(work: Callable[[], None], begun: Callable[[], bool], *, after: float) -> None:
    """Run `work` in a process of its own, and kill it some seconds after it has begun."""
    child = os.fork()
    if child == 0:
        try:
            work()
        finally:
            os._exit(0)
    deadline = time.monotonic() + 60
    while not begun() and time.monotonic() < deadline:
        time.sleep(0.002)
    time.sleep(after)
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)
    assert begun()


def test_killed_while_writing_rows(tmp_path: Path) -> None:
    path = tmp_path / "row.json"
    chance = random.Random(0)
    torn = 0
    for attempt in range(12):
        first = 1000 * attempt + 1
        row(first).save(path)
        kill_while(
            lambda first=first: [row(version).save(path) for version in count(first + 1)],
            lambda first=first: f'"version {first}"' not in path.read_text(encoding="utf-8"),
            after=chance.random() * 0.03,
        )
        saved = read_row(path)
        version = int(saved.metrics["mae"])
        assert first < version < first + 1000
        assert saved.name == f"version {version}" and saved.curves["precision"] == [version] * 256
        lines = path.with_suffix(".csv").read_text(encoding="utf-8").splitlines()
        assert len(lines) == 301
        values = {line.rpartition(",")[2] for line in lines[1:]}
        assert len(values) == 1, "half of one table, half of another"
        assert [each.name for each in map(read_row, tmp_path.glob("*.json"))] == [saved.name]
        if values == {str(version)}:
            assert next(iter(read_measured([tmp_path]).values())).images[0]["mae"] == version
        else:  # killed between the two files
            torn += 1
            with pytest.raises(ValueError, match="E-ROW-IMAGES"):
                read_measured([tmp_path])
    row(7).save(path)
    assert sorted(entry.name for entry in tmp_path.iterdir()) == ["row.csv", "row.json"], "leftovers are cleaned"
    assert torn < 12


def test_leftovers_of_the_dead_are_removed_and_those_of_the_living_kept(tmp_path: Path) -> None:
    path = tmp_path / "a[1].json"
    gone = subprocess.Popen(["true"])
    gone.wait()
    dead = tmp_path / f".a[1].json.{core_files._HOST}.{gone.pid}.tmp"
    alive = tmp_path / f".a[1].json.{core_files._HOST}.{os.getppid()}.tmp"
    elsewhere = tmp_path / f".a[1].json.another-host.{gone.pid}.tmp"
    of_another = tmp_path / f".b.json.{core_files._HOST}.{gone.pid}.tmp"
    for left in (dead, alive, elsewhere, of_another):
        left.write_text("half")
    write_atomic(path, "whole")
    assert path.read_text() == "whole"
    assert set(tmp_path.iterdir()) == {path, alive, elsewhere, of_another}


@pytest.mark.parametrize("call", ["fsync", "replace"])
def test_a_disk_that_is_full_leaves_the_row_before(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, call: str) -> None:
    path = row(1).save(tmp_path / "row.json")

    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(core_files.os, call, full)
    with pytest.raises(OSError) as caught:
        row(2).save(path)
    monkeypatch.undo()
    assert disk_full(caught.value)
    assert caught.value.filename == str(path.with_suffix(".csv"))
    assert next(iter(read_measured([tmp_path]).values())).images[0]["mae"] == 1
    assert sorted(entry.name for entry in tmp_path.iterdir()) == ["row.csv", "row.json"]


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 64 kB."""
    folder = tmp_path / "disk"
    folder.mkdir()
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=64k", "tmpfs", str(folder)], capture_output=True)
    if mounted.returncode:
        pytest.skip("needs the right to mount a small tmpfs")
    yield folder
    subprocess.run(["umount", str(folder)], check=True)


def test_a_real_full_disk(small_disk: Path) -> None:
    path = row(1, images=100).save(small_disk / "row.json")
    report = small_disk / "report.md"
    write_atomic(report, "the report before\n")
    for work in (lambda: row(2, images=9000).save(path), lambda: write_atomic(report, "x" * 100_000)):
        with pytest.raises(OSError) as caught:
            work()
        assert disk_full(caught.value) and str(small_disk) in str(caught.value.filename)
    assert next(iter(read_measured([path]).values())).images[0]["mae"] == 1
    assert report.read_text() == "the report before\n"
    assert sorted(entry.name for entry in small_disk.iterdir()) == ["report.md", "row.csv", "row.json"]


WEIGHTS = bytes(range(256)) * 20_000


class Slow(BaseHTTPRequestHandler):
    """Serves WEIGHTS from the requested byte, slowly at first."""

    def do_GET(self) -> None:
        start = int((self.headers.get("Range") or "bytes=0-").removeprefix("bytes=").rstrip("-"))
        self.send_response(206 if start else 200)
        self.send_header("Content-Length", str(len(WEIGHTS) - start))
        self.end_headers()
        try:
            for at in range(start, len(WEIGHTS), 1 << 20):
                self.wfile.write(WEIGHTS[at : at + (1 << 20)])
                time.sleep(0 if start else 0.5)
        except OSError:
            pass  # the reader was killed

    def log_message(self, *_: object) -> None:
        pass


def test_a_killed_download_is_continued_and_whole(tmp_path: Path) -> None:
    server = HTTPServer(("127.0.0.1", 0), Slow)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    official = Official(f"http://127.0.0.1:{server.server_port}/w.pth", hashlib.sha256(WEIGHTS).hexdigest(), 5)
    path, part = tmp_path / "w.pth", tmp_path / "w.pth.part"
    try:
        begun = lambda: part.exists() and part.stat().st_size > 0  # noqa: E731
        kill_while(lambda: fetch(official, path), begun, after=0.1)
        assert not path.exists(), "a part must not bear the name of the whole"
        assert 0 < part.stat().st_size < len(WEIGHTS)
        fetch(official, path)
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
    assert path.read_bytes() == WEIGHTS
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize("cut", [0, 1, 30, 700, -2])
def test_a_row_cut_short_is_told_in_one_line(tmp_path: Path, cut: int) -> None:
    path = row(1).save(tmp_path / "row.json")
    path.write_bytes(path.read_bytes()[:cut])
    for read in (lambda: read_row(path), lambda: read_measured([tmp_path])):
        with pytest.raises(ValueError, match="E-ROW-DAMAGED") as caught:
            read()
        assert str(path) in str(caught.value) and "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "text",
    ["[" * 100_000, '"row"', '{"metrics": [1]}', "\x00", '{"name": 1}', "NaN"],
)
def test_what_is_no_row_is_told_in_one_line(tmp_path: Path, text: str) -> None:
    whole = row(1).save(tmp_path / "whole.json").read_text(encoding="utf-8")
    path = tmp_path / "row.json"
    for content in (text, whole.replace('"metrics": {', '"metrics": 3, "curves": {', 1)):
        path.write_text(content, encoding="utf-8")
        with pytest.raises(ValueError) as caught:
            read_row(path)
        assert str(path) in str(caught.value) and "\n" not in str(caught.value)
        assert len(str(caught.value)) < 300 + len(str(path))
