"""``samis.core.progress``: a bar on a terminal, plain lines in a log file, nothing where it is not wanted."""

import io
import sys

import pytest

from samis.core.progress import Progress


class Terminal(io.StringIO):
    def isatty(self):
        return True


@pytest.fixture
def clock(monkeypatch):
    """Seconds that tqdm reads; a list of one number to move on."""
    now = [1000.0]
    monkeypatch.setattr("tqdm.std.time", lambda: now[0])
    return now


def test_a_log_file_gets_a_line_at_intervals_and_no_carriage_return(monkeypatch, clock):
    stream = io.StringIO()
    monkeypatch.setattr(sys, "stderr", stream)
    progress = Progress(100, unit="photos", done=10, log_s=30)
    for number in range(90):
        clock[0] += 1
        progress.advance(about="1 failed" if number > 40 else "")
    progress.close()
    text = stream.getvalue()
    assert "\r" not in text and "\x1b" not in text
    lines = text.splitlines()
    assert len(lines) == 3 and lines[0] == "40/100 photos, 00:30 so far, 01:00 left"
    assert lines[1] == "70/100 photos, 01:00 so far, 00:30 left, 1 failed"


def test_what_is_over_soon_writes_nothing_into_a_log_file(monkeypatch):
    stream = io.StringIO()
    monkeypatch.setattr(sys, "stderr", stream)
    progress = Progress(3, unit="images")
    for _ in range(3):
        progress.advance()
    progress.close()
    assert stream.getvalue() == ""


def test_a_terminal_has_a_bar_and_lines_above_it(monkeypatch, capsys, clock):
    stream = Terminal()
    monkeypatch.setattr(sys, "stderr", stream)
    kept = []
    progress = Progress(4, unit="steps", record=kept.append)
    for number in range(4):
        clock[0] += 1
        progress.advance(about=f"loss {number}")
    progress.say("validation")
    progress.note("epoch 0 step 4/4")
    progress.close()
    assert "\r" in stream.getvalue() and "4/4" in stream.getvalue() and "loss 3" in stream.getvalue()
    assert capsys.readouterr().out == "validation\n", "the bar says what a note says"
    assert kept == ["validation", "epoch 0 step 4/4"], "the record has both"


@pytest.mark.parametrize("stream", [io.StringIO(), Terminal()])
def test_another_process_shows_nothing(monkeypatch, capsys, stream):
    monkeypatch.setattr(sys, "stderr", stream)
    kept = []
    progress = Progress(4, unit="steps", active=False, record=kept.append)
    progress.advance(about="loss")
    progress.say("a")
    progress.note("b")
    assert progress.left(60.0) == "01:00" and progress.left(float("inf")) == "?"
    progress.close()
    assert stream.getvalue() == capsys.readouterr().out == "" and kept == []


def test_the_time_left_is_that_of_the_pace_or_of_the_limit(clock):
    progress = Progress(110, unit="steps", done=10)
    assert progress.left(float("inf")) == "?"
    clock[0] += 20
    progress.advance(10)
    assert progress.left(float("inf")) == "03:00", "90 steps at 2 s each"
    assert progress.left(30.0) == "00:30"
    progress.close()


def test_no_thread_stays_behind(monkeypatch):
    import threading

    monkeypatch.setattr(sys, "stderr", Terminal())
    before = set(threading.enumerate())
    progress = Progress(4, unit="steps")
    progress.advance()
    assert set(threading.enumerate()) == before, "loader processes are forked meanwhile"
    progress.close()
