"""``python -m samis.metrics``: names that must match, errors of bad files, the same numbers as the library."""

import csv
import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from samis.metrics import score_image, summarise
from samis.metrics.__main__ import main
from samis.metrics.grey import read_grey

ROOT = Path(__file__).resolve().parents[3]


@pytest.fixture
def folders(tmp_path):
    """Write three maps and masks; the third mask is empty."""
    rng = np.random.default_rng(0)
    for folder in ("maps", "masks"):
        (tmp_path / folder).mkdir()
    for index in range(3):
        truth = np.zeros((24, 32), np.uint8)
        if index < 2:
            truth[5:12, 6 + index : 20] = 255
        image = (0.6 * np.roll(truth, 2, 1) + rng.integers(0, 100, truth.shape)).astype(np.uint8)
        Image.fromarray(truth).save(tmp_path / "masks" / f"{index}.png")
        Image.fromarray(image).save(tmp_path / "maps" / f"{index}.png")
    return tmp_path


def run(folders, *options):
    return main([str(folders / "maps"), str(folders / "masks"), *options])


def read(folders, index):
    return [np.asarray(Image.open(folders / kind / f"{index}.png")) for kind in ("maps", "masks")]


def test_json_is_one_line_with_the_metrics_own_names(folders, capsys):
    assert run(folders, "--json") == 0
    numbers = json.loads(capsys.readouterr().out.strip().split("\n")[-1])
    assert (numbers["images"], numbers["clean_images"], numbers["protocol"]) == (3, 1, "pysod")
    for name, value in summarise([score_image(*read(folders, index)) for index in (0, 1)]).items():
        assert numbers[name] == value
    assert numbers["kept_clean"] in (0, 1)


def test_with_clean_averages_all(folders, capsys):
    assert run(folders, "--json", "--with-clean") == 0
    numbers = json.loads(capsys.readouterr().out)
    assert numbers["mae"] == pytest.approx(
        summarise([score_image(*read(folders, i)) for i in range(3)])["mae"], abs=1e-12
    )


@pytest.mark.parametrize("protocol", ["inspection"])
def test_workers_change_nothing(folders, capsys, protocol):
    outputs = []
    for workers in ("1", "2"):
        assert run(folders, "--protocol", protocol, "--workers", workers, "--json") == 0
        outputs.append(capsys.readouterr().out)
    assert outputs[0] == outputs[1]


def test_table_and_csv(folders, capsys):
    assert run(folders, "--csv", str(folders / "rows.csv"), "--metrics", "mae", "f_max") == 0
    table = capsys.readouterr().out
    assert "mae" in table
    assert "lower is better" in table
    with (folders / "rows.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [(row["image"], row["clean"]) for row in rows] == [("0", "0"), ("1", "0"), ("2", "1")]
    assert float(rows[0]["mae"]) == score_image(*read(folders, 0)).values["mae"]


def test_no_cell_of_the_csv_is_a_formula(folders, capsys):
    for kind in ("maps", "masks"):
        (folders / kind / "0.png").rename(folders / kind / "=1+1.png")
    assert run(folders, "--csv", str(folders / "rows.csv"), "--metrics", "mae") == 0
    with (folders / "rows.csv").open(newline="") as file:
        assert {row["image"] for row in csv.DictReader(file)} == {"'=1+1", "1", "2"}


def test_names_and_suffixes_choose_files(folders, capsys):
    (folders / "names.txt").write_text("0\n1\n")
    (folders / "maps" / "0.jpg").write_bytes(b"a photograph next to the map")
    (folders / "maps" / "extra.png").write_bytes((folders / "maps" / "1.png").read_bytes())
    assert run(folders, "--names", str(folders / "names.txt"), "--map-suffix", ".png", "--json") == 0
    assert json.loads(capsys.readouterr().out)["images"] == 2


def spoil_missing_map(folders):
    (folders / "maps" / "1.png").unlink()


def spoil_missing_mask(folders):
    (folders / "masks" / "1.png").unlink()


def spoil_two_of_a_name(folders):
    (folders / "maps" / "1.bmp").write_bytes(b"")


def spoil_unreadable(folders):
    (folders / "maps" / "1.png").write_bytes(b"not an image")


def spoil_truncated(folders):
    whole = (folders / "masks" / "1.png").read_bytes()
    (folders / "masks" / "1.png").write_bytes(whole[: len(whole) // 2])


def spoil_size(folders):
    Image.fromarray(np.zeros((10, 32), np.uint8)).save(folders / "maps" / "1.png")


def spoil_colour(folders):
    Image.fromarray(np.random.default_rng(0).integers(0, 255, (24, 32, 3), np.uint8)).save(folders / "masks" / "1.png")


def spoil_palette(folders):
    image = Image.fromarray((read(folders, 1)[1] > 0).astype(np.uint8), "P")
    image.putpalette([0, 0, 0, 128, 0, 0])
    image.save(folders / "masks" / "1.png")


def spoil_deep(folders):
    Image.fromarray(np.full((24, 32), 40000, np.uint16)).save(folders / "maps" / "1.png")


def spoil_labels(folders):
    Image.fromarray((read(folders, 1)[1] > 0).astype(np.uint8) * 3).save(folders / "masks" / "1.png")


def spoil_floats(folders):
    (folders / "maps" / "1.png").unlink()
    np.save(folders / "maps" / "1.npy", np.full((24, 32), 7.5))


def spoil_nan(folders):
    (folders / "maps" / "1.png").unlink()
    np.save(folders / "maps" / "1.npy", np.full((24, 32), np.nan))


@pytest.mark.parametrize(
    ("spoil", "parts"),
    [
        (spoil_missing_map, ("maps", "1 of 3 images", "E-METRIC-MISSING")),
        (spoil_missing_mask, ("masks", "1 maps", "E-METRIC-NO-MASK")),
        (spoil_two_of_a_name, ("maps", "1.bmp and 1.png", "E-METRIC-TWO-FILES")),
        (spoil_unreadable, ("1.png", "E-METRIC-FILE]")),
        (spoil_truncated, ("masks", "1.png", "E-METRIC-FILE]")),
        (spoil_size, ("maps", "1.png", "24x32", "10x32", "E-METRIC-MAP-SIZE")),
        (spoil_colour, ("masks", "1.png", "E-METRIC-FILE-COLOUR")),
        (spoil_palette, ("masks", "1.png", "palette", "E-METRIC-FILE-COLOUR")),
        (spoil_deep, ("maps", "1.png", "I;16", "E-METRIC-FILE-DEPTH")),
        (spoil_labels, ("masks", "1.png", "up to 3", "E-METRIC-MASK-VALUES")),
        (spoil_floats, ("1.npy", "7.5", "E-METRIC-MAP-RANGE")),
        (spoil_nan, ("1.npy", "E-METRIC-NOT-FINITE")),
    ],
)
@pytest.mark.parametrize("workers", ["1", "2"])
def test_bad_input_is_named_and_exits_2(folders, capsys, spoil, parts, workers):
    spoil(folders)
    assert run(folders, "--workers", workers) == 2
    error = capsys.readouterr().err
    assert error.startswith("error: ")
    assert error.count("\n") == 1
    for part in parts:
        assert part in error


def test_other_forms_of_the_same_values(folders, capsys):
    """Labels 0/1, one-bit, grey stored as colour, a grey palette, and float maps all give the same numbers."""
    assert run(folders, "--json") == 0
    expected = capsys.readouterr().out
    image, truth = read(folders, 0)
    Image.fromarray((truth > 0).astype(np.uint8)).save(folders / "masks" / "0.png")
    Image.fromarray(read(folders, 1)[1]).convert("1").save(folders / "masks" / "1.png")
    Image.fromarray(read(folders, 1)[0]).convert("RGB").save(folders / "maps" / "1.png")
    Image.fromarray(read(folders, 2)[1]).convert("P").save(folders / "masks" / "2.png")
    (folders / "maps" / "0.png").unlink()
    np.save(folders / "maps" / "0.npy", (image / 255).astype(np.float32))
    assert run(folders, "--json") == 0
    assert capsys.readouterr().out == expected


@pytest.mark.parametrize(
    ("options", "code"),
    [
        (["--metrics", "s_mesure"], "E-METRIC-NAME"),
        (["--threshold", "0"], "E-METRIC-OPTION"),
        (["--names", "nowhere.txt"], "E-METRIC-NAMES"),
        (["--csv", "/no/such/folder/rows.csv"], "E-METRIC-WRITE"),
        (["--metrics", "mae", "--curves", "curves.csv"], "E-METRIC-CURVES"),
        (["--map-suffix", "_map.png"], "E-METRIC-FOLDER-EMPTY"),
    ],
)
def test_bad_options_exit_2(folders, capsys, options, code):
    assert run(folders, *options) == 2
    error = capsys.readouterr().err
    assert error.startswith("error: ") and f"[{code}]" in error


def test_missing_folder_exits_2(tmp_path, capsys):
    assert main([str(tmp_path / "maps"), str(tmp_path)]) == 2
    assert "E-METRIC-FOLDER]" in capsys.readouterr().err


def test_many_folders_score_as_each_alone(folders, capsys):
    (folders / "other").mkdir()
    for index in range(3):
        Image.fromarray(255 - read(folders, index)[0]).save(folders / "other" / f"{index}.png")
    for protocol in ("pysod", "inspection"):
        alone = {}
        for name in ("maps", "other"):
            assert main([str(folders / name), str(folders / "masks"), "--json", "--protocol", protocol]) == 0
            alone[name] = json.loads(capsys.readouterr().out)
        many = [
            str(folders / "maps"),
            str(folders / "other"),
            "--truth",
            str(folders / "masks"),
            "--protocol",
            protocol,
        ]
        assert main([*many, "--json", "--csv", str(folders / "rows.csv")]) == 0
        together = json.loads(capsys.readouterr().out)
        assert together["images"] == 3 and list(together["folders"]) == ["maps", "other"]
        for name, numbers in together["folders"].items():
            assert numbers == {key: alone[name][key] for key in numbers}
        with (folders / "rows.csv").open(newline="") as file:
            rows = list(csv.DictReader(file))
        assert [(row["maps"], row["image"]) for row in rows] == [
            (n, str(i)) for n in ("maps", "other") for i in range(3)
        ]
        assert main(many) == 0 and "other:" in capsys.readouterr().out


def test_curves_are_written(folders, capsys):
    path = folders / "curves.csv"
    assert run(folders, "--curves", str(path)) == 0
    with path.open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [int(row["threshold"]) for row in rows] == list(range(255, -1, -1))
    scores = [score_image(*read(folders, index)) for index in (0, 1)]
    for name in ("precision", "recall", "f_measure", "e_measure"):
        wanted = np.mean([own.curves[name] for own in scores], axis=0)
        np.testing.assert_allclose([float(row[name]) for row in rows], wanted, atol=1e-12)
    assert max(float(row["f_measure"]) for row in rows) == pytest.approx(summarise(scores)["f_max"], abs=1e-12)


@pytest.mark.parametrize(
    ("arguments", "code"),
    [
        (["maps"], "E-METRIC-FOLDERS"),
        (["maps", "masks", "maps"], "E-METRIC-FOLDERS"),
        (["maps", "maps", "--truth", "masks"], "E-METRIC-FOLDER-TWICE"),
    ],
)
def test_other_numbers_of_folders_are_refused(folders, capsys, arguments, code):
    assert main([each if each.startswith("-") else str(folders / each) for each in arguments]) == 2
    error = capsys.readouterr().err
    assert error.startswith("error: ") and f"[{code}]" in error


def test_scoring_folders_needs_neither_torch_nor_scipy(folders):
    command = (
        "import sys; from samis.metrics.__main__ import main; code = main(sys.argv[1:]); "
        "assert not {'torch', 'torchvision', 'torchmetrics', 'scipy'} & set(sys.modules); sys.exit(code)"
    )
    arguments = [str(folders / "maps"), str(folders / "masks"), "--json"]
    done = subprocess.run(
        [sys.executable, "-c", command, *arguments], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr


def test_a_tiff_with_a_rotation_is_rotated(tmp_path):
    """Pillow 13 scrambles an uncompressed one that is not square."""
    values = np.arange(15, dtype=np.uint8).reshape(3, 5)
    Image.fromarray(values).save(tmp_path / "a.tif", tiffinfo={274: 6})
    np.testing.assert_array_equal(read_grey(tmp_path / "a.tif"), np.rot90(values, -1))


@pytest.mark.parametrize(("factor", "warned"), [(1, False), (0.004, True)])
def test_faint_floats_are_warned_about_where_thresholds_are_few(folders, capsys, factor, warned):
    for index in range(3):
        path = folders / "maps" / f"{index}.png"
        np.save(path.with_suffix(".npy"), np.asarray(Image.open(path)) / 256 * factor)
        path.unlink()
    assert run(folders, "--protocol", "inspection") == 0
    assert ("3 maps of floats span fewer than 16 of the 256 thresholds" in capsys.readouterr().err) == warned
    assert run(folders) == 0 and "thresholds" not in capsys.readouterr().err
