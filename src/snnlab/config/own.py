"""Files of somebody's own folder of configs (``--config-dir``): what is wrong in one is said with its name and line."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml
from omegaconf import OmegaConf

from snnlab.config.paths import conf_dir
from snnlab.errors import InputError, one_line

CLASSES = ("method", "model", "data", "encoder", "hardware", "init")  # the groups whose files name a class


def check_chosen(chosen: Sequence[tuple[str, str]], folder: Path) -> None:
    """Check the files of ``folder`` that pairs of group and choice lead to, those in their ``defaults`` too.

    Raises:
        InputError: as ``check_file``; when a choice of snnlab has the name of a file, which nobody would read.
    """
    todo, seen = list(chosen), set[Path]()
    for group, choice in todo:  # which grows
        path = folder / group / f"{choice}.yaml"
        if path in seen or "\0" in str(path) or not path.is_file():
            continue
        seen.add(path)
        ours = conf_dir() / group / path.name
        if ours.is_file() and ours.read_bytes() != path.read_bytes():
            raise InputError(f"{path}: {group}={choice} is a choice of snnlab, which comes first; rename the file")
        for entry in check_file(path):
            if isinstance(entry, str):
                todo.append((group, entry))
            elif isinstance(entry, dict):
                todo += [(str(key).removeprefix("override").strip().lstrip("/"), str(entry[key])) for key in entry]


def check_classes(
    nodes: Mapping[str, Any], choices: Mapping[str, str | None], folder: Path, groups: Iterable[str] = CLASSES
) -> None:
    """Check that what files of ``folder`` were composed to names a class, in groups that have classes.

    Raises:
        InputError: naming the file and what to write.
    """
    for group in groups:
        path = folder / group / f"{choices.get(group)}.yaml"
        if path.is_file() and not (conf_dir() / group / path.name).is_file() and "_target_" not in (nodes[group] or {}):
            ours = [OmegaConf.load(file) for file in sorted((conf_dir() / group).glob("*.yaml"))]
            shown = next(target for node in ours if (target := OmegaConf.select(node, "_target_")))
            raise InputError(f"{path}: _target_ is missing, which names the class; write a line _target_: {shown}")


def check_file(path: Path) -> list[object]:
    """Return the list ``defaults`` of a file of configs.

    Raises:
        InputError: as ``content_of``, and when it is no list.
    """
    defaults = content_of(path).get("defaults", [])
    if not isinstance(defaults, list):
        raise InputError(f"{path}: defaults = {one_line(Exception(defaults))} must be a list")
    return defaults


def content_of(path: Path) -> dict[str, Any]:
    """Return what a file of configs says.

    Raises:
        InputError: when it is no UTF-8, no YAML, no mapping of texts, or has a key twice; names the file and the line.
    """
    raw = path.read_bytes()
    try:
        text = raw.decode("utf-8")
    except UnicodeDecodeError as error:
        line = raw.count(b"\n", 0, error.start) + 1
        raise InputError(f"{path}, line {line}: is no text in UTF-8; save the file in UTF-8") from error
    try:
        node = yaml.compose(text, yaml.SafeLoader)
        if node is not None and not isinstance(node, yaml.MappingNode):
            raise InputError(f"{path}, line {node.start_mark.line + 1}: is no mapping; write key: value on each line")
        for part in _below(node):
            _check_node(part, path)
        content = OmegaConf.to_container(OmegaConf.load(path))
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        where = "" if mark is None else f", line {mark.line + 1}"
        raise InputError(f"{path}{where}: is no YAML: {error.problem or error.context}") from error
    except yaml.reader.ReaderError as error:
        line = text.count("\n", 0, error.position) + 1
        raise InputError(f"{path}, line {line}: is no YAML: {error.reason}") from error
    except RecursionError as error:
        raise InputError(f"{path}: is nested too deeply") from error
    return {str(key): value for key, value in content.items()} if isinstance(content, dict) else {}


def _below(node: yaml.Node | None) -> Iterator[yaml.Node]:
    """``node`` and every node below it."""
    if node is None:
        return
    yield node
    if isinstance(node, yaml.MappingNode):
        for pair in node.value:
            for part in pair:
                yield from _below(part)
    elif isinstance(node, yaml.SequenceNode):
        for part in node.value:
            yield from _below(part)


def _check_node(node: yaml.Node, path: Path) -> None:
    """Raise InputError for keys that are no texts or there twice, and for a ${...} that cannot be read."""
    if isinstance(node, yaml.MappingNode):
        keys = set[str]()
        for key, _ in node.value:
            line = f"{path}, line {key.start_mark.line + 1}"
            if not isinstance(key, yaml.ScalarNode) or key.tag == "tag:yaml.org,2002:null":
                raise InputError(f"{line}: a key must be a text")
            if key.value in keys:
                raise InputError(f"{line}: the key {key.value} is there twice; keep one")
            keys.add(key.value)
    elif isinstance(node, yaml.ScalarNode) and "${" in node.value:
        try:
            OmegaConf.create({"value": node.value})
        except Exception as error:  # the errors of OmegaConf's grammar have no base of their own
            line = f"{path}, line {node.start_mark.line + 1}"
            raise InputError(f"{line}: {node.value} cannot be read; a value is named as ${{key}}") from error
