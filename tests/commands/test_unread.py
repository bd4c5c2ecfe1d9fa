"""Stdout that cannot be written: a run goes on without it, every other command ends, in silence or in one line."""

import json
import os
import sys
import traceback

import pytest

from snnlab import train
from snnlab.bench import __main__ as bench
from snnlab.config.compose import compose
from snnlab.data import __main__ as data
from snnlab.evaluate import __main__ as evaluate
from snnlab.runs.wiring import run
from snnlab.tables import __main__ as tables

LINE = ["method=stbp", "data=digits", "logger=none", "callbacks.figures=false", "model.hidden=[4]"]
LINE += ["encoder.time_steps=2", "data.batch_size=50", "trainer.max_epochs=2"]
LINE += [f"trainer.limit_{split}_batches=2" for split in ("train", "val", "test")]
FULL = "No space left on device"


def ended(main, arguments, stdout=None):
    """Exit code and stderr of a command; ``stdout`` is a file, None a pipe that nobody reads any more (``| head``)."""
    child = os.fork()
    if not child:
        code = 99
        try:
            read, write = os.pipe() if stdout is None else (None, os.open(stdout, os.O_WRONLY))
            if read is not None:
                os.close(read)
            os.dup2(write, 1)
            os.dup2(os.open("stderr.txt", os.O_WRONLY | os.O_CREAT | os.O_TRUNC), 2)
            sys.stdout, sys.stderr = (open(number, "w", closefd=False) for number in (1, 2))  # noqa: SIM115
            code = main([str(argument) for argument in arguments])
            sys.stdout.flush()  # as Python does at its end
        except BaseException:
            traceback.print_exc()
        finally:
            sys.stderr.flush()
            os._exit(code)
    code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    with open("stderr.txt") as file:
        return code, file.read()


@pytest.fixture(scope="module")
def stored(tmp_path_factory):
    """The folder of a run."""
    before = os.getcwd()
    os.chdir(tmp_path_factory.mktemp("stored"))
    try:
        return run(compose(LINE)).folder.resolve()
    finally:
        os.chdir(before)


@pytest.fixture(autouse=True)
def _here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


COMMANDS = {
    "snnlab --help": (train.main, ["--help"]),
    "snnlab method=stbp --help": (train.main, ["method=stbp", "--help"]),
    "snnlab --cfg": (train.main, ["method=stbp", "data=digits", "--cfg"]),
    "snnlab dry_run=true": (train.main, [*LINE, "dry_run=true"]),
    "data --help": (data.main, ["--help"]),
    "data list": (data.main, ["list"]),
    "data prepare": (data.main, ["prepare", "digits"]),
    "data show": (data.main, ["show", "digits"]),
    "evaluate --help": (evaluate.main, ["--help"]),
    "evaluate RUN": (evaluate.main, ["RUN"]),
    "evaluate RUN QUESTION": (evaluate.main, ["RUN", "accuracy_over_time"]),
    "evaluate RUN QUESTION --help": (evaluate.main, ["RUN", "accuracy_over_time", "--help"]),
    "tables --help": (tables.main, ["--help"]),
    "tables": (tables.main, ["RUN"]),
    "tables --json": (tables.main, ["RUN", "--json"]),
    "bench --help": (bench.main, ["--help"]),
    "bench": (bench.main, ["linear_lif", "rounds=1", "seconds=1", "peers=none", "output=results"]),
}


@pytest.mark.parametrize("name", COMMANDS)
def test_a_command_whose_reader_went_away_ends_without_a_word(name, stored):
    main, arguments = COMMANDS[name]
    arguments = [stored if argument == "RUN" else argument for argument in arguments]
    assert ended(main, arguments) == (141, "")


@pytest.mark.parametrize("name", ["snnlab --cfg", "data prepare", "evaluate RUN QUESTION", "tables"])
def test_a_command_whose_output_lies_on_a_full_disk_says_so(name, stored):
    main, arguments = COMMANDS[name]
    arguments = [stored if argument == "RUN" else argument for argument in arguments]
    code, told = ended(main, arguments, "/dev/full")
    assert code == 1 and told.endswith("disk full while writing stdout; free some space and run again\n")
    assert told.count("\n") == 1


@pytest.mark.parametrize(("stdout", "sweep"), [(None, []), (None, ["-m", "seed=0,1"]), ("/dev/full", [])])
def test_a_run_goes_on_to_its_end(stdout, sweep, tmp_path):
    code, told = ended(train.main, [*LINE, *sweep], stdout)
    assert code == 0, told
    assert told == "" if stdout is None else told.count(f"stdout cannot be written ({FULL}); the run goes on") == 1
    records = [json.loads(path.read_text()) for path in tmp_path.rglob("run.json")]
    assert [record["status"] for record in records] == ["completed"] * (2 if sweep else 1)
