"""Parts in, a record out: ``run`` fits, tests once with the checkpoint chosen on validation, and records all of it."""

from __future__ import annotations

import functools
import json
import logging
import signal
import threading
import time
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import lightning as L
import torch
from lightning.pytorch.profilers import AdvancedProfiler, SimpleProfiler

from snnlab import kernels, ranks
from snnlab.atomic import FULL
from snnlab.callbacks.checkpoints import EpochCheckpoints, WholeCheckpoints
from snnlab.callbacks.early_stopping import EarlyStopping
from snnlab.callbacks.finite import Finite
from snnlab.callbacks.harmless import harmless
from snnlab.callbacks.health import Health
from snnlab.callbacks.history import History
from snnlab.callbacks.memory import PeakMemory
from snnlab.callbacks.midway import Midway, Sitting, time_over
from snnlab.callbacks.reproducible import ReseedEachEpoch, reseed
from snnlab.callbacks.schedules import LongerSchedules
from snnlab.callbacks.sharing import Sharing
from snnlab.checkpoint import load_weights, most_bytes
from snnlab.config.build import Parts, build
from snnlab.config.compose import Composition
from snnlab.errors import InputError, RunFailure, TimeOver, one_line, plain
from snnlab.layers.network import Network
from snnlab.runs import processes
from snnlab.runs.late import Late, StartAfterFirstStep
from snnlab.runs.loggers import check_loggers, make_loggers
from snnlab.runs.processes import Others, SharedBatches
from snnlab.runs.record import flat
from snnlab.runs.resume import Begun, begin, run_of
from snnlab.runs.units import shown

log = logging.getLogger("snnlab")
PROFILERS: dict[Any, Any] = {"simple": SimpleProfiler, "advanced": AdvancedProfiler}  # they write fit-profile.txt, ...
TALKATIVE = ("lightning.pytorch", "lightning.fabric", "lightning.pytorch.utilities.rank_zero")  # loggers
Progress = Callable[[bool | None, History], list[L.Callback]]  # callbacks that tell of it, as ``make_progress``


@dataclass(repr=False)
class Result:
    """What a finished run leaves: its folder, its metrics by split, its figures; printed, the lines of the command."""

    folder: Path
    metrics: dict[str, dict[str, Any]]
    figures: list[Path]

    @functools.cached_property
    def record(self) -> dict[str, Any]:
        """The content of run.json."""
        content: dict[str, Any] = json.loads((self.folder / "run.json").read_text())
        return content

    @functools.cached_property
    def network(self) -> Network:
        """The trained network, in evaluation mode, read when it is first asked for."""
        from snnlab.runs.in_process import load

        return load(self.folder)

    def __repr__(self) -> str:
        return "\n".join(self.lines())

    def lines(self) -> list[str]:
        """What the command prints of it: the test's numbers, where the record and the figures lie."""
        figures = [f"figure   {plain(path)}" for path in self.figures]
        return [*metric_lines(self.metrics["test"]), f"record   {plain(self.folder / 'run.json')}", *figures]


def metric_lines(metrics: Mapping[str, Any], prefix: str = "") -> list[str]:
    """Test metrics for people, one a line."""
    lines: list[str] = []
    for key, value in metrics.items():
        if isinstance(value, Mapping):
            lines += metric_lines(value, f"{prefix}{key}/")
        else:
            lines.append(f"test     {plain(prefix + key):32} {shown(prefix + key, value)}")
    return lines


def make_trainer(
    config: Mapping[str, Any],
    folder: Path | None,
    callbacks: list[Any],
    loggers: list[Any],
    shared: bool | None = None,
) -> L.Trainer:
    """Make the Trainer of ``trainer.*``; ``folder`` None keeps everything in memory.

    ``shared``: whether all devices that are asked for share the batches, as they do by themselves once their processes
    have been started; else it takes the first device.
    """
    from lightning.pytorch.callbacks import ProgressBar

    for name in TALKATIVE:
        logging.getLogger(name).setLevel(logging.ERROR)
    warnings.filterwarnings("ignore", message=".*does not have many workers.*")
    warnings.filterwarnings("ignore", message=".*LeafSpec.*")
    warnings.filterwarnings("ignore", message="Total length of .* across ranks is zero.*")  # data.val_size=0
    warnings.filterwarnings("ignore", message=".*The number of training batches.*")
    warnings.filterwarnings("ignore", message=".*Found .* module.s. in eval mode.*")
    warnings.filterwarnings("ignore", message="The lr scheduler dict contains the key")  # of methods with own steps
    arguments = dict(config["trainer"])
    arguments["enable_progress_bar"] = any(isinstance(callback, ProgressBar) for callback in callbacks)
    warnings.filterwarnings("ignore", message=".*callbacks used to create the checkpoint need to be provided.*")
    arguments["enable_checkpointing"] = False  # Lightning's own: ours are a callback
    warnings.filterwarnings("ignore", message=".*AMP with fp16 is not supported on CPU.*")  # said below
    if folder and arguments["profiler"] in PROFILERS:  # a name alone would print its report where nobody listens
        arguments["profiler"] = PROFILERS[arguments["profiler"]](dirpath=folder, filename="profile")
    arguments |= device_of(arguments, ranks.number() > 1 if shared is None else shared)
    plugins = arguments.pop("plugins", None) or []
    arguments["plugins"] = [*(plugins if isinstance(plugins, list) else [plugins]), WholeCheckpoints()]
    try:
        return L.Trainer(
            **arguments, callbacks=callbacks, logger=loggers, default_root_dir=str(folder) if folder else None
        )
    except Exception as error:  # all that it was given are the values of trainer.*
        raise InputError(f"trainer: {one_line(error)}") from error


def device_of(trainer: Mapping[str, Any], all_of_them: bool) -> dict[str, Any]:
    """The arguments of the Trainer that say which devices it takes: those asked for, or the first of them."""
    devices = trainer["devices"]
    if devices in (1, "1"):
        return {"strategy": "auto"}
    if not all_of_them:
        return {"strategy": "auto", "devices": devices[:1] if isinstance(devices, list) else 1}
    try:
        number = L.Trainer(accelerator=trainer["accelerator"], devices=devices, logger=False).num_devices
    except Exception as error:
        raise InputError(f"trainer.devices = {devices}: {one_line(error)}") from error
    limits = {split: trainer[f"limit_{split}_batches"] for split in ("val", "test")}
    whole = dict.fromkeys(("limit_val_batches", "limit_test_batches"), 1.0)  # of the process's own
    return {"strategy": SharedBatches(limits), "use_distributed_sampler": False, **whole} if number > 1 else {}


def try_trainer(config: Mapping[str, Any]) -> L.Trainer:
    """Refuse, before any data is read, loggers that are not installed, and arguments that Lightning refuses or would
    replace by others.

    Returns the Trainer that they make, with all its devices.

    Raises:
        InputError: naming the argument.
    """
    check_loggers(config["logger"])
    trainer = make_trainer(config, None, [], [], shared=True)
    asked, taken = str(config["trainer"]["precision"]), trainer.precision
    if asked in ("16", "16-mixed") and taken != "16-mixed":  # Lightning takes bf16-mixed, and the record would not say
        raise InputError(f"trainer.precision = {asked} needs a GPU, and this run is on the CPU; use bf16-mixed")
    return trainer


@dataclass
class Wired:
    """A Trainer and, of the callbacks that watch a recorded run, those that are asked at its end."""

    trainer: L.Trainer
    history: History
    memory: PeakMemory
    checkpoints: EpochCheckpoints
    health: Health


def wire(
    parts: Parts,
    folder: Path,
    loggers: Sequence[Late] = (),
    more: Sequence[L.Callback] = (),
    run: str | None = None,
    progress: Progress | None = None,
    **arguments: Any,
) -> Wired:
    """Make the Trainer of a recorded run with all that watches it; whoever times a run times this one.

    Args:
        folder: where checkpoints and metrics.csv are written.
        loggers: those of ``logger=...``, if there are any; they start after the first step.
        run: which run it is; its checkpoints say so.
        more: callbacks that come after the run's own.
        progress: makes what tells people how far it is, unless the config wants none; None is ``make_progress``.
        arguments: of the Trainer, in place of those of the config.
    """
    from snnlab.callbacks.progress import make_progress

    trainer = {**parts.config["trainer"], **arguments}
    validated = parts.data.spec.sizes.get("val") != 0 and trainer["limit_val_batches"] != 0  # 0: an author's protocol
    metric, mode = parts.method.monitor
    history = History(folder, metric if validated else None, mode, lambda: sum(each.seconds for each in loggers))
    asked = parts.config["callbacks"]
    checkpoints = EpochCheckpoints(folder, history, parts.method.network, asked["checkpoints"] == "all", run)
    memory = PeakMemory()
    callbacks: list[L.Callback] = [checkpoints, ReseedEachEpoch(parts.config["seed"])]
    if ranks.number() > 1:
        callbacks.insert(0, Sharing())
    else:  # what several processes share goes on at the last epoch
        limit = trainer.pop("max_time", None)
        trainer["max_time"], sitting = None, None if limit is None else Sitting(limit)
        callbacks += [] if sitting is None else [sitting]
        often = asked["checkpoint_minutes"], asked["checkpoint_batches"]
        callbacks.insert(1, Midway(folder, history, *often, sitting))
    callbacks += [Finite(), history, harmless(memory)]
    if (patience := parts.config["callbacks"].get("early_stopping")) is not None:
        callbacks.append(EarlyStopping(history, patience))
    health = Health(parts.config["method"])
    if parts.config["callbacks"]["health"]:
        callbacks.append(harmless(health))
    if parts.config["callbacks"]["progress"]:
        callbacks += map(harmless, (progress or make_progress)(trainer["enable_progress_bar"], history))
    if loggers:
        callbacks.append(StartAfterFirstStep(*loggers))
    trainer |= parts.method.kept_from_trainer()
    made = make_trainer({"trainer": trainer}, folder, [*callbacks, *more], list(loggers))
    return Wired(made, history, memory, checkpoints, health)


@contextmanager
def prepared(parts: Parts) -> Iterator[None]:
    """Seed, prepare the method, and take the run's path of kernels; data must have been set up."""
    L.seed_everything(parts.config["seed"], verbose=False)
    parts.method.network.path.forget()
    with kernels.using(parts.method.network.path):  # for what a method computes outside of its network, too
        parts.method.prepare(parts.data)
        yield


@contextmanager
def threads(number: int) -> Iterator[None]:
    """Compute with so many threads for a while: sums are taken apart by their number, so it decides the last bits."""
    before = torch.get_num_threads()
    if number != before:
        torch.set_num_threads(number)
    try:
        yield
    finally:
        if number != before:
            torch.set_num_threads(before)


class Ending:
    """What a run comes to once its weights are chosen: the test split is scored, once, and the run is completed."""

    status = "completed"
    callbacks: Sequence[L.Callback] = ()  # that watch the fit

    def score(self, wired: Wired, parts: Parts) -> dict[str, float]:
        """The figures of the chosen weights, by their logged names."""
        wired.trainer.test(parts.method, datamodule=parts.data, verbose=False)
        logged = wired.trainer.callback_metrics.items()
        return {key: value.item() for key, value in logged if key.startswith("test/")}


def run(
    composition: Composition,
    sweep: str | None = None,
    ending: Ending | None = None,
    repeatable: bool = False,
    progress: Progress | None = None,
) -> Result:
    """Train, validate after each epoch, test once with the best checkpoint, and record all of it.

    Args:
        composition: from ``compose``.
        sweep: name of the sweep this run belongs to; W&B groups by it, and the run's folder lies in the sweep's.
        ending: what is done in place of the test, by a search, which never sees that split.
        repeatable: whether this process's command line, given again, makes this run: several devices need that.
        progress: as ``wire``.

    Raises:
        InputError: before any data is read where that is possible; Held where another process is making this run.
        RunFailure: NaN loss, full disk.
        KeyboardInterrupt: after a checkpoint has been written; also where trainer.max_time ends the run before its end.
    """
    from snnlab.callbacks.figures import Figures
    from snnlab.hardware.picture import fit_figure

    ending = ending or Ending()
    parts, others = set_up(composition, sweep, repeatable)
    config = parts.config
    with processes.together(others), written_down(composition, parts, sweep, others) as (begun, loggers, pictures):
        record = begun.record
        if record.content["status"] == "completed":
            log.info("run: completed already -> %s", record.folder)
            return Result(record.folder, record.content["metrics"], sorted(record.folder.glob("figures/*.png")))
        log.info("%s", record.announcement())
        for line in [] if parts.fit is None else [*parts.changed, *parts.fit.lines()]:
            log.info("%s", line)
        loggers += make_loggers(config, record, sweep) if others.first else []
        more = [*([LongerSchedules()] if begun.lengthened else []), *ending.callbacks]
        wired = wire(parts, record.folder, loggers, more, run_of(record), progress)
        number, here = record.content["machine"]["threads"], torch.get_num_threads()
        if number != here and record.content["resumed"]:
            log.info("threads: %d, as the run began, in place of %d here: sums are rounded alike", number, here)
        with threads(number), prepared(parts):
            if begun.tested and begun.checkpoint is not None:
                wired.history.read()
                wired.health.read(record.folder, most_bytes(parts.method))
                load_weights(parts.method, begun.checkpoint, f"{begun.checkpoint} does not fit the run that wrote it")
                parts.method.opened(parts.data)
            else:
                wired.history.started = time.perf_counter()
                if parts.method.trains:
                    with fitting(wired, begun.checkpoint) as checkpoint:
                        wired.trainer.fit(parts.method, datamodule=parts.data, ckpt_path=checkpoint, weights_only=True)
                    best = chosen(wired)
                    ranks.wait()  # for its checkpoint
                    path = wired.checkpoints.path(best)
                    load_weights(parts.method, path, f"{path} does not fit the run that wrote it")
                else:
                    wired.trainer.validate(parts.method, datamodule=parts.data, verbose=False)
                    best = wired.checkpoints.only(wired.trainer)
                fit_seconds = wired.history.seconds()
                scores = ending.score(wired, parts)
                record.scored(wired, fit_seconds, best, parts.method.network.path.taken(), scores)
            ranks.part()
            if config["callbacks"]["figures"] and others.first:
                reseed(config["seed"], "figures")  # the same pictures, whether the run was stopped before them or not
                own = {} if parts.fit is None else {"fit": functools.partial(fit_figure, parts.fit)}
                figures = Figures(record.folder, record.title(), wired.history, wired.health.rates, own)
                device = wired.trainer.strategy.root_device  # where it was tested: a trainer leaves it on the CPU
                pictures += figures.draw(parts.method.to(device), parts.data)
        record.end(ending.status)
        return Result(record.folder, record.content["metrics"], pictures)


def set_up(composition: Composition, sweep: str | None, repeatable: bool) -> tuple[Parts, Others]:
    """The parts of a run, its data set up, and the processes that are to share it; arguments as ``run``."""
    from snnlab.runs.post_training import start_from
    from snnlab.runs.warm_start import warm_start

    parts = build(composition.config)
    trainer = try_trainer(parts.config)
    start_from(parts)
    warm_start(parts)
    if trainer.world_size > 1:
        processes.check(parts, trainer, sweep, repeatable)
    others = processes.Others(trainer)
    parts.data.setup()
    if torch.cuda.is_available():
        torch.set_float32_matmul_precision("high")
    if trainer.world_size > 1:
        processes.check_batches(parts, trainer.world_size)
        if others.first:
            parts.method.prepare(parts.data)  # what it puts into the cache is there before the others look
    return parts, others


@contextmanager
def written_down(
    composition: Composition, parts: Parts, sweep: str | None, others: Others
) -> Iterator[tuple[Begun, list[Late], list[Path]]]:
    """Begin a record, and write into it how what follows ends; loggers that are added by then are told, with pictures.

    Raises:
        KeyboardInterrupt: for what has stopped the run.
        RunFailure: for a full disk.
    """
    begun = others.begin(lambda: begin(composition, parts.config, parts, sweep))
    record, loggers, pictures = begun.record, list[Late](), list[Path]()
    try:
        yield begun, loggers, pictures
    except (KeyboardInterrupt, SystemExit) as error:
        if isinstance(error, SystemExit) and threading.current_thread() is threading.main_thread():
            signal.signal(signal.SIGINT, signal.default_int_handler)  # Lightning, which made it, ignores a second one
        over = next((each for each in (error, error.__context__) if isinstance(each, TimeOver)), None)
        why = str(over or error) if over or isinstance(error, KeyboardInterrupt) else ""
        record.fail("interrupted", why or "interrupted by the user")
        if over is not None:
            raise over from None
        if isinstance(error, SystemExit) and not isinstance(error.__context__, KeyboardInterrupt):
            raise  # whoever ends this process, as a queue at its time limit, knows how
        raise KeyboardInterrupt(why) from error
    except BaseException as error:
        reason = others.reason(error)
        record.fail("failed", one_line(reason))
        if isinstance(error, OSError) and error.errno in FULL:
            raise RunFailure(
                f"disk full while writing {error.filename or record.folder}; free some space, then resume=auto"
            ) from error
        if reason is not error:
            raise reason from error
        raise
    finally:
        final = flat({"final": record.content["metrics"]}, between="/") | {"reason": record.content.get("reason")}
        for logger in loggers:
            logger.finish(record.content["status"], final, pictures)
        if begun.lock is not None:
            begun.lock.release()


@contextmanager
def fitting(wired: Wired, checkpoint: Path | None) -> Iterator[Path | None]:
    """Train, from a checkpoint on where there is one.

    Raises:
        InputError: where that holds something else than this run has.
    """
    try:
        yield checkpoint
    except (LookupError, TypeError, ValueError, AttributeError, RuntimeError) as error:
        if checkpoint is None or wired.checkpoints.taken or isinstance(error, InputError | RunFailure):
            raise
        raise InputError(
            f"{checkpoint} does not fit this run ({one_line(error)[:150]}); remove it, and resume goes on before it"
        ) from error


def chosen(wired: Wired) -> int:
    """The best epoch of a fit that came to its end.

    Raises:
        KeyboardInterrupt: where it was stopped.
        TimeOver: where trainer.max_time ended it before its last epoch.
        RunFailure: where no epoch was validated.
    """
    from lightning.pytorch.callbacks import Timer

    trainer, epochs, total = wired.trainer, wired.history.epochs, wired.trainer.max_epochs or 0
    callbacks: Any = trainer.callbacks  # type: ignore[attr-defined]
    if trainer.interrupted:
        raise KeyboardInterrupt
    early = any(isinstance(callback, EarlyStopping) and callback.stops for callback in callbacks)
    if epochs < total and not early and any(isinstance(callback, Timer) for callback in callbacks):
        raise time_over(epochs, total)
    if early and epochs < total:
        log.info("early stopping after %d of %d epochs: no better %s", epochs, total, wired.history.metric)
    return wired.checkpoints.best()
