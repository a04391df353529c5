"""``training.mixed_precision``: who decides, what is refused, what the run folder records."""

import re

import pytest
import torch

from samis.config import TrainingConfig
from samis.errors import UserError
from samis.training import precision
from samis.training.precision import CHOICES, nan_advice, open_accelerator, resolve_precision

LAUNCHED = "ACCELERATE_MIXED_PRECISION"


@pytest.fixture(autouse=True)
def nobody_launched(monkeypatch):
    monkeypatch.delenv(LAUNCHED, raising=False)


def device(monkeypatch, kind, *, bf16=True):
    monkeypatch.setattr(precision, "device_type", lambda: kind)
    monkeypatch.setattr(precision, "has_bf16", lambda: bf16)
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda: "Tesla T4")


@pytest.mark.parametrize(
    ("kind", "bf16", "expected"),
    [("cpu", False, "no"), ("cuda", True, "bf16"), ("cuda", False, "no"), ("mps", True, "no")],
)
def test_auto_takes_bf16_where_the_gpu_has_it(monkeypatch, kind, bf16, expected):
    assert TrainingConfig().mixed_precision == "auto"
    device(monkeypatch, kind, bf16=bf16)
    assert resolve_precision("auto") == expected


@pytest.mark.parametrize("launched", ["no", "bf16", "fp16"])
def test_auto_takes_the_launchers_choice(monkeypatch, launched):
    device(monkeypatch, "cuda")
    monkeypatch.setenv(LAUNCHED, launched)
    assert resolve_precision("auto") == resolve_precision(launched) == launched


@pytest.mark.parametrize(
    ("requested", "launched", "kind", "message"),
    [
        ("no", "bf16", "cuda", "training.mixed_precision=no contradicts accelerate launch, which has bf16"),
        ("bf16", "no", "cuda", "training.mixed_precision=bf16 contradicts accelerate launch, which has no"),
        ("fp32", "", "cpu", "expected one of auto, no, bf16, fp16, got 'fp32'"),
        ("auto", "fp8", "cuda", "expected a mixed_precision of no, bf16, fp16, got 'fp8'"),
        ("fp16", "", "cpu", "fp16 needs a GPU, this run is on a CPU"),
        ("auto", "fp16", "cpu", "fp16 needs a GPU, this run is on a CPU"),
        ("bf16", "", "old cuda", "Tesla T4 has no bf16; set fp16 or no"),
        ("auto", "bf16", "old cuda", "Tesla T4 has no bf16; set fp16 or no"),
    ],
)
def test_what_cannot_be_is_refused_in_one_line(monkeypatch, requested, launched, kind, message):
    device(monkeypatch, kind.split()[-1], bf16=not kind.startswith("old"))
    if launched:
        monkeypatch.setenv(LAUNCHED, launched)
    with pytest.raises(UserError) as refused:
        resolve_precision(requested)
    assert message in str(refused.value) and re.search(r"E-TRAIN-(PRECISION|LAUNCH)", str(refused.value))
    assert "\n" not in str(refused.value)


@pytest.mark.skipif(torch.cuda.is_available(), reason="takes the GPU's precision there")
def test_one_process_can_train_in_two_precisions_in_turn():
    assert open_accelerator("bf16").mixed_precision == "bf16"
    assert open_accelerator("auto").mixed_precision == "no"


@pytest.mark.parametrize("bf16", [True, False])
@pytest.mark.parametrize("used", ["no", "bf16", "fp16"])
def test_advice_names_no_precision_that_is_in_use_or_missing(monkeypatch, used, bf16):
    device(monkeypatch, "cuda", bf16=bf16)
    advice = nan_advice(used)
    assert f"mixed_precision={used}" not in advice
    assert bf16 or "bf16" not in advice
    assert "optim.lr" in advice
    assert len({nan_advice(each) for each in CHOICES[1:]}) == 3
