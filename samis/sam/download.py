"""Download of the official weights, for those who have a network: progress, resume of a partial file, sha256 check."""

from __future__ import annotations

import errno
import http.client
import urllib.error
import urllib.request
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

from samis.core.files import file_sha256
from samis.core.progress import Progress
from samis.core.shipped import checkpoints_folder
from samis.errors import UserError

_PIECE = 1 << 20
_MB = 10**6


@dataclass(frozen=True)
class Official:
    """One published file: its URL, sha256 and size."""

    url: str
    sha256: str
    size_mb: int

    @property
    def file(self) -> str:
        """Its name on disk."""
        return self.url.rsplit("/", 1)[1]


_SITE = "https://dl.fbaipublicfiles.com/segment_anything"
OFFICIAL: dict[str, Official] = {
    "vit_b": Official(
        f"{_SITE}/sam_vit_b_01ec64.pth", "ec2df62732614e57411cdcf32a23ffdf28910380d03139ee0f4fcbe91eb8c912", 375
    ),
    "vit_l": Official(
        f"{_SITE}/sam_vit_l_0b3195.pth", "3adcc4315b642a4d2101128f611684e8734c41232a17c648ed1693702a49a622", 1250
    ),
    "vit_h": Official(
        f"{_SITE}/sam_vit_h_4b8939.pth", "a7bf3b02f3ebf1267aba913ff637d9a2d5c33d3173bb679e46d9f338c26f262e", 2564
    ),
}
"""Meta's published weights by architecture."""


def download(architecture: str, *, folder: str | Path | None = None) -> Path:
    """Fetch an official checkpoint, or check the one that is there.

    Args:
        architecture: vit_b, vit_l or vit_h.
        folder: where to; None takes ``checkpoints/sam``.

    Returns:
        the file, whose sha256 is right.

    Raises:
        UserError: no official weights of that name, no network, no space, or a file that is not the published one.
    """
    if architecture not in OFFICIAL:
        raise UserError(
            f"architecture: expected official weights, one of {', '.join(OFFICIAL)}, got '{architecture}'",
            code="E-SAM-NOT-OFFICIAL",
        )
    official = OFFICIAL[architecture]
    path = (Path(folder) if folder is not None else checkpoints_folder() / "sam") / official.file
    if path.is_file():
        if file_sha256(path) != official.sha256:
            raise UserError(
                f"{path}: expected sha256 {official.sha256}, got another file; move it away and run this again",
                code="E-SAM-OTHER-FILE",
            )
        return path
    fetch(official, path)
    return path


def fetch(official: Official, path: Path) -> None:
    """Fetch a file into ``<path>.part``, continuing one that is there, check it and give it its name.

    Raises:
        UserError: as ``download``; a partial file is kept to be continued, a wrong one is deleted.
    """
    part = path.with_name(path.name + ".part")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        _receive(official.url, part)
    except urllib.error.HTTPError as error:
        raise UserError(
            f"{official.url}: expected the file, got HTTP {error.code} {error.reason}; try again later",
            code="E-SAM-DOWNLOAD-HTTP",
        ) from error
    except (urllib.error.URLError, http.client.HTTPException, ConnectionError, TimeoutError) as error:
        reason = getattr(error, "reason", error)
        raise UserError(
            f"{official.url}: expected a network, got '{reason}'; run this again to continue, or fetch the file "
            f"elsewhere and put it at {path}",
            code="E-SAM-NO-NETWORK",
        ) from error
    except OSError as error:
        todo = (
            "free some space and run this again"
            if error.errno == errno.ENOSPC
            else "check the folder and its permissions"
        )
        raise UserError(
            f"{part}: expected to write it, got '{error.strerror}'; {todo}", code="E-FILE-NOT-WRITTEN"
        ) from error
    sha256 = file_sha256(part)
    if sha256 != official.sha256:
        part.unlink()
        raise UserError(
            f"{official.url}: expected sha256 {official.sha256}, got {sha256}; the download was deleted, run this again",
            code="E-SAM-DOWNLOAD-WRONG",
        )
    part.replace(path)


def _receive(url: str, part: Path) -> None:
    """Append to `part` what it lacks of `url`; start over if the server cannot continue."""
    have = part.stat().st_size if part.exists() else 0
    request = urllib.request.Request(url, headers={"Range": f"bytes={have}-"} if have else {})
    try:
        response = urllib.request.urlopen(request, timeout=60)
    except urllib.error.HTTPError as error:
        if have and error.code == http.HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE:
            return  # nothing is left to fetch, or too much is there: the check decides
        raise
    with response:
        continues = response.status == http.HTTPStatus.PARTIAL_CONTENT
        have = have if continues else 0
        length = response.headers.get("Content-Length")
        total = have + int(length) if length else 0
        progress = Progress(total // _MB, unit="MB", done=have // _MB)
        with closing(progress), part.open("ab" if continues else "wb") as file:
            while piece := response.read(_PIECE):
                file.write(piece)
                progress.advance((have + len(piece)) // _MB - have // _MB, about=part.stem)
                have += len(piece)
    if have < total:
        raise ConnectionError(f"the connection ended after {have} of {total} bytes")
