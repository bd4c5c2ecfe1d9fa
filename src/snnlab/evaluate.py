"""Score a stored run again, or ask it a question: ``python -m snnlab.evaluate RUN [QUESTION] [KEY=VALUE ...]``.

The run's own config.yaml is the start; overrides change values (``encoder.time_steps=20``) or whole parts
(``data=nmnist``). The weights are those of the checkpoint chosen on validation data.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from snnlab.errors import InputError, RunFailure

if TYPE_CHECKING:
    from snnlab.methods.method import Method

HELP = """usage: python -m snnlab.evaluate RUN [QUESTION] [KEY=VALUE ...]

Scores the stored run in the folder RUN on its test split and writes RUN/evaluations/<date>/evaluation.json.
  QUESTION    asks something else of it: {questions}
  KEY=VALUE   changes the stored config, e.g. encoder.time_steps=20 data=nmnist seed=3, or an option of the question
  --debug     show tracebacks
"""


def stored_config(run: str | Path, overrides: Sequence[str] = ()) -> dict[str, Any]:
    """Return the config of a stored run with ``overrides`` applied.

    Raises:
        InputError: when the run is none, or an override names nothing that exists.
    """
    from omegaconf import OmegaConf
    from omegaconf.errors import OmegaConfBaseException

    from snnlab.composition import GROUPS, compose, flatten
    from snnlab.errors import nearest
    from snnlab.reports.run_record import RunRecord

    record = RunRecord.read(run)
    config = OmegaConf.create(record.content["config"])
    for override in sorted(overrides, key=lambda o: o.partition("=")[0] not in GROUPS):  # groups before their values
        key, equals, _ = override.partition("=")
        if not equals:
            raise InputError(f"{override!r} cannot be read as key=value")
        if key in GROUPS:
            config[key] = compose([override, f"seed={config.seed}"]).config[key]
            continue
        known = list(flatten(OmegaConf.to_container(config)))
        if key not in known:
            raise InputError(f"{key}: there is no such key; nearest: {nearest(key, known)}")
        try:
            config = OmegaConf.merge(config, OmegaConf.from_dotlist([override]))
        except OmegaConfBaseException as error:
            raise InputError(f"{override}: {str(error).splitlines()[0]}") from error
    container = OmegaConf.to_container(config)
    assert isinstance(container, dict)
    return container  # type: ignore[return-value]


def load_parts(run: str | Path, overrides: Sequence[str] = ()) -> Any:
    """Build the parts of a stored run and load its chosen checkpoint.

    Raises:
        InputError: when the run is none, is unfinished, or its weights do not fit the overridden config.
    """
    import torch
    from omegaconf import OmegaConf

    from snnlab.experiment import build
    from snnlab.reports.run_record import RunRecord

    record = RunRecord.read(run)
    if "checkpoint" not in record.content:
        raise InputError(
            f"{run}: status is {record.content['status']}, so no checkpoint was chosen; finish it with resume=auto"
        )
    parts = build(OmegaConf.create(stored_config(run, overrides)))
    path = record.folder / record.content["checkpoint"]
    try:
        state = torch.load(path, map_location="cpu", weights_only=True)["state_dict"]
    except FileNotFoundError as error:
        raise InputError(f"{path} is missing; the run cannot be scored without its weights") from error
    except Exception as error:
        raise InputError(
            f"{path} is no readable checkpoint ({type(error).__name__}); run the experiment again"
        ) from error
    try:
        parts.method.load_state_dict(state)
    except RuntimeError as error:
        problem = str(error).splitlines()[1].strip() if "\n" in str(error) else str(error)
        raise InputError(f"{run}: the stored weights do not fit the overridden config: {problem}") from error
    return parts


def load_method(run: str | Path) -> Method:
    """Return the trained method of a stored run, in evaluation mode."""
    method: Method = load_parts(run).method
    return method.eval()


def open_run(run: str | Path, overrides: Sequence[str] = ()) -> Any:
    """Build the parts of a stored run with its weights, set up its data and prepare the method.

    Raises:
        InputError: as ``load_parts``, and where the data cannot be used or is not what the run saw.
    """
    from snnlab.reports.run_record import RunRecord

    parts = load_parts(run, overrides)
    parts.data.setup()
    before = RunRecord.read(run).content["provenance"]
    if parts.data.provenance.hash != before["hash"] and not any(o.startswith("data") for o in overrides):
        raise InputError(
            f"{run}: the data is not what the run saw ({before['source']}, SHA-256 {before['hash'][:12]}...); "
            "set SNNLAB_DATA to that data, or score it on purpose with a data override"
        )
    parts.method.prepare(parts.data)
    return parts


def evaluate(run: str | Path, overrides: Sequence[str] = ()) -> dict[str, dict[str, Any]]:
    """Test a stored run and return its ``metrics``, nested as in run.json, and the ``provenance`` of the data.

    Raises:
        InputError: as ``open_run``.
    """
    from snnlab.callbacks.reproducible import ReseedEachEpoch
    from snnlab.experiment import make_trainer
    from snnlab.reports.run_record import nested

    parts = open_run(run, overrides)
    trainer = make_trainer(parts.config, None, [ReseedEachEpoch(parts.config["seed"])], [])
    trainer.test(parts.method, datamodule=parts.data, verbose=False)
    metrics = nested({key: value.item() for key, value in trainer.callback_metrics.items()})
    return {"metrics": metrics, "provenance": parts.data.provenance.as_dict()}


def rebuild(run: str | Path, overrides: Sequence[str]) -> Method:
    """Return an untrained method of a stored run's config with ``overrides`` applied.

    Raises:
        InputError: as ``stored_config``, and when the overridden config cannot be built.
    """
    from omegaconf import OmegaConf

    from snnlab.experiment import build

    method: Method = build(OmegaConf.create(stored_config(run, overrides))).method
    return method


def ask(run: str | Path, question: str, overrides: Sequence[str] = ()) -> tuple[dict[str, Any], dict[str, Any]]:
    """Ask ``question`` of a stored run; return what goes into evaluation.json, and the figures by name.

    Overrides that name an option of the question are its arguments, read as YAML; the others change the config.

    Raises:
        InputError: as ``open_run``, and when there is no such question or an option is missing or of the wrong type.
    """
    import matplotlib
    import matplotlib.pyplot as plt
    import yaml
    from lightning import seed_everything

    from snnlab.callbacks.figures import INK, STYLE
    from snnlab.evaluations.analysis import Stored, find, options
    from snnlab.experiment import make_trainer
    from snnlab.reports.run_record import RunRecord
    from snnlab.schema import check_arguments

    analyse = find(question)
    known = options(analyse)
    given = [override for override in overrides if override.partition("=")[0] in known]
    arguments = {name: yaml.safe_load(value) for name, _, value in (override.partition("=") for override in given)}
    missing = [name for name, option in known.items() if option.default is option.empty and name not in arguments]
    if missing:
        raise InputError(f"{question} needs {missing[0]}=..., see snnlab/evaluations/{question}.py")
    check_arguments(question, arguments, analyse)
    changes = [override for override in overrides if override not in given]
    parts = open_run(run, changes)
    seed_everything(parts.config["seed"], verbose=False)

    def stored_run(folder: str | Path, parts: Any, changes: Sequence[str]) -> Stored:
        return Stored(
            parts.method.eval(),
            parts.data,
            parts.config,
            str(folder),
            rebuild=lambda more: rebuild(folder, [*changes, *more]),
            trainer=lambda arguments, callbacks: make_trainer(
                {"trainer": {**parts.config["trainer"], **arguments}}, None, callbacks, []
            ),
            open_other=lambda other: stored_run(other, open_run(other), []),
        )

    stored = stored_run(run, parts, changes)
    matplotlib.use("Agg")
    with plt.rc_context(STYLE):
        answer = analyse(stored, **arguments)
        for name, figure in answer.figures.items():
            heading = f"{name.replace('_', ' ')}: {RunRecord.read(run).title()}"
            figure.suptitle(heading, fontsize=9, x=0.01, ha="left", color=INK)
    content = {"question": question, "values": answer.values, "provenance": parts.data.provenance.as_dict()}
    return content, answer.figures


def print_values(values: dict[str, Any]) -> None:
    """Print the single numbers and texts of an answer, and of its lists the ends."""
    for name, value in values.items():
        if isinstance(value, dict):
            continue
        if isinstance(value, list):
            value = f"{value[0]} ... {value[-1]} ({len(value)} values)" if value else "none"
        print(f"{name:28} {value:.4f}" if isinstance(value, float) else f"{name:28} {value}")


def main(argv: Sequence[str] | None = None) -> None:
    """Entry point; ends the process with 0, 1 (failed) or 2 (bad input)."""
    arguments = list(sys.argv[1:] if argv is None else argv)
    debug = "--debug" in arguments
    arguments = [a for a in arguments if a != "--debug"]
    if not arguments or "--help" in arguments or "-h" in arguments:
        from snnlab.evaluations.analysis import questions

        print(HELP.format(questions=", ".join(questions())), end="")
        sys.exit(0 if arguments else 2)
    try:
        from snnlab.reports.atomic import write_text
        from snnlab.reports.run_record import flags_of, make_folder
        from snnlab.train import print_metrics, set_up_logging

        set_up_logging()
        run, overrides = arguments[0], arguments[1:]
        figures: dict[str, Any] = {}
        if overrides and "=" not in overrides[0]:
            result, figures = ask(run, overrides[0], overrides[1:])
            print_values(result["values"])
        else:
            result = evaluate(run, overrides)
            print_metrics(result["metrics"]["test"])
        if flags := flags_of(result["provenance"]):
            print(f"data     {', '.join(flags)}")
        folder = make_folder(Path(run).expanduser() / "evaluations", f"{datetime.now():%Y-%m-%d_%H-%M-%S}")
        for name, figure in figures.items():
            figure.savefig(folder / f"{name}.png")
            print(f"figure   {folder / f'{name}.png'}")
        write_text(folder / "evaluation.json", json.dumps({"overrides": overrides, **result}, indent=2) + "\n")
        print(f"record   {folder / 'evaluation.json'}")
    except (InputError, RunFailure, OSError) as error:
        if debug:
            raise
        print(f"snnlab.evaluate: {error}", file=sys.stderr)
        sys.exit(2 if isinstance(error, InputError) else 1)
    except KeyboardInterrupt:
        print("snnlab.evaluate: interrupted; nothing was written", file=sys.stderr)
        sys.exit(130)


if __name__ == "__main__":
    main()
