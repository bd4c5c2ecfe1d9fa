"""Build the image of the Dockerfile and try it, where there is no container engine: ``make docker-check``.

usage: python tests/docker/check.py

The base image is a stand-in made by debootstrap (Debian's own Python 3.11), buildah builds, crun runs: with process 1,
no network, no capabilities, as the image's user and as one that it has never heard of. Runs inside must come to the
numbers of the same runs outside, to the bit. It needs root, tools from Debian's packages and 15 GB below TMPDIR, takes
13 minutes of two busy cores, and leaves nothing behind. pip inside uses the index that pip outside is set to.
"""

from __future__ import annotations

import ast
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "golden"))
from record import differences, run_result

ROOT = Path(__file__).resolve().parents[2]
TOOLS = ("buildah", "crun", "debootstrap", "unshare")
HADOLINT = Path(sys.executable).with_name("hadolint")
BASE = "docker.io/library/python:3.11-slim"
IN_BASE = "python3,python3-venv,python3-dev,ca-certificates"  # the base has these
SECRET = "not-for-the-image-7c1f"  # planted where a working tree has what must not get in
PLANTED = [
    *(
        ".env",
        ".netrc",
        ".pypirc",
        ".git/config",
        ".venv/pip.conf",
        "src/.env",
        "conf/.netrc",
        "notes.txt",
        "data/a.npz",
    ),
    *("outputs/a/run.json", "wandb/settings", "tests/a.json", "src/snnlab/__pycache__/a.pyc"),
    *("results/a/checkpoints/last.ckpt", "results/a/wandb/settings"),
]
STRANGER = 12345  # a user that the image does not know
QUIET = ["logger.mode=offline", "callbacks.progress=false"]
DIGITS = ["method=stbp", "data=digits", "trainer.max_epochs=2", "callbacks.figures=false", *QUIET]
MAIN = ["trainer.max_epochs=1", "data.train_films=60", "data.val_films=20", "data.test_films=20", *QUIET]
LONG = ["method=stbp", "data=digits", "trainer.max_epochs=5000", "callbacks.figures=false", *QUIET]
TABLE = """
title: a table of one row
cite: none
run: method=stbp data=digits callbacks.figures=false logger=none
columns: [test/loss, test/spikes_per_inference]
budgets:
  small: {run: trainer.max_epochs=1, seeds: [0]}
rows:
  - {name: eight units, run: "model.hidden=[8]"}
"""
PROBE = """
import getpass, os
from pathlib import Path
from snnlab.config.paths import cache_dir
assert os.getpid() == 1 and getpass.getuser()
assert not os.access("/opt/snnlab/bin/snnlab", os.W_OK)
for folder in (Path.home(), cache_dir().parent, Path("outputs"), Path("results"), Path("results/stbp_mnist")):
    (folder / f"trial{os.getuid()}").write_text("")
"""


class Ended(NamedTuple):
    """How a container ended."""

    code: int
    out: str
    error: str


class Failed(Exception):
    """Something is not as it should be; the message says what."""


def main() -> int:
    """Try everything in a mount namespace of its own, so that no mount outlives it, then remove what it made."""
    if len(sys.argv) == 3 and sys.argv[1] == "--in":
        return check(Path(sys.argv[2]))
    missing = ", ".join(tool for tool in TOOLS if shutil.which(tool) is None)
    refusals = {
        f"{' '.join(sys.argv[1:])}: it takes no arguments": sys.argv[1:],
        f"no {missing}; apt-get install --no-install-recommends {' '.join(TOOLS[:3])} util-linux": missing,
        "it needs root": os.geteuid(),
        f"no {HADOLINT}; make setup brings it": not HADOLINT.exists(),
    }
    for why in (words for words, holds in refusals.items() if holds):
        print(f"docker-check: {why}", file=sys.stderr)
        return 2
    with tempfile.TemporaryDirectory(prefix="snnlab-docker-") as scratch:
        inside = [sys.executable, str(Path(__file__).resolve()), "--in", scratch]
        return subprocess.run(["unshare", "--mount", "--propagation", "private", *inside]).returncode


def check(scratch: Path) -> int:
    """Go through all steps; return 1 at the first that fails."""
    began = time.monotonic()
    try:
        done("hadolint", call([HADOLINT, ROOT / "Dockerfile"]))
        image = Image(scratch)
        done("a stand-in for the base image", image.make_base())
        done("the context", image.make_context())
        done("the image", image.build())
        done("no secret and no path of this machine is in it", image.look_for_secrets())
        box = Box(image)
        for step in (words, user_and_folders, same_numbers, main_job, tables, other_commands, signals):
            done(step.__doc__ or "", step(box))
    except Failed as error:
        print(f"docker-check: {error}", file=sys.stderr)
        return 1
    print(f"docker-check: all well, after {(time.monotonic() - began) / 60:.0f} minutes")
    return 0


def done(what: str, found: object) -> None:
    print(f"ok  {what}{f': {found}' if isinstance(found, str) and found.strip() else ''}", flush=True)


def call(command: Sequence[object], **more: Any) -> str:
    """What a command prints.

    Raises:
        Failed: when it fails, with the end of what it said.
    """
    words = [str(word) for word in command]
    ended = subprocess.run(words, capture_output=True, text=True, **more)
    if ended.returncode:
        said = (ended.stdout + ended.stderr)[-2000:]
        raise Failed(f"{' '.join(words)[:200]} ended with {ended.returncode}:\n{said}")
    return ended.stdout


def hold(true: object, what: str) -> None:
    if not true:
        raise Failed(what)


class Image:
    """The image and its base, in a store of their own below ``scratch``."""

    def __init__(self, scratch: Path) -> None:
        self.scratch = scratch
        (scratch / "tmp").mkdir()
        self.rootfs = Path()
        self.config: dict[str, Any] = {}

    def buildah(self, *words: object) -> str:
        store = ["--root", self.scratch / "store", "--runroot", self.scratch / "run", "--storage-driver", "vfs"]
        environment = {**os.environ, "TMPDIR": str(self.scratch / "tmp")}
        return call(["buildah", *store, *words], env=environment).strip()

    def make_base(self) -> str:
        """Debian 12 with its Python 3.11, under the name of the image that the Dockerfile starts from."""
        name = self.buildah("from", "scratch")
        root = Path(self.buildah("mount", name))
        call(["debootstrap", "--variant=minbase", f"--include={IN_BASE}", "bookworm", root])
        (root / "usr/local/bin/python").symlink_to("/usr/bin/python3.11")
        for package in (root / "var/cache/apt/archives").glob("*.deb"):
            package.unlink()
        shutil.rmtree(root / "var/log")  # debootstrap's names the folder it worked in
        (root / "var/log").mkdir()
        version = call(["chroot", root, "/usr/local/bin/python", "--version"]).strip()
        self.buildah("commit", "--rm", name, BASE)
        return version

    def make_context(self) -> str:
        """The working tree beside what must stay out of it; return how large what the ignore file lets in is."""
        context = self.scratch / "context"
        listed = call(["git", "-C", ROOT, "ls-files", "-co", "--exclude-standard"]).splitlines()
        for name in listed:
            if (ROOT / name).is_file():
                (context / name).parent.mkdir(parents=True, exist_ok=True)
                shutil.copy2(ROOT / name, context / name)
        for name in PLANTED:
            (context / name).parent.mkdir(parents=True, exist_ok=True)
            (context / name).write_text(SECRET)
        probe = self.scratch / "probe"
        probe.write_text("FROM scratch\nCOPY . /\n")
        self.buildah("bud", "--layers=false", "-f", probe, "-t", "probe", context)
        name = self.buildah("from", "probe")
        seen = Path(self.buildah("mount", name))
        files = [path for path in seen.rglob("*") if path.is_file()]
        found = {path.relative_to(seen).as_posix() for path in files}
        hold(not found & set(PLANTED), f".dockerignore lets in {sorted(found & set(PLANTED))}")
        wanted = {n for n in listed if n.startswith(("src/", "conf/", "results/")) and (ROOT / n).is_file()}
        hold(wanted <= found, f".dockerignore keeps out {sorted(wanted - found)}")
        size = sum(path.stat().st_size for path in files)
        self.buildah("rm", name)
        self.buildah("rmi", "probe")
        return f"{len(files)} files, {size / 1e6:.1f} MB"

    def build(self) -> str:
        """Build as docker build does, with this machine's settings of pip as the secret."""
        settings, places = pip_settings()
        secret = self.scratch / "pip.conf"
        secret.write_text("[global]\n" + "".join(f"{key} = {value}\n" for key, value in settings.items()))
        mounts = [word for place in places for word in ("--volume", f"{place}:{place}:ro")]
        words = ["--isolation", "chroot", "--layers=false", "--pull-never", "--secret", f"id=pip,src={secret}", *mounts]
        self.buildah("bud", *words, "--tag", "snnlab", self.scratch / "context")
        self.config = json.loads(self.buildah("inspect", "--type", "image", "snnlab"))["OCIv1"]
        self.rootfs = Path(self.buildah("mount", self.buildah("from", "snnlab")))
        about = self.config["config"]
        hold(about["User"] == "1000:1000" and about["Entrypoint"] == ["snnlab"], f"user or entry point: {about}")
        hold(about["Labels"]["org.opencontainers.image.licenses"] == "GPL-3.0-only", "the label of the licence")
        size = call(["du", "-s", "--block-size=1M", self.rootfs]).split()[0]
        return f"{size} MB, of which torch {self.version('torch')}"

    def version(self, package: str) -> str:
        (found,) = self.rootfs.glob(f"opt/snnlab/lib/python3*/site-packages/{package}-*.dist-info")
        return found.name.removesuffix(".dist-info").partition("-")[2]

    def look_for_secrets(self) -> None:
        """Neither in its configuration and history nor in any of its files."""
        settings, _ = pip_settings()
        indexes = [settings.get(key, "") for key in ("index-url", "extra-index-url", "find-links", "proxy")]
        words = [SECRET, str(ROOT), str(self.scratch), *" ".join(indexes).split()]
        text = json.dumps(self.config)
        hold(not any(word in text for word in words), f"the history of the image holds one of {words}")
        patterns = [part for word in words for part in ("-e", word)]
        ended = subprocess.run(["grep", "-rlF", *patterns, self.rootfs], capture_output=True, text=True)
        hold(not ended.stdout, f"one of {words} is in {ended.stdout}")
        hold(not (self.rootfs / "etc/pip.conf").exists(), "etc/pip.conf is in the image")


def pip_settings() -> tuple[dict[str, str], list[Path]]:
    """Where pip is told to take packages from, and the folders and files of this machine that this names."""
    told = (
        "index-url",
        "extra-index-url",
        "find-links",
        "no-index",
        "trusted-host",
        "cert",
        "proxy",
        "default-timeout",
    )
    settings = {}
    for line in call([sys.executable, "-m", "pip", "config", "list"]).splitlines():
        name, _, value = line.partition("=")
        if (key := name.rpartition(".")[2]) in told:
            settings[key] = " ".join(ast.literal_eval(value).split())
    places = []
    for word in " ".join(settings.values()).split():
        path = Path(word.removeprefix("file://"))
        if path.is_absolute() and path.exists():
            places.append(path.parent if word.startswith("file://") else path)  # an index has its files beside it
    return settings, places


class Box:
    """Containers of the image, each the engine's way: process 1, its namespaces, the volumes that the image names."""

    def __init__(self, image: Image) -> None:
        self.image, self.scratch = image, image.scratch
        for about in Path("/sys/fs/cgroup").glob("unified"):  # crun refuses both kinds of cgroups at once
            subprocess.run(["umount", about], capture_output=True)
        self.count = 0
        for volume in self.image.config["config"]["Volumes"]:  # before any container writes there
            shutil.copytree(self.image.rootfs / volume.strip("/"), self.scratch / "fresh" / volume.strip("/"))

    def volumes(self, name: str, owner: int) -> Path:
        """Folders for the volumes, the caller's own, with what the image holds there."""
        folder = self.scratch / name
        for volume in self.image.config["config"]["Volumes"]:
            place = folder / volume.strip("/")
            shutil.copytree(self.scratch / "fresh" / volume.strip("/"), place)
            os.chown(place, owner, owner)
            place.chmod(0o755)
        return folder

    def start(
        self, words: Sequence[str], volumes: Path | None = None, user: int = 1000, entry: Sequence[str] = ()
    ) -> tuple[str, subprocess.Popen[str]]:
        """Start a container; return its name and the process that waits for it."""
        self.count += 1
        name, about = f"snnlab-{os.getpid()}-{self.count}", self.image.config["config"]
        bundle = self.scratch / name
        bundle.mkdir()
        call(["crun", "spec"], cwd=bundle)
        spec = json.loads((bundle / "config.json").read_text())
        spec["root"] = {"path": str(self.image.rootfs), "readonly": False}
        spec["process"].update(
            terminal=False,
            args=[*(entry or about["Entrypoint"]), *words],
            env=[*about["Env"], "OMP_NUM_THREADS=1"],
            cwd=about["WorkingDir"],
            user={"uid": user, "gid": user},
            capabilities={},
        )
        spec["linux"].pop("resources", None)
        spec["mounts"] = [mount for mount in spec["mounts"] if mount["type"] != "cgroup"]
        for volume in about["Volumes"] if volumes else ():
            source = str(volumes / volume.strip("/"))
            spec["mounts"].append({"destination": volume, "source": source, "type": "bind", "options": ["rbind", "rw"]})
        (bundle / "config.json").write_text(json.dumps(spec))
        command = [*self.crun(), "run", "--bundle", str(bundle), name]
        return name, subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)

    def crun(self) -> list[str]:
        return ["crun", "--root", str(self.scratch / "crun"), "--cgroup-manager=disabled"]

    def run(self, *words: str, **more: Any) -> Ended:
        """Run a container to its end."""
        _, process = self.start(words, **more)
        out, error = process.communicate(timeout=600)
        return Ended(process.returncode, out, error)

    def well(self, *words: str, **more: Any) -> str:
        """What a container prints.

        Raises:
            Failed: when it ends with another code than 0.
        """
        ended = self.run(*words, **more)
        hold(ended.code == 0, f"{' '.join(words)} ended with {ended.code}:\n{(ended.out + ended.error)[-2000:]}")
        return ended.out


def outside(scratch: Path, *words: str) -> Path:
    """Run ``snnlab`` of the working tree on this machine, without data; return the folder it ran in."""
    folder = Path(tempfile.mkdtemp(dir=scratch))
    (folder / "data").mkdir()
    more = {"OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT / "src"), "SNNLAB_DATA": str(folder / "data")}
    call([sys.executable, "-m", "snnlab", *words], cwd=folder, env={**os.environ, **more})
    return folder


def only_run(folder: Path) -> Path:
    (record,) = [path for path in folder.glob("outputs/*/run.json") if not path.parent.is_symlink()]
    return record.parent


def words(box: Box) -> None:
    """help says what there is; a bad word ends with 2 and one line"""
    hold("usage" in box.well("--help"), "no help")
    for line in (["tabel", "x"], ["method=nope"], ["evaluate", "nothing"], ["table", "nothing"], ["--nope"]):
        ended = box.run(*line)
        hold(ended.code == 2 and ended.error.count("\n") == 1 and not ended.out, f"{line}: {ended}")


def user_and_folders(box: Box) -> None:
    """process 1 is Python, unprivileged; home, cache, outputs and results can be written, whoever the user is"""
    for user in (1000, STRANGER):
        for volumes in (None, box.volumes(f"user{user}", user)):
            box.well("-c", PROBE, user=user, volumes=volumes, entry=["python"])


def same_numbers(box: Box) -> str:
    """a run inside comes to the numbers of the run outside, as either user, and the caller owns what it leaves"""
    twin = run_result(only_run(outside(box.scratch, *DIGITS)))
    for user in (1000, STRANGER):
        volumes = box.volumes(f"digits{user}", user)
        box.well(*DIGITS, user=user, volumes=volumes)
        folder = only_run(volumes / "work")
        owners = {path.lstat().st_uid for path in (folder, *folder.rglob("*"))}
        hold(owners == {user}, f"files of {owners} where {user} ran")
        other = differences(twin, run_result(folder))
        hold(not other, f"{len(other)} numbers differ, such as {other[:3]}")
    return f"test accuracy {twin['metrics']['test']['accuracy']:.4f}"


def main_job(box: Box) -> str:
    """the main job, small, comes to the numbers of the one outside"""
    twin = run_result(only_run(outside(box.scratch, *MAIN)))
    volumes = box.volumes("main", 1000)
    box.well(*MAIN, volumes=volumes)
    other = differences(twin, run_result(only_run(volumes / "work")))
    hold(not other, f"{len(other)} numbers differ, such as {other[:3]}")
    return f"test loss {twin['metrics']['test']['loss']:.4f}"


def tables(box: Box) -> None:
    """tables of stored runs, and a table that is run, are those outside"""
    volumes = box.volumes("tables", 1000)
    for line in (["results/stbp_mnist"], ["stbp", "--stored"]):
        inside = box.well("table", *line, volumes=volumes)
        hold(inside == call([sys.executable, "-m", "snnlab.tables", *line], cwd=ROOT), inside)
    folder = volumes / "work/outputs/conf/table"
    folder.mkdir(parents=True)
    (folder / "one.yaml").write_text(TABLE)
    inside = box.well("table", "one", "--csv", "--config-dir", "outputs/conf", volumes=volumes)
    place = outside(box.scratch, "table", "one", "--csv", "--config-dir", str(folder.parent))
    (ours, theirs) = (next(path.glob("outputs/table-one*/table.csv")).read_text() for path in (volumes / "work", place))
    hold(ours == theirs and "test/loss" in ours, f"{inside}\n{ours}\nis not\n{theirs}")


def other_commands(box: Box) -> None:
    """data, evaluate, export and search work on what lies in the volumes"""
    volumes = box.scratch / "digits1000"
    hold("mnist_dvs" in box.well("data", "list", volumes=volumes), "no data sets")
    box.well("evaluate", "outputs/latest", volumes=volumes)
    box.well("export", "outputs/latest", volumes=volumes)
    few = ["model.hidden=[8]", "encoder.time_steps=2", "trials=1", "trainer.max_epochs=1"]
    box.well("search", "search=lr", "method=stbp", "data=digits", *few, volumes=volumes)


def signals(box: Box) -> None:
    """docker stop (SIGTERM) leaves a checkpoint and ends with 130, and resume=auto goes on from there"""
    volumes = box.volumes("stopped", 1000)
    first = stopped(box, volumes, LONG, set())
    stopped(box, volumes, [*LONG, "resume=auto"], first)


def stopped(box: Box, volumes: Path, line: list[str], before: set[str]) -> set[str]:
    """Stop a run once it has a checkpoint that is not among those ``before``; return the names of those it leaves."""
    name, process = box.start(line, volumes=volumes)
    until = time.monotonic() + 300
    while not checkpoints(volumes) - before:
        hold(process.poll() is None, "the run has ended by itself")
        hold(time.monotonic() < until, f"no checkpoint beside {before}")
        time.sleep(0.05)
    call([*box.crun(), "kill", name, signal.SIGTERM.name])
    _, said = process.communicate(timeout=60)
    record = json.loads((only_run(volumes / "work") / "run.json").read_text())
    hold((process.returncode, record["status"]) == (130, "interrupted"), f"{process.returncode}, {record}: {said}")
    return checkpoints(volumes)


def checkpoints(volumes: Path) -> set[str]:
    return {path.name for path in (volumes / "work/outputs").glob("*/checkpoints/*.ckpt")}


if __name__ == "__main__":
    sys.exit(main())
