"""Read snnlab's docstrings as they are meant: what is indented below a line with a colon is an equation or a table.

griffe's reading of Google's style takes any such line for the title of a box, runs what is below it together, and takes
a value that begins with ``>`` for a quotation. docs/site.yaml names this extension.
"""

from __future__ import annotations

import re
from typing import Any

import griffe

SECTIONS = "Args|Arguments|Parameters|Attributes|Returns|Raises|Yields|Examples?|Warns"
BOX = re.compile(rf"^(?! )(?!(?:{SECTIONS}):$)(.+:)\n(?=    )", re.MULTILINE)
QUOTED = re.compile(r"^( +[\w, ]+: )>", re.MULTILINE)
LABEL = re.compile(r"[\w.,* ]{1,40}: +\S")


def mended(text: str) -> str:
    """A docstring whose indented blocks are code, whose labels are a list, and whose limits are no quotations."""
    return QUOTED.sub(r"\1\\>", BOX.sub(r"\1\n\n", "\n\n".join(map(listed, text.split("\n\n")))))


def listed(paragraph: str) -> str:
    """A paragraph of ``label: text`` as a list, each text on one line; any other as it is."""
    labels = [line for line in paragraph.splitlines() if not line.startswith(" ")]
    if not labels or not all(map(LABEL.match, labels)):
        return paragraph
    lines = re.sub(r"\n +(?=\S)", " ", paragraph).splitlines()
    return lines[0] if len(lines) == 1 else "\n".join(f"- {line}" for line in lines)


class Docstrings(griffe.Extension):
    """Mends every docstring that is read."""

    def on_object(self, *, obj: griffe.Object, **_: Any) -> None:
        if obj.docstring:
            obj.docstring.value = mended(obj.docstring.value)
