"""Downloads from a server on this machine: complete and verified, or not there at all."""

from __future__ import annotations

import errno
import gzip
import hashlib
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from snnlab.data.files import atomic
from snnlab.data.images.idx import IDXFile
from snnlab.data.images.mnist import MNIST
from snnlab.data.loader import with_loader
from snnlab.data.publish import downloads
from snnlab.data.publish.downloads import download
from snnlab.errors import InputError, RunFailure

CONTENT = gzip.compress(b"published" * 1000)
MD5 = "md5:" + hashlib.md5(CONTENT).hexdigest()


@pytest.fixture
def server() -> Iterator[tuple[str, dict[str, bytes]]]:
    """Give the address of a server and the files it serves; another path answers 404."""
    files: dict[str, bytes] = {"/good": CONTENT, "/page": b"<!doctype html>sign in", "/other": b"something else"}

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            if self.path not in files and self.path != "/short":
                self.send_error(404)
                return
            content = files.get(self.path, CONTENT)
            self.send_response(200)
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content[:20] if self.path == "/short" else content)

        def log_message(self, *_: object) -> None: ...

    http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=http.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{http.server_port}", files
    http.shutdown()
    http.server_close()


def test_mirrors_are_tried_in_turn(tmp_path: Path, server) -> None:
    host, _ = server
    target = download(
        [f"{host}/missing", f"{host}/page", f"{host}/other", f"{host}/good"], tmp_path / "new" / "a.gz", MD5
    )
    assert target.read_bytes() == CONTENT
    assert list(target.parent.iterdir()) == [target]


@pytest.mark.parametrize(
    ("path", "words"),
    [
        ("/missing", r"no answer \(Not Found\)"),
        ("/page", "answered with an HTML page instead of the file"),
        ("/other", "is not the published"),
        ("/short", "is not the published|no answer"),
    ],
)
def test_failures_leave_nothing(tmp_path: Path, server, path: str, words: str) -> None:
    with pytest.raises(InputError, match=words) as error:
        download([server[0] + path], tmp_path / "a.gz", MD5)
    assert "\n" not in str(error.value)
    assert f"by hand and put it at {tmp_path / 'a.gz'}" in str(error.value)
    assert list(tmp_path.iterdir()) == []


def test_no_network(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"a\.gz could not be downloaded .*no answer .*by hand"):
        download(["http://127.0.0.1:9/a.gz"], tmp_path / "a.gz", MD5, timeout=2)


def write_half(target: Path) -> None:
    with atomic(target) as file:
        file.write(b"half")
        raise OSError(errno.ENOSPC, "No space left on device")


def test_full_disk(tmp_path: Path, server, monkeypatch: pytest.MonkeyPatch) -> None:
    class Full:
        def write(self, _: bytes) -> int:
            raise OSError(errno.ENOSPC, "No space left on device")

    with pytest.raises(RunFailure, match="the disk is full"):
        downloads._fetch(server[0] + "/good", Full(), tmp_path / "a.gz", MD5, 5)  # type: ignore[arg-type]
    with pytest.raises(RunFailure, match="the disk is full"):
        write_half(tmp_path / "b")
    assert list(tmp_path.iterdir()) == []


def test_unwritable_folder(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError, match="cannot be written"), atomic(tmp_path / "file" / "a"):
        pass


def test_mnist_downloads_what_is_missing(tmp_path: Path, write_mnist, server, monkeypatch: pytest.MonkeyPatch) -> None:
    host, files = server
    folder = write_mnist(tmp_path)
    published = []
    for file in MNIST.files:
        content = (folder / f"{file.name}.gz").read_bytes()
        files[f"/{file.name}.gz"] = content
        raw = hashlib.sha256(gzip.decompress(content)).hexdigest()
        published.append(IDXFile(file.name, hashlib.md5(content).hexdigest(), raw))
    monkeypatch.setattr(MNIST, "mirrors", (host + "/",))
    monkeypatch.setattr(MNIST, "files", tuple(published))
    (folder / "t10k-labels-idx1-ubyte.gz").unlink()
    for root in (tmp_path, tmp_path / "fresh"):
        provenance = with_loader(MNIST, root, root, val_size=10).provenance
        assert provenance.verified
        assert provenance.flags() == []
        assert len(list((root / "mnist").iterdir())) == 4
