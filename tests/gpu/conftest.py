"""One device for all GPU tests, a reason where there is none, and figures worth keeping printed at the end."""

import os

import pytest
import torch

ENVIRONMENT = "SAMIS_TEST_DEVICE"
"""Set it to cpu to try every test's body, small, on a machine without a GPU; what only CUDA can show is then skipped."""
_NOTES: list[str] = []


@pytest.fixture(scope="session")
def device() -> str:
    wanted = os.environ.get(ENVIRONMENT, "cuda")
    if wanted == "cuda" and not torch.cuda.is_available():
        pytest.skip(f"needs a CUDA device; {ENVIRONMENT}=cpu tries the test on a CPU")
    return wanted


@pytest.fixture(scope="session")
def small(device: str) -> bool:
    """Whether this is only a trial on a CPU: small sizes, few steps."""
    return device == "cpu"


@pytest.fixture
def exact():
    """Float32 products in float32: TF32 off, as every comparison with stock needs."""
    flags = torch.backends.cudnn.allow_tf32, torch.backends.cuda.matmul.allow_tf32
    torch.backends.cudnn.allow_tf32 = torch.backends.cuda.matmul.allow_tf32 = False
    yield
    torch.backends.cudnn.allow_tf32, torch.backends.cuda.matmul.allow_tf32 = flags


@pytest.fixture
def note():
    """Print a figure at the end of the run, whether the test passes or not."""
    return _NOTES.append


@pytest.fixture(autouse=True)
def _free():
    yield
    if torch.cuda.is_available():
        torch.cuda.empty_cache()


def pytest_terminal_summary(terminalreporter):
    for line in _NOTES:
        terminalreporter.write_line(line)
