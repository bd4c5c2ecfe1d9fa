"""Write the table of methods and targets into docs/hardware.md: each pair is trained for three batches of digits.

Run after a method or a target has changed: python docs/draw_hardware.py
"""

from __future__ import annotations

import logging
import os
import re
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).parents[1]
sys.path[:0] = [str(ROOT / "src"), str(ROOT / "tests")]

from small_runs import METHODS, small_run  # noqa: E402

from snnlab.config.compose import compose  # noqa: E402
from snnlab.errors import InputError  # noqa: E402
from snnlab.runs import wiring  # noqa: E402

BEGIN, END = "<!-- methods and targets: python docs/draw_hardware.py -->", "<!-- end -->"


def answer(method: str, target: str) -> str:
    """ "trains", or why not."""
    try:
        wiring.run(compose([*small_run(method), f"hardware={target}"]))
    except InputError as error:
        return re.sub(r"^hardware=\w+: |, and \w+ has no form for that", "", str(error))
    return "trains"


def table(methods: list[str], targets: list[str]) -> list[str]:
    """Rows of the table, and below it each reason once."""
    reasons: dict[str, str] = {}
    lines = ["| | " + " | ".join(targets) + " |", "| --- |" + " --- |" * len(targets)]
    for method in methods:
        cells = []
        for target in targets:
            found = answer(method, target)
            mark = "trains" if found == "trains" else reasons.setdefault(found, str(len(reasons) + 1))
            cells.append(mark)
        lines.append(f"| `{method}` | " + " | ".join(cells) + " |")
    return [*lines, "", *(f"{number}. {reason}" for reason, number in reasons.items())]


def main() -> None:
    page = ROOT / "docs" / "hardware.md"
    targets = sorted(path.stem for path in (ROOT / "conf" / "hardware").glob("*.yaml") if path.stem != "none")
    logging.getLogger("snnlab").setLevel(logging.ERROR)
    with tempfile.TemporaryDirectory() as folder:
        os.chdir(folder)
        made = "\n".join([BEGIN, *table(METHODS, targets), END])
    text = page.read_text(encoding="utf-8")
    page.write_text(re.sub(f"{re.escape(BEGIN)}.*{re.escape(END)}", lambda _: made, text, flags=re.S), encoding="utf-8")


if __name__ == "__main__":
    main()
