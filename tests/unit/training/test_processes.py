import pytest
import torch

from samis.errors import PeerError, UserError
from samis.training.precision import check_gpus
from samis.training.processes import Processes, open_processes


def test_alone_there_is_nothing_to_share(monkeypatch):
    monkeypatch.delenv("WORLD_SIZE", raising=False)
    alone = open_processes()
    assert (alone.process_index, alone.num_processes, alone.is_main_process) == (0, 1, True)
    assert alone.share("abc") == ["a", "b", "c"]


def test_more_processes_than_items_leave_some_without():
    assert Processes(3, 4, torch.device("cpu")).share([1, 2]) == []


@pytest.mark.parametrize(("rank", "kind"), [("0", UserError), ("2", PeerError)])
def test_more_processes_than_gpus_are_refused_by_the_first(monkeypatch, rank, kind):
    monkeypatch.setattr("samis.training.precision.device_type", lambda: "cuda")
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    monkeypatch.setenv("LOCAL_WORLD_SIZE", "3")
    monkeypatch.setenv("LOCAL_RANK", rank)
    with pytest.raises(kind, match=r"3 processes and 2 GPUs .*--num_processes 2.*E-TRAIN-GPUS"):
        check_gpus()
    monkeypatch.setenv("LOCAL_WORLD_SIZE", "2")
    check_gpus()
