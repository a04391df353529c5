"""The encoder's table survives a case that does not fit the memory, and a result that is wrong is called so."""

import pytest
import torch

from benchmarks.encoder import OURS, STOCK, Row, agrees, line_for_machines, measured, table


def full():
    raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 40 GiB")


def test_out_of_memory_is_a_row_and_other_faults_are_not_hidden():
    reference = [torch.ones(3)]
    stock = measured(Row("forward", 32, STOCK), full, reference, rounds=1, device="cpu")
    ours = measured(Row("forward", 32, OURS), lambda: [torch.ones(3)], reference, rounds=1, device="cpu")
    lines = table([stock, ours]).splitlines()
    assert "| out of memory |" in lines[2] and "| ours |" in lines[3] and len(lines) == 4
    assert len({line.count("|") for line in lines}) == 1
    assert line_for_machines([stock, ours], "encoder", equal=True)["ratio"] is None

    def broken():
        raise RuntimeError("shape mismatch")

    with pytest.raises(RuntimeError, match="shape"):
        measured(Row("forward", 1, OURS), broken, reference, rounds=1, device="cpu")


def test_what_is_further_from_stock_than_promised_differs():
    wrong = measured(
        Row("forward", 1, OURS), lambda: [torch.full((3,), 1.001)], [torch.ones(3)], rounds=1, device="cpu"
    )
    assert not agrees([wrong], torch.float32, "cpu") and agrees([wrong], torch.bfloat16, "cpu")
    stock = Row("forward", 1, STOCK, errors=[1e-4])
    assert not agrees([stock, wrong], torch.bfloat16, "cpu")
