"""What ``--help`` prints names all that there is, held against the registries and the folders of configs."""

from __future__ import annotations

import re
from pathlib import Path
from typing import get_args

import pytest

import snnlab
from snnlab.config.line import GROUPS
from snnlab.config.paths import conf_dir
from snnlab.evaluate.__main__ import main as evaluate
from snnlab.evaluate.analysis import find, options, questions
from snnlab.kernels.path import Choice
from snnlab.neurons.choice import NEURONS


@pytest.fixture
def help_page(run_command):
    code, out, error = run_command("--help")
    assert code == 0 and not error
    return out


@pytest.mark.parametrize("group", GROUPS)
def test_every_choice_of_every_group_is_in_the_help(group, help_page):
    names = sorted(path.stem for path in (conf_dir() / group).glob("*.yaml"))
    line = re.search(rf"^  {group}= *(.*)$", help_page, re.MULTILINE)
    assert line is not None and line.group(1).split() == names


def test_neurons_kernels_questions_and_commands_are_in_the_help(help_page):
    assert set(re.search(r"method\.neuron=(\S+),", help_page).group(1).split("|")) == set(NEURONS)
    assert re.search(r"kernels=(\S+)", help_page).group(1).split("|") == list(get_args(Choice))
    assert re.search(r"questions: (.*?)\n  python", help_page, re.DOTALL).group(1).split() == questions()
    rooms = {path.parent.name for path in Path(snnlab.__file__).parent.glob("*/__main__.py")}
    assert rooms == set(re.findall(r"python -m snnlab\.(\w+)", help_page))


def test_the_other_commands_name_all_that_they_take(capsys):
    from snnlab.bench.__main__ import main as bench
    from snnlab.bench.workloads.workload import outlines
    from snnlab.data.__main__ import main as data

    assert bench(["--help"]) == 0
    page = capsys.readouterr().out
    for name, outline in outlines().items():
        assert re.search(rf"^  {name} ", page, re.MULTILINE) and all(f"{key}=" in page for key in outline.options)
    assert data(["--help"]) == 0
    names = re.search(r"^names: (.*)$", capsys.readouterr().out, re.MULTILINE).group(1).split()
    assert names == sorted(path.stem for path in (conf_dir() / "data").glob("*.yaml"))
    assert evaluate(["--help"]) == 0 and ", ".join(questions()) in capsys.readouterr().out


@pytest.mark.parametrize("group", ["method", "data", "model", "encoder", "init", "trainer", "callbacks", "logger"])
def test_the_page_of_every_choice_has_its_keys_and_comments(group, run_command):
    for path in sorted((conf_dir() / group).glob("*.yaml")):
        code, out, error = run_command(f"{group}={path.stem}", "--help")
        assert code == 0 and not error and out.startswith(f"{group}={path.stem}")
        for line in path.read_text().split("\nrecipes:")[0].splitlines():
            key, comment = re.match(r"(\w+):", line), re.search(r"\S: .*?(#.*)", line)
            if key and key.group(1) not in ("_target_", "_partial_", "recipes", "defaults"):
                assert f"  {group}.{key.group(1)}" in out
                assert comment is None or comment.group(1) in out


@pytest.mark.parametrize("question", questions())
@pytest.mark.parametrize("run", [["outputs/latest"], []])
def test_the_page_of_a_question_has_its_options_and_what_they_mean(question, run, capsys):
    assert evaluate([*run, question, "--help"]) == 0
    out = capsys.readouterr().out
    assert out.startswith(f"{question}: ")
    for key, option in options(find(question)).items():
        assert re.search(rf"^  {key}=\S", out, re.MULTILINE)
        assert re.search(rf"^    .*\b{key}\b.*: \w", out, re.MULTILINE), f"{key} is not explained"
        if isinstance(option.default, tuple):
            assert f"  {key}=[" in out  # as it is typed


def test_a_choice_or_question_that_is_none(run_command, capsys):
    code, _, error = run_command("method=stpb", "--help")
    assert code == 2 and error.startswith("snnlab: method=stpb: there is no such method; nearest: stbp")
    assert evaluate(["x", "comparision", "--help"]) == 2
    assert "nearest: comparison" in capsys.readouterr().err


def test_the_list_of_data_is_whole_in_a_pipe(capsys, monkeypatch):
    from snnlab.data.__main__ import main as data
    from snnlab.data.__main__ import names

    monkeypatch.setenv("COLUMNS", "20")
    monkeypatch.setenv("SNNLAB_DATA", "/nowhere/" + "long/" * 60)
    assert data(["list"]) == 0
    out = capsys.readouterr().out
    assert "\u2026" not in out
    for name in names(None):
        assert re.search(rf"^\W*{name}\W", out, re.MULTILINE), name


def test_several_choices_have_a_page_each(run_command):
    code, out, _ = run_command("logger=[csv,tensorboard]", "--help")
    assert code == 0 and out.count("logger=csv") == 1 and "logger=tensorboard" in out
    assert run_command("logger=[csv,nonsense]", "--help")[0] == 2
