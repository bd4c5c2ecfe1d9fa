"""Start many processes on one empty cache and count what is built; once more with the first builder killed.

usage: python tests/shared/together.py [--processes 8] [--only WORD ...]

Every case is a thing that is kept in the cache (or, for a download, in the data root). Each process makes or reads it
and says the hash of what it got; whatever is really built is counted. It holds where one process builds, or, where that
one is killed in the middle, one more, and where all that live say the same.
"""

from __future__ import annotations

import argparse
import hashlib
import http.server
import importlib
import logging
import os
import signal
import sys
import tempfile
import threading
import time
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import torch

PUBLISHED = bytes(range(256)) * 4000


def build_begins(folder: Path) -> None:
    """Note that this process builds; die half-way where it is the victim."""
    with (folder / "built").open("a") as file:
        file.write(f"{os.getpid()}\n")
    time.sleep(0.3)
    if (folder / "kill the first").exists():
        (folder / "kill the first").unlink()
        os.kill(os.getpid(), signal.SIGKILL)


def counted(module: Any, name: str, folder: Path) -> None:
    """Let every call of a function be noted as a build."""
    real = getattr(module, name)

    def noted(*arguments: Any, **options: Any) -> Any:
        build_begins(folder)
        return real(*arguments, **options)

    setattr(module, name, noted)


def data_of(line: str) -> Any:
    from snnlab.config.build import build
    from snnlab.config.compose import compose

    data = build(compose(line.split()).config).data
    data.setup()
    return data


def films(folder: Path) -> bytes:
    from snnlab.data.camera import Camera
    from snnlab.data.events.films import Films

    counted(Camera, "film", folder)
    images = np.random.default_rng(0).integers(0, 255, (20, 1, 8, 8), np.uint8)
    made = Films(Camera(duration_us=20_000), images, 255, np.arange(20), 0, 20.0, "a hash", folder / "cache/films")
    return made.take(range(20)).events.t.tobytes()


def frames(folder: Path) -> bytes:
    from snnlab.data.binning import Binning
    from snnlab.data.frames import StoredFrames

    def bins(indices: np.ndarray) -> torch.Tensor:
        build_begins(folder)
        return torch.from_numpy(np.stack([np.full((4, 2, 7, 9), i % 3, np.float32) for i in indices], axis=1))

    stored = StoredFrames(folder / "cache", ("a name",), 30, Binning(9, 7, 4, 250))
    return stored.batch(np.arange(30), bins).numpy().tobytes()


def judge(folder: Path) -> bytes:
    from snnlab.methods.vdib import judge as judges

    judges.EPOCH_SAMPLES = 5000
    counted(judges, "train_judge", folder)
    trained = judges.load_judge(data_of("method=stbp data=digits"))
    return b"".join(value.numpy().tobytes() for value in trained.state_dict().values())


def hashes(folder: Path) -> bytes:
    from snnlab.data import files

    path = folder / "file"
    counted(files, "sha256_of", folder)
    return str(files.remember(folder / "cache", "sha256", [path], lambda: files.sha256_of(path))).encode()


def kernels(folder: Path) -> bytes:
    from snnlab.kernels import compiled

    sys.path.insert(0, str(folder))
    mine: Any = importlib.import_module("mine")
    function = compiled.njit()(mine.powers)
    counted(function._compiler, "compile", folder)
    return np.float64(function(np.arange(9.0))).tobytes()


def download(folder: Path) -> bytes:
    from snnlab.data.publish.downloads import download as fetch

    md5 = hashlib.md5(PUBLISHED).hexdigest()
    return fetch([f"http://127.0.0.1:{os.environ['PORT']}/x"], folder / "data" / "x.bin", f"md5:{md5}").read_bytes()


CASES: dict[str, Callable[[Path], bytes]] = {
    "films": films,
    "binned frames": frames,
    "judge": judge,
    "checked hashes": hashes,
    "compiled kernels": kernels,
    "download": download,
}


def one(case: str, folder: Path) -> int:
    """A process of its own: what it got, as a hash, into a file of its name."""
    child = os.fork()
    if child:
        return child
    code = 99
    try:
        os.environ["SNNLAB_CACHE"] = str(folder / "cache")
        os.environ["SNNLAB_DATA"] = str(folder / "data")
        while not (folder / "go").exists():
            time.sleep(0.01)
        got = hashlib.sha256(CASES[case](folder)).hexdigest()
        (folder / f"hash{os.getpid()}").write_text(got)
        code = 0
    except BaseException:
        traceback.print_exc()
    finally:
        sys.stderr.flush()
        os._exit(code)


@contextmanager
def served(folder: Path) -> Iterator[None]:
    """A mirror that sends the published file slowly and counts how often it was asked."""

    class Mirror(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            with (folder / "built").open("a") as file:
                file.write("asked\n")
            self.send_response(200)
            self.send_header("Content-Length", str(len(PUBLISHED)))
            self.end_headers()
            self.wfile.write(PUBLISHED[:1000])
            time.sleep(0.5)
            if (folder / "kill the first").exists():
                (folder / "kill the first").unlink()
                os.kill(int((folder / "data/.x.bin.lock").read_text().split()[1]), signal.SIGKILL)
            self.wfile.write(PUBLISHED[1000:])

        def log_message(self, *_: Any) -> None:
            pass

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Mirror)
    os.environ["PORT"] = str(server.server_address[1])
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield
    finally:
        server.shutdown()


def together(case: str, folder: Path, processes: int, kill: bool) -> str:
    """Start them; say what was wrong, "" where nothing was."""
    (folder / "data").mkdir(parents=True)
    (folder / "file").write_bytes(PUBLISHED)
    (folder / "mine.py").write_text("def powers(x):\n    return (x**2).sum() + (x**3).sum()\n")
    if kill:
        (folder / "kill the first").touch()
    with served(folder):
        children = [one(case, folder) for _ in range(processes)]
        (folder / "go").touch()
        codes = [os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) for child in children]
    built = (folder / "built").read_text().count("\n") if (folder / "built").exists() else 0
    got = [path.read_text() for path in folder.glob("hash*")]
    lost = codes.count(-signal.SIGKILL)
    if lost != kill or codes.count(0) != processes - kill:
        return f"they ended with {codes}"
    if len(set(got)) != 1 or len(got) != processes - kill:
        return f"{len(set(got))} different hashes of {len(got)}"
    return "" if built == 1 + kill else f"it was built {built} times, not {1 + kill}"


def check(words: list[str], root: Path, processes: int, told: Callable[[str], None] = print) -> int:
    """Try every case whose name holds one of ``words``; return how many went wrong."""
    for module in ("lightning", "snnlab.runs.wiring", "snnlab.runs.resume", "numba", "snnlab.methods.vdib.judge"):
        __import__(module)
    logging.getLogger("snnlab").setLevel(logging.ERROR)
    bad = 0
    for case in CASES:
        for kill in (False, True):
            name = f"{case}{': the builder is killed' if kill else ''}"
            if not any(word in name for word in words):
                continue
            started = time.perf_counter()
            said = together(case, root / name.replace(" ", "_").replace(":", ""), processes, kill)
            bad += bool(said)
            told(f"{name}: {said or 'built once, equal hashes'} ({time.perf_counter() - started:.1f} s)")
    return bad


def main() -> int:
    parser = argparse.ArgumentParser("tests/shared/together.py", description=__doc__.split("\n")[0])
    parser.add_argument("--processes", type=int, default=8)
    parser.add_argument("--only", nargs="*", default=[""], help="cases whose name holds one of these words")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        bad = check(given.only, Path(scratch), given.processes, lambda line: print(line, flush=True))
    print(f"{bad} wrong")
    return 1 if bad else 0


if __name__ == "__main__":
    sys.exit(main())
