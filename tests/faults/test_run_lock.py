"""Two runs on one folder: the second stops and names the process that holds it; a lock left by a dead run does not."""

import errno
import fcntl
import json
import os
import signal
import socket
import subprocess
import sys

import pytest
import tiny

from samis.errors import UserError
from samis.training.state import lock
from samis.training.state.lock import RunLock

HOLD = """
import fcntl, json, os, socket, sys
file = open(sys.argv[1], "a+")
fcntl.flock(file, fcntl.LOCK_EX)
with open(sys.argv[1] + ".json", "w") as note:
    note.write(json.dumps({"pid": os.getpid(), "host": socket.gethostname(), "since": "2026-01-02T03:04:05+00:00"}))
print("held", flush=True)
sys.stdin.read()
"""
"""Holds the lock as the system knows it, without filelock."""


@pytest.fixture
def holder(tmp_path):
    """Another process that holds the folder's lock."""
    command = [sys.executable, "-c", HOLD, str(tmp_path / lock.NAME)]
    process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert process.stdout.readline() == "held\n"
    yield process
    process.kill()
    process.wait()


def test_the_second_run_is_told_who_holds_the_folder(holder, tmp_path):
    with pytest.raises(UserError) as caught:
        tiny.train(tmp_path)
    for word in (str(holder.pid), socket.gethostname(), "2026-01-02T03:04:05", "E-TRAIN-LOCKED"):
        assert word in str(caught.value)
    files = sorted(path.name for path in tmp_path.iterdir())
    assert files == [lock.NAME, lock.HOLDER], "the second run must not touch the folder"


def test_a_lock_dies_with_its_process(holder, tmp_path, capsys):
    holder.kill()
    holder.wait()
    tiny.train(tmp_path, epochs=1)
    assert f"taking over from process {holder.pid}" in capsys.readouterr().out
    assert not (tmp_path / lock.HOLDER).exists()


def test_a_worker_process_does_not_keep_its_killed_parents_lock(tmp_path):
    """A forked loader process lives on for a while when its parent is killed."""
    code = f"""
import os, sys, time
sys.path.insert(0, {str(tiny.__file__).rsplit("/tests/", 1)[0]!r})
from pathlib import Path
from samis.training.state.lock import RunLock
lock = RunLock(Path({str(tmp_path)!r}))
lock.acquire()
child = os.fork()
if child:
    print(child, flush=True)
time.sleep(60)
"""
    parent = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True)
    child = int(parent.stdout.readline())
    try:
        with pytest.raises(UserError, match=f"process {parent.pid} .*E-TRAIN-LOCKED"):
            RunLock(tmp_path).acquire()
        parent.kill()
        parent.wait()
        os.kill(child, 0)
        held = RunLock(tmp_path)
        assert f"process {parent.pid}" in held.acquire()
        held.release()
    finally:
        os.kill(child, signal.SIGKILL)


def test_twice_in_one_process(tmp_path):
    first = RunLock(tmp_path)
    assert first.acquire() is None
    with pytest.raises(UserError, match=f"process {os.getpid()} .*E-TRAIN-LOCKED"):
        RunLock(tmp_path).acquire()
    first.release()
    again = RunLock(tmp_path)
    assert again.acquire() is None
    again.release()


def test_a_failed_run_gives_its_lock_back(tmp_path):
    def fail(_):
        raise UserError("no")

    for _ in range(2):
        with pytest.raises(UserError, match=r"^no$"):
            tiny.train(tmp_path, validate=fail)


@pytest.mark.parametrize(
    ("pid", "host", "free"), [("dead", "here", True), ("alive", "here", False), ("dead", "elsewhere", False)]
)
@pytest.mark.parametrize("code", [errno.ENOLCK, errno.ENOSYS])
def test_without_the_systems_locks_the_process_decides(tmp_path, monkeypatch, pid, host, free, code):
    def refuse(*_):
        raise OSError(code, "no locks here")

    monkeypatch.setattr(fcntl, "flock", refuse)
    gone = subprocess.Popen([sys.executable, "-c", ""])
    gone.wait()
    number = {"dead": gone.pid, "alive": os.getppid()}[pid]
    holder = {"pid": number, "host": socket.gethostname() if host == "here" else "node7.example", "since": "then"}
    (tmp_path / lock.HOLDER).write_text(json.dumps(holder))
    for name in (lock.NAME, lock.SOFT):
        marker = tmp_path / name
        marker.write_text(f"{number}\n{holder['host']}\n")
        os.utime(marker, (1e9, 1e9))
    held = RunLock(tmp_path)
    if free:
        assert "is gone" in held.acquire()
        held.release()
    else:
        with pytest.raises(UserError, match=r"delete .*\.lock.*E-TRAIN-LOCKED"):
            held.acquire()


def test_a_note_of_rubbish_names_nobody(tmp_path):
    (tmp_path / lock.HOLDER).write_text("\x00 not json")
    held = RunLock(tmp_path)
    assert held.acquire() is None
    held.release()
