"""The encoder's table survives a case that does not fit the memory or the time, and a result that is wrong is called so."""

import os
import signal
import time
from argparse import Namespace

import pytest
import torch

from benchmarks.encoder import measured, measured_apart, stoppable
from benchmarks.encoder_table import FAILED, OURS, STOCK, Row, agrees, line_for_machines, table
from samis.config import SegmenterConfig


def full():
    raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 40 GiB")


def test_out_of_memory_is_a_row_and_other_faults_are_not_hidden():
    reference = [torch.ones(3)]
    stock = measured(Row(False, "forward", 32, STOCK), full, reference, rounds=1, device="cpu")
    ours = measured(Row(False, "forward", 32, OURS), lambda: [torch.ones(3)], reference, rounds=1, device="cpu")
    lines = table([stock, ours]).splitlines()
    assert "| out of memory |" in lines[2] and "| ours |" in lines[3] and len(lines) == 4
    assert len({line.count("|") for line in lines}) == 1
    assert line_for_machines([stock, ours], "encoder", equal=True)["ratio"] is None

    def broken():
        raise RuntimeError("shape mismatch")

    with pytest.raises(RuntimeError, match="shape"):
        measured(Row(False, "forward", 1, OURS), broken, reference, rounds=1, device="cpu")


def test_what_is_further_from_stock_than_promised_differs():
    wrong = measured(
        Row(False, "forward", 1, OURS), lambda: [torch.full((3,), 1.001)], [torch.ones(3)], rounds=1, device="cpu"
    )
    assert not agrees([wrong], torch.float32, "cpu") and agrees([wrong], torch.bfloat16, "cpu")
    stock = Row(False, "forward", 1, STOCK, errors=[1e-4])
    assert not agrees([stock, wrong], torch.bfloat16, "cpu")


def test_a_process_that_failed_is_no_agreement():
    assert not agrees([Row(False, "forward", 1, OURS, why=f"{FAILED} with code 1")], torch.float32, "cpu")


def test_a_stopped_script_prints_what_it_has(capsys):
    row = Row(False, "forward", 8, STOCK, seconds=0.8, errors=[0.0])
    with pytest.raises(SystemExit) as told, stoppable([row]):
        os.kill(os.getpid(), signal.SIGTERM)
        time.sleep(60)
    assert told.value.code == 143
    assert "| forward | 8 | stock | 100.00 | 1.00 |" in capsys.readouterr().out


def test_a_case_in_its_own_process_ends_with_the_time():
    options = Namespace(
        device="cpu", architecture=SegmenterConfig().architecture, dtype="fp32", frame=64, rounds=1, threads=1, quick=True
    )  # fmt: skip
    start = time.monotonic()
    cut = measured_apart(Row(False, "forward", 1, STOCK), options, start + 0.5)
    assert cut.why == "stopped, the time was over" and not cut.seconds
    whole = measured_apart(Row(True, "both ways", 1, STOCK), options, start + 300)
    assert whole.seconds > 0 and whole.errors == [0.0, 0.0] and "both ways" in whole.way and whole.batch == 1
