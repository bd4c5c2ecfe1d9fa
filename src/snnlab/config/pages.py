"""The page of one choice of a group (``method=stbp --help``): its keys, their values and comments, what they mean.

Light: nothing is imported but the standard library, the class's docstring is read from its file.
"""

from __future__ import annotations

import ast
import importlib.util
import inspect
import re
from collections.abc import Sequence
from pathlib import Path

from snnlab.config.paths import conf_dir
from snnlab.errors import InputError, nearest


def page(overrides: Sequence[str], config_dir: Path | None) -> str:
    """The pages of all choices among ``overrides``, "" where there is none.

    Raises:
        InputError: for a choice that does not exist.
    """
    folders = [conf_dir(), *([config_dir] if config_dir else [])]
    pages = []
    for override in overrides:
        group, _, choice = override.partition("=")
        names = {path.stem: path for folder in folders for path in (folder / group).glob("*.yaml")}
        if not names or "/" in group or "." in group:
            continue
        for one in choice[1:-1].split(",") if re.fullmatch(r"\[.*\]", choice) else [choice]:  # logger=[csv,wandb]
            if (one := one.strip()) not in names:
                raise InputError(f"{group}={one}: there is no such {group}; nearest: {nearest(one, names)}")
            if config_dir:
                from snnlab.config.own import check_chosen

                check_chosen([(group, one)], config_dir)
            pages.append(_page(group, one, names[one].read_text(encoding="utf-8")))
    return "\n".join(pages)


def _page(group: str, choice: str, text: str) -> str:
    target = re.search(r"^_target_: *([\w.]+)", text, re.MULTILINE)
    first, arguments = _told(target.group(1)) if target else ("", "")
    lines = [f"{group}={choice}: {first}" if first else f"{group}={choice}", ""]
    for line in text.splitlines():
        if re.match(r"recipes:|# What this method takes", line):
            break
        if line.startswith("_target_") or not line.strip():
            continue
        key = group != "experiment" and re.match(r"(\w+): *(.*)", line)
        equals = "  " if key and key.group(2)[:1] in ("", "#") else "="  # a part, whose keys follow
        lines.append(f"  {group}.{key.group(1)}{equals}{key.group(2)}" if key else f"  {line}")
    return "\n".join([*lines, *(["", arguments] if arguments else [])]) + "\n"


def _told(target: str) -> tuple[str, str]:
    """First line and the section ``Args`` of a class's docstring, from its file; "" where there is none."""
    module, _, name = target.rpartition(".")
    try:
        spec = importlib.util.find_spec(module)
        found = None if spec is None or spec.origin is None else Path(spec.origin).read_text(encoding="utf-8")
    except (ImportError, ValueError, OSError):
        return "", ""
    parsed = ast.parse(found or "")
    if name not in {node.name for node in parsed.body if isinstance(node, ast.ClassDef)}:  # handed on by a package
        homes = [
            node for node in parsed.body if isinstance(node, ast.ImportFrom) and name in {a.name for a in node.names}
        ]
        return _told(f"{homes[0].module}.{name}") if homes and homes[0].module else ("", "")
    node = next(node for node in parsed.body if isinstance(node, ast.ClassDef) and node.name == name)
    text = inspect.cleandoc(ast.get_docstring(node) or "")
    section = re.search(r"^Args:.*?(?=^\w+:|\Z)", text, re.MULTILINE | re.DOTALL)
    return text.partition("\n")[0], section.group(0).rstrip() if section else ""
