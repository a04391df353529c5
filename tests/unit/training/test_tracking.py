"""What a run writes for TensorBoard, read back through TensorBoard's own event reader."""

import re
from pathlib import Path
from typing import ClassVar

import numpy as np
import pytest
import torch
from accelerate.tracking import GeneralTracker
from accelerate.utils import LoggerType
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from tensorboard.plugins.hparams import plugin_data_pb2
from tensorboard.util import tensor_util

from samis.config import Experiment, OptimConfig, TrainingConfig
from samis.core.contracts import Batch, Evaluation, Loss
from samis.core.geometry import place
from samis.errors import UserError
from samis.evaluation.score_row import ScoreRow
from samis.reporting.analysis.references import reference_lines
from samis.training.tracking import Tracker, check_trackers
from samis.training.trainer import Selection, Trainer

CURVES = {"precision": [1 - n / 510 for n in range(256)], "recall": [n / 255 for n in range(256)]}


class Point(torch.nn.Module):
    """One trained number of four, pulled towards 1."""

    def __init__(self):
        super().__init__()
        self.trained, self.frozen = torch.nn.Parameter(torch.zeros(1)), torch.nn.Parameter(torch.zeros(3), False)

    def forward(self, batch):
        return Loss(((self.trained - 1) ** 2).sum(), {"error": (self.trained - 1).detach().abs().sum()})

    def parameter_groups(self):
        return [{"params": [self.trained, self.frozen], "lr_scale": 0.5, "decay": False}]

    def save(self, folder):
        folder.mkdir(parents=True, exist_ok=True)
        torch.save(self.state_dict(), folder / "weights.pt")


class Batches:
    def __len__(self):
        return 3

    def set_epoch(self, epoch, *, skip=0):
        self.skip = skip

    def __iter__(self):
        for index in range(self.skip, 3):
            yield Batch([f"i{index}"], torch.zeros(1, 3, 4, 4), [place((4, 4), (0, 0, 4, 4), 4)])


def read(folder: Path) -> EventAccumulator:
    return EventAccumulator(str(folder), size_guidance={"images": 0, "tensors": 0, "scalars": 0}).Reload()


def scalars(events: EventAccumulator, tag: str) -> list[tuple[int, float]]:
    return [(event.step, round(event.value, 5)) for event in events.Scalars(tag)]


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """Two epochs of three steps; S is 0.6, then 0.7; one picture at each validation."""
    folder = tmp_path_factory.mktemp("run")
    scores = iter([0.6, 0.7])

    def validate(_):
        s = next(scores)
        return Evaluation(
            {"s_measure": s, "mae": 0.1}, curves=CURVES, per_class={"pit": {"s_measure": s, "n_images": 2}}
        )

    trainer = Trainer(
        Point(), Batches(), validate, selection=Selection("s_measure"), optim=OptimConfig(lr=0.1, warmup_share=0),
        training=TrainingConfig(epochs=2, log_every=1), folder=folder, config=Experiment(experiment="point"),
        gallery=lambda _: [("i0", np.full((4, 6, 3), 200, np.uint8))],
        references={"zero_shot_on_test_a": {"s_measure": 0.5}, "best_specialised_on_val_b": {"s_measure": 0.9, "mae": 0.02}},
    )  # fmt: skip
    trainer.fit()
    return folder / "tensorboard"


def test_references_have_the_tags_of_the_validation(run):
    assert scalars(read(run), "validation/s_measure") == [(3, 0.6), (6, 0.7)]
    zero, best = read(run / "zero_shot_on_test_a"), read(run / "best_specialised_on_val_b")
    assert scalars(zero, "validation/s_measure") == [(3, 0.5), (6, 0.5)]
    assert scalars(best, "validation/s_measure") == [(3, 0.9), (6, 0.9)]
    assert scalars(best, "validation/mae") == [(3, 0.02), (6, 0.02)]
    assert zero.Tags()["scalars"] == ["validation/s_measure"]
    assert scalars(read(run), "validation_s_measure/pit") == [(3, 0.6), (6, 0.7)]


def test_what_is_trained_and_how_fast(run):
    events = read(run)
    assert scalars(events, "parameters/trained_share") == [(0, 0.25)]
    rates = scalars(events, "training/lr")
    assert rates[0] == (1, 0.1) and rates[-1] == (6, 0.001)  # from its peak to its hundredth
    assert [tag for tag in events.Tags()["scalars"] if re.search("lr|rate", tag)] == ["training/lr"]
    assert len(scalars(events, "training/images_per_s")) == 6
    assert all(0 <= percent <= 100 for _, percent in scalars(events, "training/data_wait_percent"))
    table = tensor_util.make_ndarray(events.Tensors("parameters/groups/text_summary")[0].tensor_proto).item().decode()
    assert "| 1 | 1 tensors, 1 numbers: `trained` (1) | 0.05 | 0 |" in table


def test_the_same_picture_at_each_validation(run):
    pictures = read(run).Images("gallery/i0")
    assert [(picture.step, picture.height, picture.width) for picture in pictures] == [(3, 4, 6), (6, 4, 6)]


def test_the_precision_recall_curve_has_rising_thresholds(run):
    first = tensor_util.make_ndarray(read(run).Tensors("validation/pr")[0].tensor_proto)
    assert first.shape == (6, 127)
    precision, recall = first[4], first[5]
    assert recall[0] == 1 and recall[-1] == 0  # threshold 0 finds everything, 255 nothing
    at = 63  # the middle of 127: threshold 127.5, rounded to 127 or 128 of 255
    assert recall[at] == pytest.approx(0.5, abs=0.003) and precision[at] == pytest.approx(0.75, abs=0.003)


def test_hyperparameters_come_with_the_scores_of_the_best_epoch(run):
    events = read(run)
    assert scalars(events, "values_of_best_epoch/s_measure")[-1][1] == 0.7
    groups = sorted({tag.partition("/")[0] for tag in events.Tags()["scalars"]})
    assert groups[-1] == "values_of_best_epoch" and "final" not in groups, "not among the first charts"
    content = events.SummaryMetadata("_hparams_/session_start_info").plugin_data.content
    written = plugin_data_pb2.HParamsPluginData.FromString(content).session_start_info.hparams
    assert written["adapter.rank"].number_value == 8 and written["experiment"].string_value == "point"


def test_a_resumed_run_hides_what_it_writes_again(tmp_path):
    for purge, steps in ((None, (1, 2, 3)), (2, (2, 3))):
        tracker = Tracker(tmp_path, purge_step=purge, references={"zero": {"mae": 0.3}})
        for step in steps:
            tracker.evaluation(Evaluation({"mae": 0.1 * step}), step=step)
        tracker.close()
    for folder in (tmp_path, tmp_path / "zero"):
        assert [step for step, _ in scalars(read(folder), "validation/mae")] == [1, 2, 3]


def test_clean_images_have_charts_of_their_own(tmp_path):
    tracker = Tracker(tmp_path)
    tracker.evaluation(
        Evaluation({"mae": 0.1}, clean={"n_images": 4.0, "kept_clean": 0.75, "defect_recall": 0.9}), step=3
    )
    tracker.close()
    events = read(tmp_path)
    assert scalars(events, "validation_clean/kept_clean") == [(3, 0.75)]
    assert scalars(events, "validation_clean/defect_recall") == [(3, 0.9)]
    assert "validation/kept_clean" not in events.Tags()["scalars"]


def test_other_processes_write_nothing(tmp_path):
    tracker = Tracker(tmp_path / "tb", active=False, references={"zero": {"mae": 0.3}})
    tracker.evaluation(Evaluation({"mae": 0.1}), step=1)
    tracker.learner(Point(), torch.optim.SGD([torch.zeros(1)], lr=1), step=0)
    tracker.machine(torch.device("cpu"), step=0)
    tracker.close()
    assert not (tmp_path / "tb").exists()


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_gpu_memory_is_its_highest_since_the_last_line(tmp_path):
    device = torch.device("cuda")
    tracker = Tracker(tmp_path)
    for step, mib in ((1, 256), (2, 16)):
        block = torch.zeros(mib, 1024, 256, device=device)  # 1 MiB each
        del block
        tracker.machine(device, step=step)
    tracker.close()
    (_, first), (_, second) = scalars(read(tmp_path), "machine/gpu_memory_allocated_gib")
    assert first == pytest.approx(0.25, abs=0.05) and second == pytest.approx(0.016, abs=0.01)


def row(kind, split, value, **changes):
    fields = {"name": f"{kind} {value}", "dataset": "steel", "oracle": False, "protocol": "pysod"} | changes
    return ScoreRow(
        kind=kind,
        split=split,
        n_images=9,
        prompt="grid",
        mask_rule=None,
        metrics={"mae": value},
        directions={"mae": -1},
        **fields,
    )


def test_references_come_from_the_validation_split_if_it_was_scored():
    rows = [
        row("zero_shot", "test", 0.2), row("zero_shot", "test", 0.3), row("zero_shot", "test", 0.01, oracle=True),
        row("baseline", "val", 0.07), row("baseline", "test", 0.05), row("saved_maps", "val", 0.06), row("tuned", "val", 0.1),
        row("baseline", "val", 0.01, dataset="tile"), row("baseline", "val", 0.02, protocol="published"),
    ]  # fmt: skip
    lines = reference_lines(rows, dataset="steel", splits=("val", "test"), protocol="pysod", metric="mae")
    assert lines == {
        "zero_shot_on_test_zero_shot_0.2": {"mae": 0.2},
        "best_specialised_on_val_saved_maps_0.06": {"mae": 0.06},
    }
    assert reference_lines(rows, dataset="rail", splits=("val",), protocol="pysod", metric="mae") == {}


def test_a_run_finds_its_references(tmp_path, capsys):
    from samis.jobs.train import references

    config = Experiment()
    config.training.reference_rows = str(tmp_path / "missing")
    assert references(config) == {}
    for kind, value in (("zero_shot", 0.3), ("baseline", 0.05)):
        row(kind, "test", value, dataset=config.data.name).save(tmp_path / "rows" / f"{kind}.json")
    config.training.reference_rows, config.keep_best = str(tmp_path / "rows"), "mae"
    assert [metrics["mae"] for metrics in references(config).values()] == [0.3, 0.05]
    (tmp_path / "rows" / "broken.json").write_text("{}")
    assert references(config) == {} and "broken.json" in capsys.readouterr().out


class Fake(GeneralTracker):
    """A replacement of Weights & Biases that records what Accelerate sends."""

    name, requires_logging_directory, main_process_only = "wandb", False, True
    sent: ClassVar[list] = []
    broken = False

    def __init__(self, run_name, **options):
        super().__init__()
        self.sent.append(("init", run_name, options["name"]))

    tracker = None

    def store_init_configuration(self, values):
        self.sent.append(("config", values))

    def log(self, values, step=None, **_):
        if self.broken:
            raise ConnectionError("no network")
        self.sent.append(("log", step, values))

    def finish(self):
        self.sent.append(("finish",))


@pytest.fixture
def fake(monkeypatch):
    from accelerate import tracking as theirs

    monkeypatch.setitem(theirs.LOGGER_TYPE_TO_CLASS, "wandb", Fake)
    monkeypatch.setattr(theirs, "get_available_trackers", lambda: [LoggerType("wandb")])
    monkeypatch.setattr(Fake, "sent", [])
    return Fake


def short(folder, *trackers, validate=None):
    made = Trainer(
        Point(), Batches(), validate or (lambda _: Evaluation({"s_measure": 0.6}, per_class={"pit (a)": {"iou": 0.5}})),
        selection=Selection("s_measure"), optim=OptimConfig(lr=0.1), folder=folder / "own_run", config=Experiment(),
        training=TrainingConfig(epochs=1, log_every=1, trackers=list(trackers)), references={"zero": {"s_measure": 0.5}},
    )  # fmt: skip
    made.fit()
    return made


def test_another_tracker_gets_config_and_numbers_beside_tensorboard(tmp_path, fake):
    short(tmp_path, "tensorboard", "wandb")
    kinds = [each[0] for each in fake.sent]
    assert kinds[:2] == ["init", "config"] and kinds[-1] == "finish" and kinds.count("finish") == 1
    assert fake.sent[0] == ("init", "samis", "own_run") and fake.sent[1][1]["optim.lr"] == Experiment().optim.lr
    numbers = [(name, step, value) for kind, step, values in fake.sent[2:-1] for name, value in values.items()]
    assert ("validation/s_measure", 3, 0.6) in numbers and ("validation_iou/pit _a_", 3, 0.5) in numbers
    assert {step for name, step, _ in numbers if name == "training/loss"} == {1, 2, 3}
    assert ("values_of_best_epoch/s_measure", None, 0.6) in numbers
    assert scalars(read(tmp_path / "own_run" / "tensorboard"), "validation/s_measure") == [(3, 0.6)]
    assert "parameters/trained" in {name for name, _, _ in numbers}


def test_another_tracker_alone_and_none_write_no_events(tmp_path, fake):
    short(tmp_path / "a", "wandb")
    assert fake.sent and not (tmp_path / "a" / "own_run" / "tensorboard").exists()
    fake.sent.clear()
    short(tmp_path / "b", "none")
    assert not fake.sent and not (tmp_path / "b" / "own_run" / "tensorboard").exists()


def test_a_tracker_that_fails_costs_no_run(tmp_path, fake, capsys, monkeypatch):
    monkeypatch.setattr(Fake, "broken", True)
    assert short(tmp_path, "tensorboard", "wandb").state.step == 3
    assert capsys.readouterr().out.count("no more numbers are sent, since it failed: no network") == 1


def test_a_tracker_that_is_not_installed_is_named_before_the_run(tmp_path, monkeypatch):
    from accelerate import PartialState
    from accelerate import tracking as theirs

    monkeypatch.setattr(theirs, "get_available_trackers", list)
    monkeypatch.setattr(PartialState, "_shared_state", {})  # as in a command that has not begun a run
    with pytest.raises(UserError, match=r"^training.trackers: mlflow .*pip install mlflow.*E-TRAIN-TRACKER"):
        check_trackers(["tensorboard", "mlflow"])
    check_trackers(["tensorboard", "none"])
