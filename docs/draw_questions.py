"""Write the table of docs/questions.md: which method answers which question, from the code itself.

python docs/draw_questions.py
"""

from __future__ import annotations

import re
from importlib import import_module
from pathlib import Path
from typing import Any

import yaml
from snnlab.config.paths import conf_dir
from snnlab.questions.question import Question

PAGE = Path(__file__).parent / "questions.md"
MARKS = re.compile(r"(<!-- questions -->\n).*?(\n<!-- /questions -->)", re.DOTALL)


def questions() -> list[type[Question]]:
    """Every question of the house that can be asked: the classes of questions/ with a sentence, by name."""
    found: list[type[Question]] = []
    for path in sorted((Path(__file__).parents[1] / "src/snnlab/questions").glob("*.py")):
        module = import_module(f"snnlab.questions.{path.stem}")
        kinds = [
            kind for kind in vars(module).values() if isinstance(kind, type) and kind.__module__ == module.__name__
        ]
        found += [kind for kind in kinds if issubclass(kind, Question) and hasattr(kind, "sentence")]
    return found


def classes(group: str) -> dict[str, Any]:
    """The class of each config of a group, by its name."""
    found = {}
    for path in sorted((conf_dir() / group).glob("*.yaml")):
        module, _, name = yaml.safe_load(path.read_text())["_target_"].rpartition(".")
        found[path.stem] = getattr(import_module(module), name)
    return found


def table() -> str:
    """One row a method, one column a question."""
    asked = questions()
    lines = ["| method | " + " | ".join(f"`{kind.__name__}`" for kind in asked) + " |"]
    lines.append("| --- " * (len(asked) + 1) + "|")
    for name, method in classes("method").items():
        cells = ["yes" if issubclass(kind, method.answers) else "-" for kind in asked]
        lines.append(f"| `{name}` | " + " | ".join(cells) + " |")
    said = [f"- `{kind.__name__}`: {kind.sentence}" for kind in asked]
    return "\n".join([*lines, "", *said])


def page(text: str) -> str:
    """The page with the table of now in it."""
    return MARKS.sub(lambda found: found.group(1) + table() + found.group(2), text)


if __name__ == "__main__":
    PAGE.write_text(page(PAGE.read_text()))
