"""Weights & Biases: online when logged in, else offline; a help for people, never the only record.

Nothing of it takes a run down or changes a number (late.py). A server that cannot be reached leaves an offline record,
for ``wandb sync``. W&B's own variables (WANDB_MODE, WANDB_DIR, WANDB_PROJECT, ...) and settings files count where the
config says nothing.
"""

from __future__ import annotations

import contextlib
import logging
import os
import re
import secrets
import shutil
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from snnlab.atomic import write_text
from snnlab.errors import one_line
from snnlab.runs.identity import digest, less_seed, recorded
from snnlab.runs.late import Late
from snnlab.runs.record import RunRecord, flags_of, flat, label_of

log = logging.getLogger("snnlab")

DEFAULTS = {  # of W&B's variables; seconds for the server to answer, and to take what is left at the end
    "WANDB_SILENT": "true",
    "WANDB_CONSOLE": "off",
    "WANDB_INIT_TIMEOUT": "20",
    "WANDB_FINISH_TIMEOUT": "120",
    "WANDB_FINISH_TIMEOUT_RAISES": "true",
}
VARIABLES = {  # of W&B, by the argument that would win over it
    "name": "WANDB_NAME",
    "project": "WANDB_PROJECT",
    "group": "WANDB_RUN_GROUP",
    "tags": "WANDB_TAGS",
    "dir": "WANDB_DIR",
    "id": "WANDB_RUN_ID",
    "resume": "WANDB_RESUME",
    "job_type": "WANDB_JOB_TYPE",
}
STAGING = ("WANDB_DATA_DIR", "WANDB_CACHE_DIR")  # they belong to the run, not to the home folder
PROJECT = "snnlab"
LEAST_BYTES = 2**20  # free on the disk at the end; W&B's process does not say that its disk was full


class LateWandb(Late):
    """W&B's run; ``start`` returns it, or None where W&B is off."""

    title = "W&B"

    def let_go(self, run: Any) -> None:
        """Close what W&B still has open: it would ask the process that died again at exit."""
        import wandb

        wandb.teardown(1)

    def send(self, run: Any, metrics: Mapping[str, float], step: int | None) -> None:
        run.log({**metrics, "trainer/global_step": step})

    def close(self, run: Any, status: str, summary: Mapping[str, Any], pictures: Sequence[Path]) -> None:
        """With exit code 0 only when status is completed."""
        import wandb

        run.summary.update({"status": status, **summary})
        if pictures:
            run.log({f"figures/{path.stem}": wandb.Image(str(path)) for path in pictures})
        run.finish(exit_code=0 if status == "completed" else 1)
        if shutil.disk_usage(run.dir).free < LEAST_BYTES:
            raise OSError(f"the disk of {run.dir} is full")


def make_wandb_logger(config: Mapping[str, Any], record: RunRecord, sweep: str | None) -> LateWandb | None:
    """Return a logger that will write below the run's folder, or None when it is off."""
    logger = config["logger"]
    if logger.get("name", "none") == "none":
        return None
    arguments = described(record) | {
        "name": record.folder.name,
        "group": sweep,
        "job_type": "train",
    }
    return LateWandb(lambda: start_wandb(arguments, logger, record.folder))


def send_evaluation(
    record: RunRecord, logger: Mapping[str, Any], asked: Sequence[str], folder: Path, content: Mapping[str, Any]
) -> None:
    """Send an answer of ``python -m snnlab.evaluate`` as a run of its own: job type evaluation, grouped by the run.

    Args:
        record: of the run that was asked.
        logger: the group ``logger`` of its config.
        asked: the question, and what was overridden.
        folder: where evaluation.json and the pictures lie.
        content: of evaluation.json.
    """
    if logger.get("name", "none") == "none":
        return
    arguments = described(record) | {
        "name": f"{record.folder.name} {folder.name}",
        "group": record.folder.name,
        "job_type": "evaluation",
    }
    arguments["config"] |= {"run": record.folder.name, "asked": " ".join(asked)}
    arguments["tags"] += ["evaluation"]
    late = LateWandb(lambda: start_wandb(arguments, logger, folder))
    late.run()
    answer = content.get("values") or flat({"test": content["metrics"]["test"]}, between="/")
    numbers = {key: value for key, value in answer.items() if isinstance(value, int | float | str)}
    late.finish("completed", numbers, sorted(folder.glob("*.png")))


def described(record: RunRecord) -> dict[str, Any]:
    """The arguments of ``wandb.init`` that say what the run is: tags, and a flat config."""
    content = record.content
    tags = [str(content[group]) for group in ("method", "data", "hardware")] + flags_of(content["provenance"])
    tags += [label_of(content)] if label_of(content) != content["method"] else []
    return {"tags": tags, "config": columns(content)}


def columns(content: Mapping[str, Any]) -> dict[str, Any]:
    """Every value of the config by its dotted key, and what one filters and groups by: a column each."""
    left = recorded(content)
    groups = ("method", "model", "data", "encoder", "hardware", "label")
    return flat({key: value for key, value in content["config"].items() if key not in ("logger", "paths")}) | {
        **{group: content.get(group) for group in groups},
        "identity": digest(left),
        "row": digest(less_seed(left)),
        "commit": content["git"]["commit"],
        "source": content["provenance"]["source"],
        "parameters": content["parameters"],
    }


def run_id(folder: Path) -> str:
    """W&B's name of the run in ``folder``, kept there so that a resume goes on in the same one."""
    path = folder / "wandb" / "id"
    if path.is_file() and re.fullmatch(r"[\w-]{1,64}", found := path.read_text().strip()):
        return found
    made = secrets.token_hex(6)
    path.parent.mkdir(exist_ok=True)
    write_text(path, made + "\n")
    return made


def start_wandb(arguments: dict[str, Any], logger: Mapping[str, Any], folder: Path) -> Any:
    """Start W&B and return its run, None where it is disabled.

    Args:
        arguments: of ``wandb.init``; one that a variable of W&B's gives is left to it.
        logger: the group ``logger`` of the config, which wins over those variables.
        folder: where W&B's id is kept, and its files where WANDB_DIR says nothing.
    """
    for variable, value in DEFAULTS.items():
        os.environ.setdefault(variable, value)
    logging.getLogger("opentelemetry").setLevel(logging.CRITICAL)  # its telemetry tells stderr of every refusal
    place = Path(os.environ.get("WANDB_DIR") or folder).resolve() / "wandb"
    with staging(place):
        import wandb

        mode = "online"
        try:
            if (mode := wandb_mode(logger["mode"])) == "disabled":
                return None
            if mode in ("online", "shared", "run") and not logged_in():
                raise wandb.errors.UsageError("nobody is logged in: wandb login")
            run = open_run(arguments, logger, folder, mode)
        except Exception as error:
            if mode in ("offline", "dryrun"):
                raise
            try:
                wandb.teardown(1)  # the process still holds the id of the run
                run = open_run(arguments, logger, folder, "offline")
            except Exception:
                raise error from None
            reason = one_line(error).partition(" Consider ")[0][:200]
            log.warning("W&B is offline (%s); wandb sync %s/offline-run-* sends the run later", reason, place)
    run.define_metric("trainer/global_step", hidden=True)
    run.define_metric("epoch", hidden=True)
    for name in ("train/*", "val/*", "learning_rate*"):
        run.define_metric(name, step_metric="epoch")
    return run


def open_run(arguments: Mapping[str, Any], logger: Mapping[str, Any], folder: Path, mode: str) -> Any:
    """W&B's run in one mode, beside any other that this process has open."""
    import wandb

    given = {"project": PROJECT, "dir": str(folder.resolve()), "id": run_id(folder), "resume": "allow", **arguments}
    given = {key: value for key, value in given.items() if not os.environ.get(VARIABLES.get(key, ""))}
    given |= {key: logger[key] for key in ("project", "group") if logger[key]}
    return wandb.init(**given, mode=mode, reinit="create_new")  # type: ignore[arg-type]


@contextlib.contextmanager
def staging(place: Path) -> Iterator[None]:
    """Let W&B stage its files in ``place`` where nobody said otherwise."""
    ours = [variable for variable in STAGING if variable not in os.environ]
    os.environ.update(dict.fromkeys(ours, str(place)))
    try:
        yield
    finally:
        for variable in ours:
            os.environ.pop(variable, None)


def wandb_mode(mode: str) -> str:
    """The mode of the config; for ``auto`` that of W&B's variables and settings, or else whether there is a key."""
    import wandb

    if mode != "auto":
        return mode
    if os.environ.get("WANDB_DISABLED", "").lower() in ("1", "true", "t", "yes", "y", "on"):
        return "disabled"
    told = str(wandb.setup().settings.mode)
    if told != "online" or os.environ.get("WANDB_MODE"):
        return told
    return "online" if logged_in() else "offline"


def logged_in() -> bool:
    """Whether W&B has a key, found without asking anyone."""
    import wandb

    try:
        return bool(wandb.login(prompt=False, verify=False))
    except wandb.errors.UsageError:  # no key, and no terminal to ask for one
        return False
