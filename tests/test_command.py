"""One parser and one handler of exit codes for every command."""

import errno
import subprocess
import sys

import pytest

from snnlab.command import parse, run, value_of
from snnlab.errors import InputError, RunFailure


def test_flags_values_words_and_overrides_are_told_apart_in_their_order():
    line = parse(
        ["b", "--out", "x=1.png", "k=v", "-m", "a", "--at", "y", "k=w"],
        ["-m --multirun", "--json"],
        ["--out", "--at"],
    )
    assert line.flags == {"multirun"} and line.values == {"out": "x=1.png", "at": "y"}
    assert line.words == ["b", "a"] and line.overrides == ["k=v", "k=w"]


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--jsn"], "--jsn: there is no such flag; nearest: --json"),
        (["--debg"], "--debg: there is no such flag; nearest: --debug"),
        (["--ot=x"], "--ot: there is no such flag; nearest: --out"),
        (["--out"], "--out needs a value: --out=VALUE"),
        (["--json=yes"], "--json=yes: --json takes no value"),
    ],
)
def test_a_wrong_flag_is_named_with_the_nearest(arguments, words):
    with pytest.raises(InputError) as refusal:
        parse(arguments, ["--json"], ["--out"])
    assert str(refusal.value).startswith(words)


@pytest.mark.parametrize(
    ("error", "code", "line"),
    [
        (InputError("x = 3 must be 2"), 2, "snnlab.x: x = 3 must be 2\n"),
        (RunFailure("the loss is nan"), 1, "snnlab.x: the loss is nan\n"),
        (OSError(errno.ENOSPC, "No space", "f.csv"), 1, "snnlab.x: disk full while writing f.csv; free some space"),
        (PermissionError(errno.EACCES, "Permission denied", "f.csv"), 1, "snnlab.x: f.csv: Permission denied\n"),
        (KeyboardInterrupt(), 130, "snnlab.x: interrupted; nothing was written\n"),
    ],
)
def test_what_goes_wrong_is_one_line_and_an_exit_code(error, code, line, capsys):
    def fail(_):
        raise error

    assert run("snnlab.x", fail, [], interrupted="interrupted; nothing was written") == code
    told = capsys.readouterr().err
    assert told.startswith(line) and told.count("\n") == 1
    if code != 130:
        for word in ("--debug", "debug=true", "++debug=True"):
            with pytest.raises(type(error)):
                run("snnlab.x", fail, [word])


def test_what_is_a_fault_of_snnlab_keeps_its_traceback():
    for error in (
        ZeroDivisionError(),
        OSError(errno.EINVAL, "no file in it"),
        BrokenPipeError(errno.EPIPE, "a socket"),
    ):

        def fail(_, error=error):
            raise error

        with pytest.raises(type(error)):
            run("snnlab.x", fail, [])


def test_main_gets_the_arguments_but_debug_and_its_code_is_kept():
    seen = []
    assert run("snnlab.x", seen.extend, ["a", "--debug", "debug=true"]) == 0 and seen == ["a", "debug=true"]
    assert run("snnlab.x", lambda arguments: 2, []) == 2


@pytest.mark.parametrize("write", ["print('x' * 100)", "log.info('x' * 100)"])
def test_a_reader_that_goes_away_ends_it_without_a_word(write):
    code = (
        "import logging, sys\nfrom snnlab.command import run, set_up_logging\nset_up_logging()\n"
        f"log = logging.getLogger('snnlab')\ndef main(_):\n    for _ in range(100_000): {write}\n"
        "sys.exit(run('snnlab.x', main, []))"
    )
    pipe = f'"{sys.executable}" -c "$0" | head -1; echo ${{PIPESTATUS[0]}}'
    ended = subprocess.run(["bash", "-c", pipe, code], capture_output=True, text=True, check=False)
    assert ended.stdout == "x" * 100 + "\n141\n" and ended.stderr == ""


def test_the_questions_are_files_that_analyse():
    from snnlab.evaluate.analysis import questions

    assert {"accuracy_over_time", "early_exit"} <= set(questions())
    assert not {"ask", "analysis", "__main__", "__init__"} & set(questions())


@pytest.mark.parametrize("text", ["*", "[1", "2024-13-45", "a: b: c", "'", "[" * 2000])
def test_a_value_that_stands_for_nothing_is_refused(text):
    with pytest.raises(InputError, match=r"x=.* cannot be read as a value"):
        value_of("x", text)
    assert value_of("x", "[1, 2.5]") == [1, 2.5] and value_of("x", "") is None
    assert value_of("x", "[1e4, -1E-3, .5e+2, 1.e2]") == [1e4, -1e-3, 50.0, 100.0]  # as an override does
    assert value_of("x", "[e4, 1e, 1e4a]") == ["e4", "1e", "1e4a"]
