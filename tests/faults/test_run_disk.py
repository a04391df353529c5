"""A disk that is too small is reported before the run; one that fills up during it costs no finished step."""

import errno
import os
import shutil
import subprocess
from collections import namedtuple

import pytest
import tiny
import torch
from safetensors import SafetensorError
from same_run import differences

from samis.cli.failures import disk_full
from samis.errors import UserError
from samis.training.state import run_folder

Usage = namedtuple("Usage", "total used free")


def test_missing_space_is_told_before_the_first_step(tmp_path, monkeypatch):
    monkeypatch.setattr(run_folder.shutil, "disk_usage", lambda _: Usage(10**12, 10**12 - 10, 10))
    seen = []
    with pytest.raises(UserError, match=r"about 160 B of disk .*E-TRAIN-DISK"):
        tiny.train(tmp_path, spoil=lambda epoch, index, batch: seen.append(index) or batch)
    assert not seen
    assert not (tmp_path / "resume").exists()


def test_the_estimate_counts_what_will_be_written():
    """Four trained and three frozen numbers of 4 bytes: weights 28, moments 32; two resume points and four sets of weights."""

    class Seven(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.trained = torch.nn.Parameter(torch.zeros(4))
            self.frozen = torch.nn.Parameter(torch.zeros(3), requires_grad=False)

    assert run_folder.needed_bytes(Seven(), pictures=0) == 2 * (28 + 32) + 4 * 28
    assert run_folder.needed_bytes(Seven(), pictures=2) == 232 + 2 * run_folder.PICTURE_BYTES


def test_what_the_folder_holds_already_counts_as_free(tmp_path, monkeypatch):
    monkeypatch.setattr(run_folder.shutil, "disk_usage", lambda _: Usage(10**6, 10**6, 0))
    (tmp_path / "old").write_bytes(bytes(500))
    run_folder.check_space(tmp_path, 500)
    with pytest.raises(UserError, match=r"1 B are missing.*E-TRAIN-DISK"):
        run_folder.check_space(tmp_path, 501)


def test_a_disk_full_during_a_resume_point_leaves_the_one_before(tmp_path, monkeypatch):
    """The write fails half way, as on a full disk; the same command ends as if nothing had been."""
    tiny.train(tmp_path / "whole", save_every_steps=1)
    save, calls = torch.save, []

    def full(state, file):
        calls.append(file)
        if len(calls) == 9:
            file.write(b"half of it")
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        save(state, file)

    monkeypatch.setattr(torch, "save", full)
    with pytest.raises(OSError, match="No space left"):
        tiny.train(tmp_path / "cut", save_every_steps=1)
    assert torch.load(tmp_path / "cut/resume/state.pt", weights_only=True)["position"]["step"] == 7
    assert [path.name for path in (tmp_path / "cut").rglob("*.tmp")] == []
    monkeypatch.setattr(torch, "save", save)
    tiny.train(tmp_path / "cut", save_every_steps=1)
    assert differences(tmp_path / "whole", tmp_path / "cut") == []


@pytest.fixture
def small_disk(tmp_path):
    folder = tmp_path / "disk"
    folder.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=400k", "tmpfs", str(folder)]
    if not shutil.which("mount") or subprocess.run(mount, capture_output=True).returncode:
        pytest.skip("needs the right to mount a small tmpfs")
    yield folder
    subprocess.run(["umount", "--lazy", str(folder)], check=True)  # TensorBoard may hold its file a little longer


@pytest.mark.parametrize("free_bytes", [0, 1500, 9000])
def test_a_disk_that_really_fills_up(small_disk, tmp_path, free_bytes):
    """In the second epoch all but `free_bytes` bytes of a real file system are taken."""
    tiny.train(tmp_path / "whole", save_every_steps=1)
    filler = small_disk / "filler"

    def fill(epoch, index, batch):
        if (epoch, index) == (1, 2):
            free = shutil.disk_usage(small_disk).free
            filler.write_bytes(bytes(max(0, free - free_bytes)))
        return batch

    run = small_disk / "run"
    with pytest.raises((OSError, SafetensorError)) as ended:
        tiny.train(run, spoil=fill, save_every_steps=1)
    assert disk_full(ended.value)
    state = torch.load(run / "resume" / "state.pt", weights_only=True)
    assert state["position"]["step"] >= 7
    filler.unlink()
    tiny.train(run, save_every_steps=1)
    assert differences(tmp_path / "whole", run) == []
