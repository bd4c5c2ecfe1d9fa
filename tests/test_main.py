"""The command ``snnlab`` takes every other command by its word."""

from __future__ import annotations

from pathlib import Path

import pytest

import snnlab
from snnlab.__main__ import commands, main

ROOMS = sorted(path.parent.name for path in Path(snnlab.__file__).parent.glob("*/__main__.py"))


@pytest.mark.parametrize("word", [*ROOMS, "table"])
def test_a_word_is_a_command(word, capsys):
    assert main([word, "--help"]) == 0
    said = capsys.readouterr()
    assert f"python -m snnlab.{commands()[word]}" in said.out and not said.err


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["tabel", "x"], "snnlab: tabel: there is no such command; nearest: table, tables; a run takes KEY=VALUE\n"),
        (["outputs/latest"], "snnlab: outputs/latest: there is no such command; nearest: "),
        (["Data", "list"], "snnlab: Data: there is no such command; nearest: data"),
        (["method=stbp", "data"], "snnlab: 'data' cannot be read as key=value"),
        (["~data"], "snnlab: ~data: a key cannot be taken away"),
        (["--nope"], "snnlab: --nope: there is no such flag"),
        (["methd=stbp"], "snnlab: methd: there is no such key"),
        (["evaluate", "nothing"], "snnlab.evaluate: nothing is no run folder"),
    ],
)
def test_what_is_none_is_told_in_one_line(arguments, words, capsys):
    assert main(arguments) == 2
    said = capsys.readouterr()
    assert said.err.startswith(words) and said.err.count("\n") == 1 and not said.out


def test_everything_else_is_for_training(capsys, tmp_path, monkeypatch, empty_data):
    monkeypatch.chdir(tmp_path)
    assert main(["--help"]) == 0
    assert "usage: python -m snnlab [KEY=VALUE ...]" in capsys.readouterr().out
    assert main(["method=stbp", "data=digits", "dry_run=true"]) == 0
    assert "parameters" in capsys.readouterr().out
    monkeypatch.setattr("sys.argv", ["snnlab", "method=nope"])
    assert main() == 2


def test_a_command_keeps_its_debug_flag():
    with pytest.raises(snnlab.errors.InputError):
        main(["tabel", "--debug"])
    with pytest.raises(snnlab.errors.InputError):
        main(["evaluate", "nothing", "--debug"])
