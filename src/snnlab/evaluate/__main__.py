"""Score a stored run again, or ask it a question: ``python -m snnlab.evaluate RUN [QUESTION] [KEY=VALUE ...]``.

The run's own config.yaml is the start; overrides change values (``encoder.time_steps=20``) or whole parts
(``data=nmnist``). The weights are those of the checkpoint chosen on validation data.
"""

from __future__ import annotations

import json
import shutil
import sys
from collections.abc import Sequence
from datetime import datetime
from typing import Any

from snnlab.command import CONFIG_DIR, config_dir_of, parse, run, set_up_logging
from snnlab.errors import InputError, plain

HELP = """usage: python -m snnlab.evaluate RUN [QUESTION] [KEY=VALUE ...]
       python -m snnlab.evaluate RUN QUESTION --help        what it answers, and its options

Scores the stored run in the folder RUN on its test split and writes RUN/evaluations/<date>/evaluation.json.
  RUN         a run's folder; outputs/latest is the run below outputs that was started last
  QUESTION    asks something else of it: {questions}
  KEY=VALUE   changes the stored config, e.g. encoder.time_steps=20 data=nmnist seed=3, or an option of the question
  --config-dir DIR    one more folder of configs, for methods and data of your own
  --debug     show tracebacks
"""


def print_values(values: dict[str, Any]) -> None:
    """Print the single numbers and texts of an answer, and of its lists the ends."""
    from snnlab.runs.units import spelled, unit_of, with_unit

    for name, value in values.items():
        if isinstance(value, dict):
            continue
        if isinstance(value, list):
            value = f"{value[0]} ... {value[-1]} ({len(value)} values)" if value else "none"
        number = isinstance(value, float)
        text = (
            with_unit(value, unit) if number and (unit := unit_of(name)) else spelled(value) if number else plain(value)
        )
        print(f"{name:28} {text}")


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command line of ``python -m snnlab.evaluate`` and return its exit code."""
    return run("snnlab.evaluate", score, arguments, interrupted="interrupted; nothing was written")


def score(arguments: list[str]) -> int:
    """Score the stored run that the command line names, or ask it a question, and write the answer beside it.

    Raises:
        InputError: as ``ask`` and ``evaluate``.
    """
    folder, rest = arguments[:1], arguments[1:]
    if folder and folder[0].startswith("-"):
        folder, rest = [], arguments
    line = parse(rest, ("-h --help",), (CONFIG_DIR,))
    config_dir = config_dir_of(line)
    if "help" in line.flags or not folder:
        from snnlab.evaluate.analysis import page, questions

        asked = line.words or [word for word in folder if word in questions()]
        if asked and "help" in line.flags:
            print(page(asked[0]), end="")
            return 0
        print(HELP.format(questions=", ".join(questions())), end="")
        return 0 if "help" in line.flags else 2
    if len(line.words) > 1:
        raise InputError(f"{line.words[1]!r} cannot be read as key=value; ask one question at a time")
    from snnlab import style
    from snnlab.atomic import write_bytes
    from snnlab.checkpoint import check_links
    from snnlab.evaluate.ask import ask, evaluate
    from snnlab.runs.record import RunRecord, flags_of, make_folder
    from snnlab.runs.stored import stored_config
    from snnlab.runs.wandb_run import send_evaluation
    from snnlab.runs.wiring import metric_lines

    set_up_logging()
    record = RunRecord.read(folder[0])
    stored = record.folder  # now, as outputs/latest may be another one when the answer is there
    check_links(stored)
    figures: dict[str, Any] = {}
    if line.words:
        result, figures = ask(stored, line.words[0], line.overrides, config_dir)
        print_values(result["values"])
    else:
        result = evaluate(stored, line.overrides, config_dir)
        print("\n".join(metric_lines(result["metrics"]["test"])))
    if flags := flags_of(result["provenance"]):
        print(f"data     {', '.join(flags)}")
    content = {"overrides": [*line.words, *line.overrides], **result}
    files = {f"{name}.png": style.drawn(figure) for name, figure in figures.items()}
    files["evaluation.json"] = memoryview((json.dumps(content, indent=2) + "\n").encode())
    output = make_folder(stored / "evaluations", f"{datetime.now():%Y-%m-%d_%H-%M-%S}")
    try:
        for name, file in files.items():
            write_bytes(output / name, file)
    except BaseException:  # half an answer is none
        shutil.rmtree(output, ignore_errors=True)
        raise
    for name in files:
        print(f"{'record' if name == 'evaluation.json' else 'figure'}   {output / name}")
    logger = stored_config(stored, [word for word in line.overrides if word.startswith("logger")])["logger"]
    try:
        send_evaluation(record, logger, content["overrides"], output, content)
    except KeyboardInterrupt as error:
        raise KeyboardInterrupt(f"interrupted; the answer is in {output}, W&B may lack some of it") from error
    return 0


if __name__ == "__main__":
    sys.exit(main())
