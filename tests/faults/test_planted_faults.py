"""The data doctor finds every planted fault, with the right severity, at the right file, and nothing besides.

A fault is one line of a table: a name, what plants it into three valid samples, and all findings that must be reported.
"""

from __future__ import annotations

import os
import shutil
import struct
import tempfile
import unicodedata
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from samis.data.checks.doctor import Examination, examine_named
from samis.data.own.folder import load_folder

HW = (48, 64)
NOISE = np.random.default_rng(0).integers(40, 210, HW, dtype=np.uint8)
BLOB = np.zeros(HW, np.uint8)
BLOB[10:20, 12:30] = 255
DOT = np.zeros(HW, np.uint8)
DOT[14, 20] = 255


def put(path: Path, values: np.ndarray | Image.Image, **options: object) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    (values if isinstance(values, Image.Image) else Image.fromarray(values)).save(path, **options)
    return path


def halve(path: Path) -> None:
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def turned(orientation: int) -> Image.Exif:
    exif = Image.Exif()
    exif[0x0112] = orientation
    return exif


def labels(values: np.ndarray) -> Image.Image:
    picture = Image.new("P", values.shape[::-1])
    picture.putdata(values.ravel().tolist())
    picture.putpalette([0, 0, 0, 128, 0, 0, 0, 128, 0])
    return picture


def pages(path: Path, **options: object) -> None:
    first, second = Image.fromarray(NOISE), Image.fromarray(NOISE[::-1].copy())
    first.save(path, save_all=True, append_images=[second], **options)


def png(path: Path, *chunks: tuple[bytes, bytes], hw: tuple[int, int] = HW) -> None:
    """Write a PNG whose header announces a size, with further chunks and hardly any pixels."""
    header = (b"IHDR", struct.pack(">IIBBBBB", hw[1], hw[0], 8, 0, 0, 0, 0))
    parts = [header, *chunks, (b"IDAT", zlib.compress(b"")), (b"IEND", b"")]
    data = [struct.pack(">I", len(d)) + kind + d + struct.pack(">I", zlib.crc32(kind + d)) for kind, d in parts]
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + b"".join(data))


def relink(path: Path, target: Path | str) -> None:
    path.unlink(missing_ok=True)
    path.symlink_to(target)


def same_photo(root: Path, *, same_mask: bool) -> None:
    for part in ("images", "masks") if same_mask else ("images",):
        shutil.copy(root / part / "a.png", root / part / "b.png")


def into_classes(root: Path) -> None:
    for part in ("images", "masks"):
        (root / part / "dent").mkdir()
        for path in list((root / part).glob("*.png")):
            path.rename(root / part / "dent" / path.name)


def into_splits(root: Path, **stems: str) -> None:
    for split, stem in stems.items():
        for part in ("images", "masks"):
            (root / split / part).mkdir(parents=True)
            (root / part / f"{stem}.png").rename(root / split / part / f"{stem}.png")


def table(root: Path, *lines: str, head: str = "image,mask") -> None:
    (root / "pairs.csv").write_text("\n".join([head, *lines]) + "\n", encoding="utf-8")


A, B = "images/a.png,masks/a.png", "images/b.png,masks/b.png"
NO_UTF_8 = os.fsdecode(b"\xff\xfe.png")
IMAGE, MASK = "images/a.png", "masks/a.png"
Plant = Callable[[Path], object]

# Faults of one file: it replaces the sound one. name: (ending, plant, findings as "severity code")
OF_IMAGES: dict[str, tuple[str, Plant, list[str]]] = {
    "JPEG cut in half": (".jpg", lambda p: halve(put(p, NOISE)), ["error damaged"]),
    "PNG cut in half": (".png", lambda p: halve(put(p, NOISE)), ["error damaged"]),
    "TIFF cut in half": (".tif", lambda p: halve(put(p, NOISE)), ["error damaged"]),
    "0 bytes": (".png", lambda p: p.write_bytes(b""), ["error empty_file"]),
    "a text named .png": (".png", lambda p: p.write_text("<html>404</html>"), ["error no_picture"]),
    "a GIF named .png": (".png", lambda p: pages(p, format="GIF"), ["error no_picture"]),
    "a JPEG named .png": (".png", lambda p: put(p, NOISE, format="JPEG"), ["warning wrong_ending"]),
    "16 bits": (".png", lambda p: put(p, NOISE.astype(np.uint16) * 257), ["note 16_bit"]),
    "12 bits in 16": (".png", lambda p: put(p, NOISE.astype(np.uint16) * 16), ["note 16_bit", "warning dark_image"]),
    "32 bits": (".tif", lambda p: put(p, NOISE.astype(np.int32) * 999), ["error mode"]),
    "floats": (".tif", lambda p: put(p, NOISE.astype(np.float32) / 255), ["error mode"]),
    "floats with NaN": (".tif", lambda p: put(p, np.where(NOISE > 99, np.nan, 1).astype(np.float32)), ["error mode"]),
    "a palette": (".png", lambda p: put(p, Image.fromarray(NOISE).convert("P")), ["note palette"]),
    "transparency": (".png", lambda p: put(p, Image.fromarray(NOISE).convert("RGBA")), ["note alpha"]),
    "CMYK": (".jpg", lambda p: put(p, Image.fromarray(NOISE).convert("CMYK")), ["note colour_space"]),
    "EXIF rotation": (".jpg", lambda p: put(p, NOISE, exif=turned(3)), ["note exif_rotation"]),
    "a TIFF of two pages": (".tif", pages, ["error many_pictures"]),
    "a moving PNG": (".png", pages, ["error many_pictures"]),
    "one grey everywhere": (".png", lambda p: put(p, np.full(HW, 90, np.uint8)), ["warning flat_image"]),
    "30,000 x 30,000": (".png", lambda p: png(p, hw=(30000, 30000)), ["error too_large"]),
    "20,000 x 19,000": (".png", lambda p: png(p, hw=(20000, 19000)), ["error too_large"]),
    "a text chunk that unpacks to 100 MB": (
        ".png",
        lambda p: png(p, (b"zTXt", b"a\0\0" + zlib.compress(bytes(100_000_000), 9))),
        ["error damaged"],
    ),
    "a link to itself": (".png", lambda p: relink(p, p), ["error damaged"]),
    "a link to nothing": (".png", lambda p: relink(p, p.with_name("gone")), ["error missing"]),
    "a link to an endless device": (".png", lambda p: relink(p, "/dev/zero"), ["error empty_file"]),
    "a pipe": (".png", lambda p: os.mkfifo(p), ["error empty_file"]),
    "no right to read": (".png", lambda p: put(p, NOISE).chmod(0), ["error permission"]),
}
OF_MASKS: dict[str, tuple[str, Plant, list[str]]] = {
    "BMP cut in half": (".bmp", lambda p: halve(put(p, BLOB)), ["error damaged"]),
    "0 bytes": (".png", lambda p: p.write_bytes(b""), ["error empty_file"]),
    "zeros": (".png", lambda p: p.write_bytes(bytes(64)), ["error no_picture"]),
    "white is 1": (".png", lambda p: put(p, BLOB // 255), ["note zero_one_mask"]),
    "white is 127": (".png", lambda p: put(p, BLOB // 2), ["error mask_values"]),
    "white is 254": (".png", lambda p: put(p, BLOB // 255 * 254), ["error mask_values"]),
    "soft rims": (".png", lambda p: put(p, np.maximum(BLOB, np.roll(BLOB, 2, 1) // 2)), ["error mask_values"]),
    "smeared by JPEG": (".jpg", lambda p: put(p, BLOB, quality=60), ["error mask_values"]),
    "class numbers": (".png", lambda p: put(p, NOISE % 3), ["error mask_values"]),
    "the photo again": (".png", lambda p: put(p, NOISE), ["error mask_values"]),
    "16 bits": (".png", lambda p: put(p, BLOB.astype(np.uint16) * 257), ["note 16_bit"]),
    "coloured": (".png", lambda p: put(p, np.dstack([BLOB, BLOB * 0, BLOB * 0])), ["error mask_colour"]),
    "transparent": (".png", lambda p: put(p, np.dstack([BLOB] * 4)), ["error mask_alpha"]),
    "a coloured palette": (".png", lambda p: put(p, labels(BLOB // 255)), ["note palette"]),
    "a pixel too narrow": (".png", lambda p: put(p, BLOB[:, :-1].copy()), ["error size_mismatch"]),
    "a pixel too high": (".png", lambda p: put(p, np.vstack([BLOB, BLOB[:1]])), ["error size_mismatch"]),
    "turned by 90 degrees": (".png", lambda p: put(p, BLOB.T.copy()), ["error size_mismatch"]),
    "empty": (".png", lambda p: put(p, BLOB * 0), ["warning empty_mask"]),
    "full": (".png", lambda p: put(p, BLOB | 255), ["warning full_mask"]),
    "inverted": (".png", lambda p: put(p, 255 - BLOB), ["warning inverted_mask"]),
    "one pixel": (".png", lambda p: put(p, DOT), ["warning tiny_defect"]),
}

# Faults of the tree. name: (plant, findings as "severity code file"); a pairs.csv is read where it is planted.
OF_TREES: dict[str, tuple[Plant, list[str]]] = {
    "no mask": (lambda r: (r / MASK).unlink(), ["error image_without_mask a.png"]),
    "no image": (lambda r: (r / IMAGE).unlink(), ["error mask_without_image a.png"]),
    "one stem twice": (lambda r: put(r / "images/a.bmp", NOISE), ["error double_stem a.png"]),
    "one name in two spellings": (
        lambda r: put(r / "images" / f"{unicodedata.normalize('NFD', 'größe 1 (neu)')}.png", NOISE),
        ["error double_stem größe 1 (neu).png"],
    ),
    "A and a": (
        lambda r: (put(r / "images/A.png", NOISE), put(r / "masks/A.png", BLOB[::-1].copy())),
        ["warning case_clash a"],
    ),
    "a line break in a name": (lambda r: put(r / "images/c\nd.png", NOISE), ["error odd_name c\nd.png"]),
    "a name that is no UTF-8": (
        lambda r: put(r / "images" / NO_UTF_8, NOISE),
        [f"error odd_name {NO_UTF_8}"],
    ),
    "a 1 x 1 image": (
        lambda r: [put(r / part, np.full((1, 1), 255, np.uint8)) for part in (IMAGE, MASK)],
        ["warning small_image a.png", "warning flat_image a.png", "warning full_mask a.png"],
    ),
    "mask drawn on the unturned photo": (
        lambda r: put(r / IMAGE, NOISE, format="JPEG", exif=turned(6)),
        ["note exif_rotation a.png", "warning wrong_ending a.png", "error size_mismatch a.png"],
    ),
    "one photo twice": (lambda r: same_photo(r, same_mask=True), ["warning duplicate b.png"]),
    "one photo with two truths": (
        lambda r: same_photo(r, same_mask=False),
        ["warning duplicate b.png", "warning two_truths b.png"],
    ),
    "no mask folder": (lambda r: shutil.rmtree(r / "masks"), ["error does_not_load"]),
    "no image folder": (lambda r: shutil.rmtree(r / "images"), ["error does_not_load"]),
    "an empty folder": (
        lambda r: (shutil.rmtree(r / "images"), (r / "images").mkdir()),
        ["error does_not_load"],
    ),
    "a folder among the images": (lambda r: put(r / "images/old/x.png", NOISE), ["error does_not_load"]),
    "a folder that holds itself": (
        lambda r: (r / "images/loop").symlink_to(r / "images"),
        ["error does_not_load"],
    ),
    "a folder among the images of a class": (
        lambda r: (into_classes(r), put(r / "images/dent/old/x.png", NOISE)),
        ["warning passed_over old"],
    ),
    "masks of an unknown class": (
        lambda r: (into_classes(r), put(r / "masks/dnet/x.png", BLOB)),
        ["error does_not_load"],
    ),
    "a picture of another kind": (
        lambda r: pages(r / "images/c.gif"),
        ["warning passed_over c.gif"],
    ),
    "no right to enter": (lambda r: (r / "images").chmod(0), ["error does_not_load"]),
    "a split of another name": (lambda r: into_splits(r, train="a", vaild="b"), ["error does_not_load"]),
    "CSV without a mask column": (lambda r: table(r, "images/a.png", head="image"), ["error does_not_load"]),
    "CSV with an unknown column": (lambda r: table(r, A + ",x", head="image,mask,clas"), ["error does_not_load"]),
    "CSV line with a cell too many": (lambda r: table(r, A, B + ",x"), ["error does_not_load"]),
    "CSV line with an open quote": (lambda r: table(r, A, '"' + B), ["error does_not_load"]),
    "CSV of an unknown split": (lambda r: table(r, A + ",vaild", head="image,mask,split"), ["error does_not_load"]),
    "CSV in Latin-1": (
        lambda r: (r / "pairs.csv").write_bytes("image,mask\ngröße.png,a.png\n".encode("latin-1")),
        ["error does_not_load"],
    ),
    "CSV that names no such image": (
        lambda r: table(r, A, "images/x.png,masks/b.png"),
        ["error mask_without_image x.png"],
    ),
    "CSV that names no such mask": (
        lambda r: table(r, A, "images/b.png,masks/x.png"),
        ["error image_without_mask b.png"],
    ),
    "CSV with an empty mask": (lambda r: table(r, A, "images/b.png,"), ["error image_without_mask b.png"]),
    "CSV that names an image twice": (lambda r: table(r, A, B, A), ["error double_stem a.png"]),
}
SOUND: dict[str, Plant] = {
    "spaces and accents in names": lambda r: None,
    "hidden and system files": lambda r: [
        (r / "images" / name).write_bytes(b"x") for name in (".DS_Store", "._a.png", "Thumbs.db", "desktop.ini")
    ],
    "notes and labels of other tools": lambda r: [
        (r / "images" / name).write_text("x") for name in ("README.txt", "a.json", "a.xml", "LICENSE")
    ],
    "endings in capitals": lambda r: (r / IMAGE).rename(r / "images/a.PNG"),
    "images of different sizes": lambda r: [put(r / p, v[:40].copy()) for p, v in ((IMAGE, NOISE), (MASK, BLOB))],
    "a mask of 1 bit": lambda r: put(r / MASK, Image.fromarray(BLOB > 0)),
    "a grey mask saved as RGB": lambda r: put(r / MASK, np.dstack([BLOB] * 3)),
    "a clean image without a mask": lambda r: (
        into_classes(r),
        put(r / "images/clean/c.png", NOISE[::-1].copy()),
    ),
    "a CSV of pairs": lambda r: table(r, A, B),
}


@pytest.fixture
def root() -> Iterator[Path]:
    """Three sound samples, one with spaces and accents in its name, in a folder that any user may enter."""
    with tempfile.TemporaryDirectory() as folder:
        base = Path(folder)
        base.chmod(0o755)
        for number, stem in enumerate(("a", "b", "größe 1 (neu)")):
            photo = np.random.default_rng(number + 1).integers(40, 210, HW, dtype=np.uint8)
            put(base / "images" / f"{stem}.png", photo)
            put(base / "masks" / f"{stem}.png", np.roll(BLOB, number, axis=1))
        yield base
        (base / "images").chmod(0o755) if (base / "images").exists() else None


@contextmanager
def nobody() -> Iterator[None]:
    """Read with the rights of a plain user: root may read everything."""
    if os.geteuid() != 0:
        yield
        return
    os.seteuid(65534)
    try:
        yield
    finally:
        os.seteuid(0)


def examine(root: Path, *splits: str, name: str = "") -> Examination:
    place = root / "pairs.csv" if (root / "pairs.csv").exists() else root
    with nobody() if name.startswith("no right") else nullcontext():
        return examine_named(load_folder, splits or ["all"], root=place)


def findings_of(report: Examination) -> list[str]:
    """Return the findings as "severity code file", and check the form of each."""
    severities = [finding.severity for finding in report.findings]
    assert severities == sorted(severities, key=["error", "warning", "note"].index)
    assert report.exit_code == (2 if "error" in severities else int("warning" in severities))
    lines = []
    for finding in report.findings:
        assert "\n" not in finding.message
        name = "" if finding.code == "does_not_load" else Path(finding.file).name
        assert ascii(name)[1:-1] in finding.message or name in finding.message
        lines.append(f"{finding.severity} {finding.code} {unicodedata.normalize('NFC', name)}".strip())
    return sorted(lines)


@pytest.mark.parametrize("name", OF_IMAGES)
def test_faults_of_an_image(root: Path, name: str) -> None:
    ending, plant, expected = OF_IMAGES[name]
    (root / IMAGE).unlink()
    plant((root / IMAGE).with_suffix(ending))
    assert findings_of(examine(root, name=name)) == sorted(f"{line} a{ending}" for line in expected)


@pytest.mark.parametrize("name", OF_MASKS)
def test_faults_of_a_mask(root: Path, name: str) -> None:
    ending, plant, expected = OF_MASKS[name]
    (root / MASK).unlink()
    plant((root / MASK).with_suffix(ending))
    assert findings_of(examine(root, name=name)) == sorted(f"{line} a{ending}" for line in expected)


@pytest.mark.parametrize("name", OF_TREES)
def test_faults_of_a_tree(root: Path, name: str) -> None:
    plant, expected = OF_TREES[name]
    plant(root)
    assert findings_of(examine(root, name=name)) == sorted(expected)


@pytest.mark.parametrize("name", SOUND)
def test_sound_data_has_no_findings(root: Path, name: str) -> None:
    SOUND[name](root)
    assert findings_of(examine(root)) == []


def test_one_photo_in_two_splits(root: Path) -> None:
    same_photo(root, same_mask=True)
    into_splits(root, train="a", test="b")
    assert findings_of(examine(root, "train", "test")) == ["error leak b.png"]


def test_one_surface_in_two_splits(root: Path) -> None:
    darker = np.clip(np.asarray(Image.open(root / IMAGE)) * 0.9 + 20, 0, 255).astype(np.uint8)
    put(root / "images/b.png", darker)
    into_splits(root, train="a", test="b")
    assert findings_of(examine(root, "train", "test")) == ["warning near_leak b.png"]


def test_at_least_30_faults_of_at_least_25_codes_are_planted() -> None:
    expected = [lines for *_, lines in (*OF_IMAGES.values(), *OF_MASKS.values(), *OF_TREES.values())]
    assert len(expected) >= 75
    assert len({line.split()[1] for lines in expected for line in lines}) >= 25
