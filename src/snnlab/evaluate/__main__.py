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
from typing import Any

from snnlab.errors import InputError, RunFailure

HELP = """usage: python -m snnlab.evaluate RUN [QUESTION] [KEY=VALUE ...]

Scores the stored run in the folder RUN on its test split and writes RUN/evaluations/<date>/evaluation.json.
  QUESTION    asks something else of it: {questions}
  KEY=VALUE   changes the stored config, e.g. encoder.time_steps=20 data=nmnist seed=3, or an option of the question
  --debug     show tracebacks
"""


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
        from snnlab.evaluate.analysis import questions

        print(HELP.format(questions=", ".join(questions())), end="")
        sys.exit(0 if arguments else 2)
    try:
        from snnlab.evaluate.ask import ask, evaluate
        from snnlab.runs.atomic import write_text
        from snnlab.runs.record import flags_of, make_folder
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
