"""Download against a server on this machine: whole, resumed, restarted, cut, wrong, absent."""

import hashlib
import sys
import threading
from http.server import BaseHTTPRequestHandler, HTTPServer

import pytest

from samis.errors import UserError
from samis.sam import download as module
from samis.sam.download import OFFICIAL, Official, download

CONTENT = bytes(range(256)) * 5000


class Server(HTTPServer):
    """Serves CONTENT at any path; remembers the ranges of the requests."""

    ranges = True
    cut_after = len(CONTENT)
    content = CONTENT

    def __init__(self) -> None:
        self.requests: list[str | None] = []
        super().__init__(("127.0.0.1", 0), Handler)


class Handler(BaseHTTPRequestHandler):
    server: Server

    def do_GET(self) -> None:
        wanted = self.headers.get("Range")
        self.server.requests.append(wanted)
        if "missing" in self.path:
            return self.send_error(404)
        start = int(wanted.removeprefix("bytes=").rstrip("-")) if wanted and self.server.ranges else 0
        if start >= len(self.server.content):
            return self.send_error(416)
        body = self.server.content[start:]
        self.send_response(206 if start else 200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body[: self.server.cut_after])

    def log_message(self, *args: object) -> None:
        pass


@pytest.fixture
def server():
    server = Server()
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    yield server
    server.shutdown()
    server.server_close()
    thread.join()


@pytest.fixture
def official(server, monkeypatch):
    known = Official(f"http://127.0.0.1:{server.server_port}/sam_made_up.pth", hashlib.sha256(CONTENT).hexdigest(), 1)
    monkeypatch.setitem(OFFICIAL, "vit_b", known)
    return known


def refused(folder) -> str:
    with pytest.raises(UserError) as caught:
        download("vit_b", folder=folder)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_fetches_checks_and_names(tmp_path, official, server, capsys, monkeypatch):
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True)
    path = download("vit_b", folder=tmp_path / "new")
    assert path == tmp_path / "new" / "sam_made_up.pth"
    assert path.read_bytes() == CONTENT
    assert list(path.parent.iterdir()) == [path]
    assert server.requests == [None]
    shown = capsys.readouterr().err
    assert "100%" in shown and "1/1 [" in shown and "MB/s" in shown and path.stem in shown


def test_a_file_that_is_there_and_right_is_not_fetched_again(tmp_path, official, server):
    (tmp_path / official.file).write_bytes(CONTENT)
    assert download("vit_b", folder=tmp_path) == tmp_path / official.file
    assert server.requests == []


def test_a_file_that_is_there_and_wrong_is_kept_with_a_code(tmp_path, official):
    (tmp_path / official.file).write_bytes(b"mine")
    assert "E-SAM-OTHER-FILE" in refused(tmp_path)
    assert (tmp_path / official.file).read_bytes() == b"mine"


def test_continues_a_partial_file(tmp_path, official, server):
    (tmp_path / "sam_made_up.pth.part").write_bytes(CONTENT[:1000])
    assert download("vit_b", folder=tmp_path).read_bytes() == CONTENT
    assert server.requests == ["bytes=1000-"]


def test_a_partial_file_that_is_whole_is_only_checked(tmp_path, official):
    (tmp_path / "sam_made_up.pth.part").write_bytes(CONTENT)
    assert download("vit_b", folder=tmp_path).read_bytes() == CONTENT


def test_starts_over_where_the_server_cannot_continue(tmp_path, official, server):
    server.ranges = False
    (tmp_path / "sam_made_up.pth.part").write_bytes(b"x" * 1000)
    assert download("vit_b", folder=tmp_path).read_bytes() == CONTENT


def test_a_cut_connection_keeps_what_came_and_the_next_run_continues(tmp_path, official, server):
    server.cut_after = 300_000
    assert "E-SAM-NO-NETWORK" in refused(tmp_path)
    assert (tmp_path / "sam_made_up.pth.part").stat().st_size == 300_000
    assert not (tmp_path / official.file).exists()
    server.cut_after = len(CONTENT)
    assert download("vit_b", folder=tmp_path).read_bytes() == CONTENT
    assert server.requests == [None, "bytes=300000-"]


def test_a_wrong_file_is_deleted_with_a_code(tmp_path, official, server):
    server.content = b"not the weights"
    message = refused(tmp_path)
    assert f"expected sha256 {official.sha256}" in message and "E-SAM-DOWNLOAD-WRONG" in message
    assert list(tmp_path.iterdir()) == []


def test_no_network_has_a_code(tmp_path, monkeypatch):
    monkeypatch.setitem(OFFICIAL, "vit_b", Official("http://127.0.0.1:9/sam_made_up.pth", "0" * 64, 1))
    assert "E-SAM-NO-NETWORK" in refused(tmp_path)


def test_a_missing_page_has_a_code(tmp_path, official, server, monkeypatch):
    monkeypatch.setitem(OFFICIAL, "vit_b", Official(official.url.replace("made_up", "missing"), official.sha256, 1))
    message = refused(tmp_path)
    assert "HTTP 404" in message and "E-SAM-DOWNLOAD-HTTP" in message


def test_a_full_disk_has_a_code(tmp_path, official, monkeypatch):
    def full(url: str, part: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(module, "_receive", full)
    message = refused(tmp_path)
    assert "free some space" in message and "E-FILE-NOT-WRITTEN" in message


def test_only_official_names_can_be_fetched(tmp_path):
    with pytest.raises(UserError, match=r"vit_b, vit_l, vit_h, got 'samis_lite'.*E-SAM-NOT-OFFICIAL"):
        download("samis_lite", folder=tmp_path)
