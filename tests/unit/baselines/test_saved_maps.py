"""SavedMaps: values, sizes, and every mistake in a folder of maps."""

import numpy as np
import pytest
import torch
from PIL import Image

from samis.baselines import SavedMaps
from samis.core.contracts import Batch, Segmenter
from samis.core.geometry import Framing
from samis.errors import UserError

VALUES = np.arange(12, dtype=np.uint8).reshape(3, 4) * 20


def write(folder, name, values=VALUES, **options):
    Image.fromarray(values).save(folder / name, **options)


def batch(ids, file_hw=(3, 4), tile_px=0):
    placements = [p for i in range(len(ids)) for p in Framing(32, tile_px=tile_px).placements(file_hw, sample=i)]
    return Batch(list(ids), torch.zeros(len(placements), 3, 32, 32), placements)


def test_values_are_the_files(tmp_path):
    for name in ("a.png", "b.bmp", "c.JPG"):
        write(tmp_path, name)
    write(tmp_path, "d.png", np.repeat(VALUES[..., None], 3, axis=2))
    (tmp_path / "readme.txt").write_text("left alone")
    maps = SavedMaps(tmp_path)
    maps.check("abcd")
    got = maps.predict(batch("bdac"))
    for index in (0, 1, 2):
        assert got[index].dtype == torch.float32 and np.array_equal(got[index].numpy(), VALUES.astype(np.float32) / 255)
    assert np.abs(got[3].numpy() - VALUES / 255).max() < 0.1  # JPEG
    described = maps.describe()
    assert described["kind"] == "saved_maps" and described["resized"] == 0 and not described["oracle"]
    assert described["prompt"] == "none" and len(described["maps_sha256"]) == 64
    assert isinstance(maps, Segmenter)


def test_another_size_is_resized_and_counted_once(tmp_path):
    write(tmp_path, "a.png", np.full((5, 5), 51, dtype=np.uint8))
    write(tmp_path, "b.png")
    maps = SavedMaps(tmp_path, name="CSEPNet")
    for _ in range(2):
        resized, exact = maps.predict(batch("ab"))
    assert resized.shape == (3, 4) and torch.allclose(resized, torch.tensor(0.2))
    assert np.array_equal(exact.numpy(), VALUES.astype(np.float32) / 255)
    assert maps.describe()["resized"] == 1 and maps.describe()["name"] == "CSEPNet"


def test_tiles_do_not_matter(tmp_path):
    values = np.random.default_rng(0).integers(0, 255, (20, 70), dtype=np.uint8)
    write(tmp_path, "a.png", values)
    (got,) = SavedMaps(tmp_path).predict(batch("a", (20, 70), tile_px=20))
    assert np.array_equal(got.numpy(), values.astype(np.float32) / 255)


def test_missing_and_doubled_ids_are_told(tmp_path):
    for name in ("In_1.png", "In_2.png", "In_2.jpg"):
        write(tmp_path, name)
    maps = SavedMaps(tmp_path)
    with pytest.raises(UserError, match=rf"{tmp_path}.*2 missing: In_3, In_4; .* In_1.*E-MAP-MISSING"):
        maps.check(["In_1", "In_3", "In_4"])
    with pytest.raises(UserError, match=r"In_2 \(In_2\.jpg, In_2\.png\).*E-MAP-DOUBLED"):
        maps.check(["In_1", "In_2"])
    maps.check(["In_1"])  # a double among images that are not scored is no error
    with pytest.raises(UserError, match=r"In_9.*E-MAP-MISSING"):
        maps.predict(batch(["In_9"]))
    with pytest.raises(UserError, match="E-MAP-DOUBLED"):
        maps.predict(batch(["In_2"]))


def test_unusable_folders_and_files_are_told(tmp_path):
    with pytest.raises(UserError, match="E-MAP-NO-FOLDER"):
        SavedMaps(tmp_path / "nowhere")
    with pytest.raises(UserError, match="E-MAP-EMPTY"):
        SavedMaps(tmp_path)
    (tmp_path / "cut.png").write_bytes(b"\x89PNG\r\n\x1a\n cut")
    write(tmp_path, "deep.png", VALUES.astype(np.uint16) * 100)
    write(tmp_path, "coloured.png", np.stack([VALUES, VALUES[::-1], VALUES], axis=2))
    maps = SavedMaps(tmp_path)
    for name, code in (("cut", r"cut\.png.*E-MAP-DAMAGED"), ("deep", "E-MAP-DEPTH"), ("coloured", "E-MAP-COLOUR")):
        with pytest.raises(UserError, match=code):
            maps.predict(batch([name]))


def test_the_fingerprint_follows_the_maps(tmp_path):
    prints = []
    for value in (1, 1, 2):
        write(tmp_path, "a.png", np.full((3, 4), value, dtype=np.uint8))
        maps = SavedMaps(tmp_path)
        maps.check(["a"])
        prints.append(maps.describe()["maps_sha256"])
    assert prints[0] == prints[1] != prints[2]


def folders(tmp_path, **maps):
    """Write folder -> {id: grey level}; return the folders' paths as one text."""
    for folder, levels in maps.items():
        (tmp_path / folder).mkdir()
        for name, level in levels.items():
            write(tmp_path / folder, f"{name}.png", np.full((3, 4), level, np.uint8))
    return ",".join(str(tmp_path / folder) for folder in maps)


def test_several_folders_with_all_images_are_averaged_as_a_ceiling(tmp_path):
    maps = SavedMaps(folders(tmp_path, A={"a": 0, "b": 51}, B={"a": 255, "b": 102}))
    maps.check("ab")
    first, second = maps.predict(batch("ab"))
    assert torch.allclose(first, torch.tensor(0.5)) and torch.allclose(second, torch.tensor(0.3))
    described = maps.describe()
    assert (described["kind"], described["name"], described["folder"]) == ("ceiling", "mean of A and B", "A, B")
    assert maps.methods == ["A", "B"]


def test_parts_of_one_set_are_one_method(tmp_path):
    (tmp_path / "train").mkdir()
    train = folders(tmp_path / "train", A={"a": 51})
    maps = SavedMaps(train + "," + folders(tmp_path, A={"b": 102}))
    maps.check("ab")
    first, second = maps.predict(batch("ab"))
    assert torch.allclose(first, torch.tensor(0.2)) and torch.allclose(second, torch.tensor(0.4))
    assert (maps.describe()["kind"], maps.name) == ("saved_maps", "A")
    alone = SavedMaps(train)
    alone.check("a")
    maps.check("a")  # the fingerprint is of the maps scored, wherever they are
    assert maps.describe()["maps_sha256"] == alone.describe()["maps_sha256"]


def test_a_folder_that_covers_half_of_a_split_is_refused_with_what_to_do(tmp_path):
    half = folders(tmp_path, A={f"In_{n}": n for n in range(5)})
    with pytest.raises(UserError) as caught:
        SavedMaps(half).check([f"In_{n}" for n in range(10)])
    message = str(caught.value)
    assert "10 images, 5 missing: In_5, In_6" in message and "E-MAP-MISSING" in message and "\n" not in message
    with pytest.raises(UserError, match=r"a is in 2 of them and b in 1.*E-MAP-FOLDERS"):
        SavedMaps(folders(tmp_path, B={"a": 1, "b": 2}, C={"a": 3})).check("ab")
