"""Pictures made to fill the memory are judged by their headers: what the process holds at most hardly grows."""

from __future__ import annotations

import json
import struct
import subprocess
import sys
import zlib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

ROOT = Path(__file__).resolve().parents[2]

MEASURED = """
import json, re, sys
from pathlib import Path
from samis.data.checks.doctor import examine_named
from samis.data.checks.quick_check import quick_check
from samis.data.own.folder import load_folder
sound, hostile = sys.argv[1:]
examine_named(load_folder, ["all"], root=sound)
def peak():  # getrusage would begin with the peak of the process that started this one
    return int(re.search(r"VmHWM:\\s*(\\d+)", Path("/proc/self/status").read_text())[1])
before = peak()
found = examine_named(load_folder, ["all"], root=hostile).findings
found += quick_check({"all": load_folder(root=hostile, split="all")}).findings
after = peak()
print(json.dumps({"mb": (after - before) / 1024, "found": sorted({f"{Path(f.file).name} {f.code}" for f in found})}))
"""


def chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def deflated_zeros(count: int) -> bytes:
    packer = zlib.compressobj(1)
    megabytes = (packer.compress(bytes(1 << 20)) for _ in range(count >> 20))
    return b"".join(megabytes) + packer.compress(bytes(count % (1 << 20))) + packer.flush()


def png(path: Path, side: int, *, bits: int, between: bytes = b"") -> None:
    """Write a whole, valid PNG of one grey, `side` pixels square."""
    pixels = deflated_zeros(side * (1 + side * bits // 8))
    header = struct.pack(">IIBBBBB", side, side, bits, 0, 0, 0, 0)
    path.write_bytes(
        b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + between + chunk(b"IDAT", pixels) + chunk(b"IEND", b"")
    )


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="needs Linux's count of resident memory")
def test_bombs_cost_no_memory(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    for folder in ("sound", "hostile"):
        for stem in ("a", "wide", "talk"):
            for part in ("images", "masks"):
                (tmp_path / folder / part).mkdir(parents=True, exist_ok=True)
                values = rng.integers(0, 256, (64, 64), dtype=np.uint8) if part == "images" else np.eye(64) > 0
                Image.fromarray(values).save(tmp_path / folder / part / f"{stem}.png")
    images = tmp_path / "hostile" / "images"
    png(images / "wide.png", 30_000, bits=1)
    png(images / "talk.png", 64, bits=8, between=chunk(b"zTXt", b"a\0\0" + deflated_zeros(200_000_000)))
    assert (images / "wide.png").stat().st_size < 5_000_000
    done = subprocess.run(
        [sys.executable, "-c", MEASURED, str(tmp_path / "sound"), str(tmp_path / "hostile")],
        cwd=ROOT, capture_output=True, text=True, timeout=3600, check=True,
    )  # fmt: skip
    result = json.loads(done.stdout)
    assert result["found"] == ["talk.png damaged", "wide.png too_large"]
    assert result["mb"] < 60, "30,000 x 30,000 pixels take 900 MB, the text 200 MB"
