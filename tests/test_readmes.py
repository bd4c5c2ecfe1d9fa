"""The Chinese README is the English one: its commands, code, headings, tables, links and names are the same."""

from __future__ import annotations

import ast
import builtins
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
ENGLISH, CHINESE = "README.md", "README.zh-CN.md"
FENCE = re.compile(r"^```(\w*)\n(.*?)^```", re.DOTALL | re.MULTILINE)
COMMENT = re.compile(r"(^|\s+)#( .*)?$", re.MULTILINE)  # translated, or not
MARK = re.compile(r"^<!--.*?-->$", re.DOTALL | re.MULTILINE)  # what a table is made by
NUMBER = re.compile(r"\d+(?:\.\d+)?(?:e[-+]?\d+)?")


def blocks(text: str) -> list[tuple[str, str]]:
    """Language and lines of each fenced block, comments left out."""
    return [(language, COMMENT.sub("", inside)) for language, inside in FENCE.findall(text)]


def prose(text: str) -> str:
    return FENCE.sub("", text)


def headings(text: str) -> list[int]:
    return [len(marks) for marks in re.findall(r"^(#+) ", prose(text), re.MULTILINE)]


def links(text: str) -> list[str]:
    """What links and pictures lead to, in order, but the way to the other language."""
    return [to for to in re.findall(r"\]\(([^)]*)\)", prose(text)) if to not in (ENGLISH, CHINESE)]


def names(text: str) -> list[str]:
    """The inline code of each paragraph and list: names and values are not translated."""
    words = "\n".join(line for line in prose(text).splitlines() if not line.startswith("|"))
    return sorted(re.findall(r"`([^`\n]+)`", words))


def tables(text: str) -> list[list[list[tuple[list[str], list[str]]]]]:
    """Of every cell of every table below its head: names and links, and numbers. Words may be translated."""
    found = []
    for table in re.findall(r"(?:^\|.*\n)+", prose(text), re.MULTILINE):
        rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in table.splitlines()]
        found.append(
            [
                [
                    (re.findall(r"`[^`]+`|\]\([^)]*\)", cell), NUMBER.findall(re.sub(r"`[^`]+`", "", cell)))
                    for cell in row
                ]
                for row in (rows if len(rows[0]) == 1 else rows[2:])
            ]
        )
    return found


def marks(text: str) -> list[str]:
    return MARK.findall(prose(text))


def pair() -> tuple[str, str]:
    return (ROOT / ENGLISH).read_text(), (ROOT / CHINESE).read_text()


@pytest.mark.parametrize("part", [blocks, headings, links, names, tables, marks])
def test_the_chinese_readme_is_in_step(part):
    english, chinese = map(part, pair())
    assert english or part is marks
    if part is names:
        assert set(english) == set(chinese)
    else:
        assert english == chinese


def test_each_leads_to_the_other_in_its_first_lines():
    english, chinese = pair()
    assert f"]({CHINESE})" in "".join(english.splitlines(True)[:8])
    assert f"]({ENGLISH})" in "".join(chinese.splitlines(True)[:8])
    hanzi = len(re.findall(r"[\u4e00-\u9fff]", prose(chinese)))
    assert hanzi > 800 and len(headings(chinese)) == len(re.findall(r"^#+ .*", prose(chinese), re.MULTILINE))


TEXT = """# a

```sh
make run  # all
```

| m | n |
| --- | --- |
| `x` | 1.5 %, [p](p.md) |

`name` and [to](to.md)
"""


@pytest.mark.parametrize(
    ("part", "was", "becomes", "same"),
    [
        (blocks, "# all", "# 全部", True),
        (blocks, "make run", "make runs", False),
        (blocks, "```sh", "```python", False),
        (headings, "# a", "## a", False),
        (links, "to.md", "too.md", False),
        (names, "`name`", "`other`", False),
        (names, "and", "和", True),
        (tables, "| m |", "| 方法 |", True),
        (tables, "1.5", "1.6", False),
        (tables, "`x`", "`y`", False),
        (tables, "(p.md)", "(q.md)", False),
        (tables, "| `x` |", "| `x` |\n| `z` |", False),
    ],
)
def test_what_is_out_of_step_is_found(part, was, becomes, same):
    assert TEXT.count(was) >= 1
    assert (part(TEXT) == part(TEXT.replace(was, becomes))) == same


@pytest.mark.parametrize("page", [ENGLISH, CHINESE, "docs/tutorial.md"])
def test_the_python_of_a_page_can_be_pasted_as_it_is(page):
    """Every name that a block reads was made in it before."""
    for code in (inside for language, inside in FENCE.findall((ROOT / page).read_text()) if language == "python"):
        made = set(vars(builtins))
        for line in ast.parse(code).body:
            found = [node for node in ast.walk(line) if isinstance(node, ast.Name)]
            assert {node.id for node in found if isinstance(node.ctx, ast.Load)} <= made, ast.unparse(line)
            made |= {node.id for node in found}
            if isinstance(line, ast.Import | ast.ImportFrom):
                made |= {(name.asname or name.name).partition(".")[0] for name in line.names}
