"""Where a run goes on: its folder, lock and last whole checkpoint, or a new run that begins where another ended.

resume=auto    the newest run of this very config below paths.output, wherever it was stopped; one that is completed
               is shown, not repeated; where there is none, or it is being run, the run starts afresh. In a sweep the
               one run of the job's folder, which is named by what the job is; one that is being run is left to it
resume=RUN     that run; with more epochs (trainer.max_epochs=...) a new run that names it as its parent
"""

from __future__ import annotations

import json
import logging
import shutil
from collections.abc import Iterator, Mapping
from datetime import datetime
from pathlib import Path
from typing import Any, NamedTuple

import torch

from snnlab.atomic import clear
from snnlab.callbacks.checkpoints import WholeCheckpoints, furthest, last_whole, number, read
from snnlab.callbacks.checkpoints import name as checkpoint_name
from snnlab.callbacks.history import History
from snnlab.checkpoint import check_links, most_bytes
from snnlab.errors import Held, InputError
from snnlab.runs.identity import deciding, differences, digest, identity, less_seed, recorded, same, value_at
from snnlab.runs.lock import Lock, is_alive, take
from snnlab.runs.record import RunRecord, make_folder

log = logging.getLogger("snnlab")
EPOCHS = "trainer.max_epochs"


class Found(NamedTuple):
    """A run to go on with: its record as it was left, the lock of its folder; a completed one needs none."""

    record: RunRecord
    lock: Lock | None


class Begun(NamedTuple):
    """A run whose folder is ours: its record, the checkpoint to go on from, and whether its test is done already."""

    record: RunRecord
    lock: Lock | None
    checkpoint: Path | None
    tested: bool = False

    @property
    def lengthened(self) -> bool:
        """Whether the checkpoint is the last one of a parent, which had fewer epochs to go."""
        parent: Any = self.record.content.get("parent")
        last = None if self.checkpoint is None else number(self.checkpoint)
        return bool(parent) and last == parent["epochs"] - 1 and not self.tested


class Parent(NamedTuple):
    """A run that a new one goes on from: its record, the checkpoint where it ended, and the history in that."""

    record: RunRecord
    checkpoint: Path
    history: History

    def named(self) -> dict[str, Any]:
        """What the new run's record says of it; ``row`` is that of a table."""
        content, epochs = self.record.content, self.history.epochs
        row = digest(less_seed(recorded(content)))
        return {"run": str(self.record.folder), "row": row, "epochs": epochs}


def find(config: Mapping[str, Any], output: Path, provenance: Mapping[str, Any], most: int) -> Found | Parent | None:
    """What ``config["resume"]`` leads to; None to start afresh. A checkpoint may have ``most`` bytes.

    Raises:
        InputError: when ``resume`` names no run or one with another config, is still run, or was begun on other data.
    """
    if config["resume"] == "never":
        return None
    own = deciding(config)
    if config["resume"] == "auto":
        return newest(output, digest(own), "resume=auto", provenance)
    record = RunRecord.read(config["resume"])
    named = f"resume={config['resume']}"
    same_data(named, record, provenance)
    if different := differences(recorded(record.content), own):
        return longer(named, record, config, own, different, output, provenance, most)
    if record.content["status"] == "completed":
        return Found(record, None)
    check_links(record.folder)
    lock = take(record.folder)
    if lock is None or is_alive(record.content):
        raise InputError(f"{named}: another process is still running it; wait for its end, or stop it")
    return Found(RunRecord.read(record.folder), lock)


def newest(output: Path, identity: str, named: str, provenance: Mapping[str, Any]) -> Found | None:
    """The newest run of this identity that nobody is running.

    Raises:
        InputError: where there are such runs, and all of them were begun on other data.
    """
    refused: InputError | None = None
    for record in records(output):
        try:
            if digest(recorded(record.content)) != identity:
                continue
            check_links(record.folder)
        except InputError as error:
            log.warning("resume: %s is left alone: %s", record.folder, error)
            continue
        try:
            same_data(f"{named}: {record.folder}", record, provenance)
        except InputError as error:
            refused = refused or error
            continue
        if record.content["status"] == "completed":
            return Found(record, None)
        lock = take(record.folder)
        if lock is None:
            continue
        now = RunRecord.read(record.folder)  # another process may have ended it meanwhile
        if not is_alive(now.content):
            return Found(now, lock)
        lock.release()
    if refused:
        raise refused
    return None


def records(output: Path) -> Iterator[RunRecord]:
    """The runs in a folder that can be read, the newest first."""
    for path in sorted(output.glob("*/run.json"), key=lambda path: path.parent.name, reverse=True):
        try:
            yield RunRecord.read(path.parent)
        except InputError:
            continue


def same_data(named: str, record: RunRecord, provenance: Mapping[str, Any]) -> None:
    """Refuse to go on with other data than a run was begun on.

    Raises:
        InputError: saying what differs.
    """
    if found := other_data(record.content["provenance"], provenance):
        raise InputError(
            f"{named} was begun on other data: {found}; set SNNLAB_DATA to that data, or start anew with resume=never"
        )


def other_data(before: Mapping[str, Any], now: Mapping[str, Any]) -> str:
    """How two provenances differ in what decides numbers, "" where they do not."""
    words = []
    for key in ("source", "hash", "sizes"):
        there, here = before.get(key), now.get(key)
        if there != here and key in before:
            words.append(f"{key} = {str(there)[:60]}, not {str(here)[:60]}")
    return "; ".join(words)


def longer(
    named: str,
    record: RunRecord,
    config: Mapping[str, Any],
    own: Mapping[str, Any],
    different: Mapping[str, tuple[Any, Any]],
    output: Path,
    provenance: Mapping[str, Any],
    most: int,
) -> Found | Parent:
    """More epochs for a run: one that was begun with them from there already, or the run as a parent.

    Raises:
        InputError: when anything else is to change, or no epoch is added.
    """
    there, here = (config_epochs(each) for each in (record.content["config"], config))
    for key, (old, new) in different.items():
        if not (same(old, there) and same(new, here)):  # max_epochs, and a schedule that takes its length from it
            old, new = (value_at(each, key, None) for each in (record.content["config"], config))
            raise InputError(
                f"{named}: that run has another config: {key} = {old}, not {new}; more epochs ({EPOCHS}) may be asked "
                f"of it, anything else is a new run without resume; its overrides: "
                f"{' '.join(record.content['overrides'])}"
            )
    check_links(record.folder)
    lock = take(record.folder)
    if lock is None or is_alive(record.content):
        raise InputError(f"{named}: another process is still running it; wait for its end, or stop it")
    try:
        checkpoint = last_whole(record.folder, most, run_of(record))
    finally:
        lock.release()
    if checkpoint is None:
        raise InputError(f"{named} has no whole checkpoint to go on from; start anew with resume=never")
    parent = Parent(record, checkpoint, History.of(record.folder, read(checkpoint, most) or {}))
    words = parent.named()
    if isinstance(here, int) and 0 <= here <= words["epochs"]:
        raise InputError(f"{named}: {EPOCHS} = {here} must be more than the {words['epochs']} epochs that it has")
    child = digest({**own, "parent": {"row": words["row"], "epochs": words["epochs"]}})
    return newest(output, child, named, provenance) or parent


def config_epochs(config: Mapping[str, Any]) -> Any:
    return config["trainer"]["max_epochs"]


def begin(composition: Any, config: dict[str, Any], parts: Any, sweep: str | None) -> Begun:
    """Make a run's folder, or reopen the one that ``resume`` leads to, and write run.json with status running.

    A completed run is left as it is.

    Raises:
        InputError: as ``find``, and when the folder cannot be made.
    """
    output = Path(config["paths"]["output"]).expanduser()
    provenance = json.loads(json.dumps(parts.data.provenance.as_dict()))
    name, found, lock = job_name(composition.choices, config), None, None
    if sweep is None:
        found = find(config, output, provenance, most_bytes(parts.method))
        name = f"{datetime.now():%Y-%m-%d_%H-%M-%S}_{name.rpartition('_')[0]}"
    else:
        folder, found, lock = claim(output / sweep, name, identity(config), provenance)
    if isinstance(found, Found):
        return go_on(found, composition, config, parts)
    if lock is None:
        folder = make_folder(output, name)
        lock = take(folder)
    try:
        record = RunRecord.new(folder, composition, config, parts)
        checkpoint = None
        if found is not None:  # before there is a record: whoever finds one finds the checkpoints, too
            record.content["parent"] = found.named()
            checkpoint = inherit(found, folder, run_of(record))
        record.content["run"] = run_of(record)
        record.write_all()
    except BaseException:
        shutil.rmtree(folder, ignore_errors=True)
        raise
    return Begun(record, lock, checkpoint)


def job_name(choices: Mapping[str, Any], config: Mapping[str, Any]) -> str:
    """The folder of a job in its sweep's: by what the job is, so that whoever starts it finds the same."""
    return f"{choices['method']}_{choices['data']}_seed{config['seed']}_{identity(config)[:12]}"


def claim(output: Path, name: str, own: str, provenance: Mapping[str, Any]) -> tuple[Path, Found | None, Lock]:
    """The folder of a job, which is ours from now on, and the run that was begun in it.

    A run whose record cannot be read is set aside, and the job begins afresh.

    Raises:
        Held: when another process is making this run.
        InputError: when the run was begun on other data, or is another one by what today's snnlab reads in it.
    """
    folder = output / name
    make_folder(output, name, exist_ok=True)
    lock = take(folder)
    if lock is None:
        raise Held(f"{folder} is being made by another process; it is left to that one")
    try:
        if not (folder / "run.json").exists():
            return folder, None, lock
        try:
            record = RunRecord.read(folder)
        except InputError as error:
            log.warning("resume: %s; it is set aside, and its job begins again", error)
            folder.rename(make_folder(output, f"{name}_broken") / name)
            lock.release()
            return claim(output, name, own, provenance)
        check_links(folder)
        if digest(recorded(record.content)) != own:
            raise InputError(f"{folder} holds another run than its name says; move it away")
        same_data(str(folder), record, provenance)
        if is_alive(record.content):
            raise Held(f"{folder} is being made by another process; it is left to that one")
        return folder, Found(record, lock), lock
    except BaseException:
        lock.release()
        raise


def go_on(found: Found, composition: Any, config: dict[str, Any], parts: Any) -> Begun:
    """Take up a run where it was left."""
    old, folder = found.record.content, found.record.folder
    if old["status"] == "completed":
        return Begun(found.record, found.lock, None)
    for each in (folder, folder / "checkpoints", folder / "figures"):
        clear(each)
    most = most_bytes(parts.method)
    checkpoint = furthest(folder, most, run_of(found.record))
    tested = tested_with(old, checkpoint, most)
    record = RunRecord.new(folder, composition, config, parts)
    record.content["resumed"] = True
    if "parent" in old:
        record.content["parent"] = old["parent"]
        if checkpoint is None:
            raise InputError(f"{folder} has no whole checkpoint left of {old['parent']['run']}; resume that run again")
    if checkpoint is None:
        log.warning("resume: %s has no whole checkpoint, so it begins again", folder)
    elif threads := old.get("machine", {}).get("threads"):
        record.content["machine"]["threads"] = threads
    record.content["run"] = run_of(record)
    if tested:
        record.content |= {key: old[key] for key in ("metrics", "timing", "kernels", "memory", "checkpoint")}
    record.write_all()
    return Begun(record, found.lock, tested or checkpoint, tested is not None)


def tested_with(content: Mapping[str, Any], last: Path | None, most: int) -> Path | None:
    """The checkpoint that the test split was scored with, None where it was not, or not after the last epoch."""
    if last is None or number(last) < 0 or not content["metrics"].get("test") or "checkpoint" not in content:
        return None
    path = last.parent / Path(content["checkpoint"]).name
    epochs = History.of(last.parent, read(last, most) or {}).epochs
    return path if epochs == content.get("timing", {}).get("epochs") and read(path, most) is not None else None


def run_of(record: RunRecord) -> str:
    """Which run a record is of, as its checkpoints say it."""
    return digest(recorded(record.content))


def inherit(parent: Parent, folder: Path, run: str) -> Path:
    """Copy into a new run's folder what it goes on from, as its own: the last checkpoint, and the best one so far."""
    best = parent.history.best()
    names = {parent.checkpoint.name} | ({checkpoint_name(best)} if best is not None else set())
    for name in names:
        content = torch.load(parent.checkpoint.parent / name, map_location="cpu", weights_only=True)
        WholeCheckpoints().save_checkpoint(content | {"run": run}, folder / "checkpoints" / name)
    return folder / "checkpoints" / parent.checkpoint.name
