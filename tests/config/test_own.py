"""A broken file of somebody's own folder of configs: one line that names it and the line in it, exit code 2."""

from __future__ import annotations

import pytest

from snnlab.config.compose import compose
from snnlab.config.own import CLASSES, check_chosen, check_file
from snnlab.config.paths import conf_dir
from snnlab.errors import InputError

BROKEN = {
    "a tab": (b"a: 1\n\tb: 2\n", "line 2: is no YAML: found character '\\t'"),
    "an open list": (b"a: [1\n", "line 2: is no YAML: expected ',' or ']'"),
    "a zero byte": (b"a: 1\nb: \0\n", "line 2: is no YAML: special characters are not allowed"),
    "an anchor that is none": (b"a: *x\n", "line 1: is no YAML: found undefined alias 'x'"),
    "a tag of Python's": (b"a: !!python/object:os.system {}\n", "line 1: is no YAML: could not determine"),
    "two documents": (b"a: 1\n---\nb: 2\n", "line 2: is no YAML: but found another document"),
    "a key twice": (b"a: 1\nb: 2\na: 3\n", "line 3: the key a is there twice"),
    "a key twice below": (b"a:\n  b: 2\n  b: 3\n", "line 3: the key b is there twice"),
    "a key of nothing": (b"a: 1\nnull: 2\n", "line 2: a key must be a text"),
    "a list for a key": (b"a: 1\n? [1, 2]\n: 3\n", "line 2: a key must be a text"),
    "latin-1": ("# one\na: für\n".encode("latin-1"), "line 2: is no text in UTF-8"),
    "UTF-16": ("a: 1\n".encode("utf-16"), "line 1: is no text in UTF-8"),
    "a list": (b"# one\n- 1\n", "line 2: is no mapping"),
    "a text": (b"hello\n", "line 1: is no mapping"),
    "a number": (b"3\n", "line 1: is no mapping"),
    "an open reference": (b"a: 1\nb: ${nothing\n", "line 2: ${nothing cannot be read"),
    "defaults of another kind": (b"defaults: 3\n", "defaults = 3 must be a list"),
}


@pytest.mark.parametrize("kind", BROKEN)
def test_the_file_and_the_line_are_named(kind, tmp_path):
    content, words = BROKEN[kind]
    path = tmp_path / "mine.yaml"
    path.write_bytes(content)
    with pytest.raises(InputError) as refusal:
        check_file(path)
    told = str(refusal.value)
    assert told.startswith(str(path)) and words in told and "\n" not in told


def test_what_is_right_is_taken(tmp_path):
    path = tmp_path / "mine.yaml"
    for content in (b"", b"\xef\xbb\xbfa: 1\n", b"a: &x {b: 1}\nc: *x\n", b"a: ${b.c}\n", "a: für\r\n".encode()):
        path.write_bytes(content)
        assert check_file(path) == []


def test_only_what_is_chosen_is_looked_at_defaults_among_it(tmp_path):
    for group in ("method", "experiment"):
        (tmp_path / group).mkdir()
    (tmp_path / "method" / "torn.yaml").write_text("a: [")
    (tmp_path / "experiment" / "mine.yaml").write_text("defaults: [mine, base, {override /data: digits}, _self_]\n")
    check_chosen([("experiment", "mine"), ("method", "stbp")], tmp_path)
    (tmp_path / "experiment" / "base.yaml").write_text("defaults:\n  - override /method: torn\n")
    with pytest.raises(InputError, match=r"torn\.yaml, line 1"):
        check_chosen([("experiment", "mine")], tmp_path)


@pytest.mark.parametrize("group", CLASSES)
def test_a_file_without_a_class_is_told_with_what_to_write(group, tmp_path):
    (tmp_path / group).mkdir()
    path = tmp_path / group / "mine.yaml"
    for content in ("", "name: mine\nweight_low: -8\nhidden: [4]\n"):
        path.write_text(content)
        with pytest.raises(InputError, match=r"_target_ is missing, .* write a line _target_: snnlab\.\w+") as refusal:
            compose([f"{group}=mine"], config_dir=tmp_path)
        assert str(refusal.value).startswith(str(path)) and "\n" not in str(refusal.value)


def test_a_class_may_come_from_what_the_file_builds_on_or_from_the_line(tmp_path):
    (tmp_path / "hardware").mkdir()
    path = tmp_path / "hardware" / "mine.yaml"
    path.write_text("defaults: [loihi2, _self_]\nname: mine\n")
    assert compose(["hardware=mine"], config_dir=tmp_path).plain()["hardware"]["cores"] == 128
    path.write_text("name: mine\nsource: here\n")
    typed = "hardware._target_=snnlab.hardware.target.Target"
    assert compose(["hardware=mine", typed], config_dir=tmp_path).plain()["hardware"]["name"] == "mine"


def test_a_file_that_nobody_reads_is_refused(tmp_path):
    """snnlab's own choices come first, and a file of the same name would be passed over."""
    (tmp_path / "hardware").mkdir()
    path = tmp_path / "hardware" / "int8.yaml"
    path.write_text("_target_: snnlab.hardware.target.Target\nname: int8\nsource: here\n")
    with pytest.raises(InputError, match=r"int8\.yaml: hardware=int8 is a choice of snnlab, .* rename the file"):
        compose(["hardware=int8"], config_dir=tmp_path)
    path.write_bytes((conf_dir() / "hardware" / "int8.yaml").read_bytes())  # a copy of ours is no other
    compose(["hardware=int8"], config_dir=tmp_path)


@pytest.mark.parametrize("flag", ["--cfg", "--help", "-m"])
def test_the_command_says_it_in_one_line(flag, run_command, tmp_path):
    (tmp_path / "conf" / "method").mkdir(parents=True)
    (tmp_path / "conf" / "method" / "mine.yaml").write_bytes(b"a: 1\n\xff: 2\n")
    code, _, error = run_command(flag, "--config-dir", "conf", "method=mine", "data=digits")
    assert code == 2 and error == "snnlab: conf/method/mine.yaml, line 2: is no text in UTF-8; save the file in UTF-8\n"
