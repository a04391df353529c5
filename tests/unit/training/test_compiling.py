"""``training.compile``: full training batches run compiled, to rounding as without; what cannot be compiled goes on without."""

import shutil

import pytest
import torch
from safetensors.torch import load_file
from test_trainer import Batches, Line, trainer
from torch import nn

from samis.core.contracts import Evaluation, Loss
from samis.errors import UserError
from samis.training import compiling
from samis.training.compiling import CompiledSteps


class Deep(nn.Module):
    """A network of three layers that learns the line."""

    def __init__(self):
        super().__init__()
        self.network = nn.Sequential(nn.Linear(4, 8), nn.GELU(), nn.LayerNorm(8), nn.Linear(8, 1))

    def forward(self, batch):
        actual = self.network(batch.images[:, 0, 0])
        return Loss(((actual[:, 0] - batch.images[:, 1, 0, 0]) ** 2).mean(), {})

    def compiled_parts(self):
        return [(self.network, "forward")]

    segmenter, save, load = Line.segmenter, Line.save, Line.load

    @property
    def weight(self):
        return self.network[0].weight

    def parameter_groups(self):
        return [{"params": list(self.parameters()), "lr_scale": 1.0, "decay": True}]


class Ragged(Batches):
    """Batches whose last is shorter than the others."""

    def __iter__(self):
        for number, batch in enumerate(super().__iter__(), self.skip):
            if number == self.count - 1:
                batch.images, batch.placements = batch.images[:2], batch.placements[:2]
            yield batch


@pytest.fixture
def compiles(monkeypatch):
    """Torch.compile without code generation, which takes a CPU long; returns the shapes that were compiled for."""
    seen, real = [], torch.compile

    def backend(graph, inputs):
        seen.append([tuple(each.shape) for each in inputs if isinstance(each, torch.Tensor)])
        return graph

    monkeypatch.setattr(
        compiling.torch, "compile", lambda function, mode, **given: real(function, backend=backend, **given)
    )
    torch._dynamo.reset()
    return seen


def weights(folder, compile, loader=None, **training):
    torch.manual_seed(3)
    run = trainer(
        folder, learner=Deep(), loader=loader or Ragged(), batch_size=3, compile=compile, ema=0.9,
        validate=lambda trained: Evaluation({"error": float(trained.network(torch.ones(3, 4)).sum())}), **training,
    )  # fmt: skip
    run.fit()
    return run, {name: value.clone() for name, value in run.learner.state_dict().items()}


@pytest.mark.parametrize("accumulation", [1, 2])
@pytest.mark.parametrize("precision", ["no", "bf16"])
def test_it_learns_what_the_plain_run_learns_and_compiles_once(tmp_path, compiles, accumulation, precision):
    kind = {"accumulation": accumulation, "mixed_precision": precision}
    plain, expected = weights(tmp_path / "plain", "no", **kind)
    compiled, actual = weights(tmp_path / "compiled", "default", **kind)
    assert len(compiles) == 1, "neither a shorter last batch nor validation is compiled"
    assert any(shape[0] == 3 for shape in compiles[0])
    assert list(actual) == list(expected)
    for name in expected:
        torch.testing.assert_close(actual[name], expected[name], atol=1e-5, rtol=1e-4, msg=name)
    assert compiled.record()["compile"] == "default"
    assert "compile" not in plain.record()
    best = [load_file(tmp_path / name / "best" / "model.safetensors") for name in ("plain", "compiled")]
    assert best[0].keys() == best[1].keys()


def test_with_the_real_compiler(tmp_path):
    try:
        torch.compile(lambda x: x + 1)(torch.ones(3))
    except Exception as error:
        pytest.skip(f"torch.compile does not work here: {type(error).__name__}")
    _, expected = weights(tmp_path / "plain", "no", epochs=1)
    run, actual = weights(tmp_path / "compiled", "default", epochs=1)
    assert run.record()["compile"] == "default"
    for name in expected:
        torch.testing.assert_close(actual[name], expected[name], atol=1e-5, rtol=1e-4, msg=name)


def test_a_resumed_run_is_the_whole_run(tmp_path, compiles):
    class Cut(Exception):
        pass

    class Breaks(Ragged):
        def __iter__(self):
            for number, batch in enumerate(super().__iter__(), self.skip):
                if (self.epoch, number) == (2, 5):
                    raise Cut
                yield batch

    _, expected = weights(tmp_path / "whole", "default")
    with pytest.raises(Cut):
        weights(tmp_path / "cut", "default", loader=Breaks(), save_every_steps=1)
    _, actual = weights(tmp_path / "cut", "default", save_every_steps=1)  # goes on at the short last batch
    assert all(torch.equal(actual[name], expected[name]) for name in expected)


def test_a_compiler_that_fails_is_reported_once_and_recorded(tmp_path, monkeypatch, capsys):
    def broken(*given, **options):
        raise RuntimeError("no C++ compiler\nat all")

    monkeypatch.setattr(compiling.torch, "compile", broken)
    _, expected = weights(tmp_path / "plain", "no")
    run, actual = weights(tmp_path / "failed", "default")
    assert all(torch.equal(actual[name], expected[name]) for name in expected)
    lines = [line for line in capsys.readouterr().err.splitlines() if line.startswith("training.compile")]
    assert lines == ["training.compile: going on without torch.compile, since RuntimeError: no C++ compiler"]
    assert run.record()["compile"] == "no, since RuntimeError: no C++ compiler"


def test_what_cannot_be_compiled_is_reported(tmp_path, capsys):
    run = trainer(tmp_path, compile="default", epochs=1)
    run.fit()
    assert "this learner has no part that can be compiled" in capsys.readouterr().err
    assert run.record()["compile"].startswith("no, since")
    assert CompiledSteps(Deep(), run.training, sharded=True).used == "no, since the weights are sharded (FSDP)"


@pytest.mark.parametrize("given", [{"compile": "yes"}, {"compile": "reduce-overhead"}])
def test_refused(tmp_path, given):
    with pytest.raises(UserError, match=r"training\.compile.*E-TRAIN-CHOICE"):
        trainer(tmp_path, learner=Deep(), **given)
    shutil.rmtree(tmp_path)
