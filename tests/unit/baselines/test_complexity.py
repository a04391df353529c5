"""The committed table of docs/baselines.md is what the code gives; the counter agrees with counts made by hand."""

import re
from pathlib import Path

import pytest
import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from samis.baselines import BASELINES
from samis.baselines.complexity import TOLERANCE, count, count_parameters, read_stated
from samis.errors import UserError

PAGE = Path(__file__).resolve().parents[3] / "docs" / "baselines.md"


def cells():
    lines = [
        line.strip("| ").split(" | ") for line in PAGE.read_text(encoding="utf-8").splitlines() if line[:2] == "| "
    ]
    return [line for line in lines if line[0] in BASELINES]


def test_the_committed_parameters_are_the_codes():
    committed = {line[0]: line[1:] for line in cells() if len(line) == 6}
    assert list(committed) == list(BASELINES) and len(committed) >= 14
    for name, (backbone, parameters, _, multiply_adds, _) in committed.items():
        assert backbone == BASELINES[name].backbone
        assert parameters == f"{count_parameters(name) / 1e6:.2f}", f"{name}: run python evaluate/baseline_table.py"
        assert float(multiply_adds) > 1


def test_every_large_difference_is_explained():
    compared = [line for line in cells() if len(line) in (7, 8)]
    assert len(compared) >= 5
    for line in compared:
        away = float(line[5].rstrip("%")) / 100
        assert abs(away) <= TOLERANCE or (len(line) == 8 and len(line[7]) > 20), line


def test_a_multiply_add_is_two_operations():
    """8 x 4 x 9 weights, each used at 10 x 10 places."""
    with torch.no_grad(), FlopCounterMode(display=False) as counter:
        nn.Conv2d(4, 8, 3, padding=1, device="meta")(torch.zeros(1, 4, 10, 10, device="meta"))
    assert counter.get_total_flops() // 2 == 8 * 4 * 9 * 100


def test_count_equals_hooks_on_every_convolution():
    """The U-Net consists of convolutions, so that shapes seen by hooks give the same number."""
    from samis.baselines import build_baseline

    network, adds = build_baseline("unet", backbone="resnet10t").eval(), []

    def seen(module, inputs, output):
        per_place = module.weight[0].numel()
        adds.append(per_place * output.numel())

    for module in network.modules():
        if isinstance(module, nn.Conv2d):
            module.register_forward_hook(seen)
    with torch.no_grad():
        network(torch.zeros(1, 3, 64, 64))
    counted = count("unet", backbone="resnet10t", side=64)
    assert len(adds) > 10 and counted.multiply_adds == sum(adds)
    assert counted.parameters == sum(parameter.numel() for parameter in network.parameters())


def test_stated_figures_are_read_and_mistakes_have_a_code(tmp_path):
    stated = read_stated()
    assert len(stated) >= 5 and all(re.search(r"\d{4}|github", item.source) for item in stated)
    head = "network,backbone,parameters_m,multiply_adds_g,at_px,source,explanation\n"
    for line in ("unet,resnet18,many,,,x 2020,\n", "anet,resnet18,1,,,x 2020,\n"):
        (tmp_path / "a.csv").write_text(head + line)
        with pytest.raises(UserError, match=r"line 2.*E-NET-STATED"):
            read_stated(tmp_path / "a.csv")
