"""Papers' tables: every one that ships can be read and run; a small one is made, goes on, is kept and told honestly."""

import json
import re
from pathlib import Path

import pytest

from snnlab.errors import InputError
from snnlab.tables import make
from snnlab.tables.__main__ import main
from snnlab.tables.filled import Filled, FilledRow, answer_of, fill
from snnlab.tables.front import of_table
from snnlab.tables.make import without_machine
from snnlab.tables.papers import BUDGETS, PaperTable, RowPlan, names, read
from snnlab.tables.sheet import as_csv, as_latex, in_columns, markdown, page, picture, sheet

ROOT = Path(__file__).parents[2]
SMALL = """
title: A small table
cite: "Nobody, 1999"
run: method=stbp data=digits model.hidden=[8] trainer.max_epochs=1 trainer.limit_train_batches=4 threads=1
columns: [test/spikes_per_inference]
tolerance: 0.0
versus: rectangle
budgets:
  small: {seeds: [0, 1]}
  full: {run: trainer.max_epochs=2}
rows:
  - name: rectangle
    key: rectangle
    paper: {test/accuracy: {value: 0.0, status: unverified, tolerance: 1.0}}
  - name: triangle
    run: method.surrogate=triangle
    small: {seeds: [0]}
    paper: {test/accuracy: {value: 1.0, status: paper, std: 0.01}}
  - name: asked
    metric: accuracy_over_time/accuracy/0
    ask: accuracy_over_time
    small: {seeds: [0]}
    bound: {accuracy_over_time/accuracy/0: ">= 2"}
  - name: on a chip afterwards
    run: hardware=int8 hardware.start=@rectangle
    small: {seeds: [0]}
    bound: {test/accuracy: ">= 0.001"}
  - {name: refused, run: method=vdsp}
  - {name: too dear, skip: {small: it takes a week}}
"""


def written(folder: Path, text: str, name: str = "own") -> Path:
    (folder / "table").mkdir(parents=True, exist_ok=True)
    (folder / "table" / f"{name}.yaml").write_text(text)
    return folder


@pytest.mark.parametrize("name", names())
def test_every_table_is_read_and_stands_on_the_page_of_results(name):
    table = read(name)
    assert (ROOT / table.page).is_file()
    text = (ROOT / "results" / "papers.md").read_text()
    for budget in table.budgets:
        assert f"<!-- table: {name}{' --budget full' if budget == 'full' else ''} -->" in text


def test_at_least_fourteen_tables_ship():
    assert len(names()) >= 14


def test_a_table_is_made_goes_on_and_is_kept(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    own = written(tmp_path / "own", SMALL)
    line = ["own", "--config-dir", str(own), "--results", str(tmp_path / "kept")]
    (tmp_path / "kept").mkdir()
    assert main([*line, "--keep", str(tmp_path / "kept")]) == 0
    told = capsys.readouterr().out
    assert "outside" in told and "within" in told and "own bound missed (>= 2)" in told and "own bound kept" in told
    assert "not run: method=vdsp trains one layer" in told and "not run: it takes a week" in told
    folder = tmp_path / "outputs" / "table-own-small"
    assert len(list(folder.glob("*/run.json"))) == 4  # the row that asks is the first one's run
    assert {path.name for path in folder.glob("table.*")} == {"table.md", "table.csv", "table.tex", "table.png"}

    assert main(line) == 0  # nothing is left to run
    assert "jobs completed" not in capsys.readouterr().out

    kept = sorted((tmp_path / "kept").rglob("run.json"))
    assert len(kept) == 4 and not any(str(tmp_path) in path.read_text() for path in kept)
    answers = list((tmp_path / "kept").rglob("evaluation.json"))
    assert answers and not any(str(tmp_path) in path.read_text() for path in answers)
    monkeypatch.chdir(tmp_path / "own")  # where no run lies: the records that were kept are enough
    assert main([*line, "--stored", "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    by_row = {row["row"]: row["figures"] for row in told}
    assert by_row["rectangle"]["test/accuracy"]["verdict"] == "within"
    assert list(by_row["rectangle"]["test/accuracy"]["ours"]) == ["0", "1"]
    assert by_row["asked"]["accuracy_over_time/accuracy/0"]["ours"]
    assert by_row["on a chip afterwards"]["test/accuracy"]["ours"]


def test_no_path_of_the_machine_is_kept(tmp_path):
    outputs = tmp_path / "my runs é"
    content = {
        "config": {"paths": {"data": "/", "cache": "/mnt/cache", "output": str(outputs)}},
        "overrides": [f"paths.output='{outputs}'", "hardware.start='/mnt/a b/ü/run_1'", "method.x=1/2", "a=outputs/b"],
        "reason": f"no {outputs}/x/y.txt, and /opt/elsewhere/z.bin; 3 pJ/op, see https://host/a/b and /mnt/cached",
        "metrics": {"/mnt/cache": 1.5},
    }
    assert without_machine(content, outputs / "run") == {
        "config": {"paths": {"data": "", "cache": "cache", "output": "outputs"}},
        "overrides": ["paths.output='outputs'", "hardware.start=run_1", "method.x=1/2", "a=outputs/b"],
        "reason": "no outputs/x/y.txt, and z.bin; 3 pJ/op, see https://host/a/b and cached",
        "metrics": {"/mnt/cache": 1.5},
    }


def table_of(**row):
    plan = {"name": "a row", "run": "method=stbp", **row}
    return PaperTable(
        name="t", title="T", cite="c", tolerance=0.01, budgets={"small": {}}, rows=[plan], columns=["fit_seconds"]
    )


def run_with(accuracy, seed=0, source="recorded"):
    provenance = {"source": source, "altered": False, "subset": source == "recorded", "hash": "ab", "sizes": {}}
    run = {"seed": seed, "method": "stbp", "status": "completed", "metrics": {"test": {"accuracy": accuracy}}}
    return run | {"timing": {"fit_seconds": 10.0}, "memory": {}, "provenance": provenance, "folder": "."}


@pytest.mark.parametrize(
    ("accuracies", "row", "verdict", "difference"),
    [
        ([0.98], {"paper": {"test/accuracy": {"value": 0.985, "status": "paper"}}}, "within", "-0.50"),
        ([0.96], {"paper": {"test/accuracy": {"value": 0.985, "status": "paper"}}}, "outside", "-2.50"),
        ([0.998], {"paper": {"test/accuracy": {"value": 0.985, "status": "paper"}}}, "outside (better)", "+1.30"),
        (
            [0.96],
            {"paper": {"test/accuracy": {"value": 0.985, "status": "secondary", "tolerance": 0.03}}},
            "within",
            "-2.50",
        ),
        ([0.96, 0.98], {"bound": {"test/accuracy": ">= 0.97"}}, "own bound kept (>= 0.97)", ""),
        ([0.96, 0.97], {"bound": {"test/accuracy": ">= 0.97"}}, "own bound missed (>= 0.97)", ""),
        ([0.96], {"bound": {"test/accuracy": "<= 0.97"}}, "own bound kept (<= 0.97)", ""),
        ([0.96], {}, "", ""),
    ],
)
def test_verdicts(accuracies, row, verdict, difference):
    table = table_of(**row)
    each = FilledRow(table.rows[0], "test/accuracy", [], [0, 1], [run_with(a, i) for i, a in enumerate(accuracies)])
    done = Filled(table, "small", [each])
    assert done.verdict(each, "test/accuracy") == verdict
    heads, (line,) = sheet(done)
    cells = dict(zip(heads, line.cells, strict=True))
    assert cells.get("difference", "") == difference and cells.get("verdict", "") == verdict
    assert cells["n"] == (f"{len(accuracies)} of 2" if len(accuracies) < 2 else "2")
    assert cells["marks"] == "subset" and cells["training, s"].startswith("10")
    for form in (markdown, in_columns, as_latex, as_csv, page):
        assert "a row" in form(done)


def test_a_row_whose_status_is_not_the_papers_own_says_so():
    table = table_of(paper={"test/accuracy": {"value": 0.985, "status": "unverified"}})
    done = Filled(table, "small", [FilledRow(table.rows[0], "test/accuracy", [], [0], [run_with(0.98)])])
    assert "98.50 (unverified)" in markdown(done)


def test_runs_on_other_data_than_the_row_is_of_are_not_its(monkeypatch):
    table = table_of(hash="cd")
    key = fill(table, "small", {}).rows[0]
    from snnlab.config.compose import compose
    from snnlab.runs.identity import row

    known = {row(compose([*key.overrides, "seed=0"]).plain()): [run_with(0.9) | {"started": "2026"}]}
    (each,) = fill(table, "small", known).rows
    assert not each.runs and each.why == "the row is of data cd, the runs there are of ab"
    (each,) = fill(table_of(), "small", known).rows
    assert len(each.runs) == 1


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("title: x\n", "cite: Field required"),
        (SMALL + "colour: red\n", "colour: Extra inputs"),
        (SMALL.replace("status: paper", "status: rumour"), "status: Input should be"),
        (SMALL.replace('">= 2"', "two"), "bound"),
        (SMALL.replace("@rectangle", "@circle"), "@circle is the key of no row above it"),
        (SMALL.replace("versus: rectangle", "versus: circle"), "versus: circle is neither best nor the key of a row"),
        (SMALL.replace("name: triangle", "name: rectangle"), "two rows are called 'rectangle'"),
        ("- a\n- b\n", "no mapping"),
        (SMALL.replace(">= 0.001", ">= 0"), "test/accuracy: >= 0 cannot be missed"),
        ("", "title: Field required"),
        (SMALL + "7: x\n", "7: Extra inputs"),
        (SMALL.replace("[0, 1]", "[]"), "at least 1 item"),
        (SMALL.replace("[0, 1]", "[0, 0]"), "the seed 0 is there twice"),
        (SMALL.replace("[0, 1]", "[-1]"), "greater than or equal to 0"),
        (SMALL.replace('">= 2"', '">= .."'), "could not convert"),
        (SMALL.replace("value: 1.0", "value: 98.5"), "98.5 is no share of 1"),
        (SMALL.replace("value: 1.0", "value: .nan"), "finite"),
        (SMALL.replace("tolerance: 1.0", "tolerance: .inf"), "finite"),
        (SMALL.replace("std: 0.01", "std: -1"), "greater than or equal to 0"),
        (SMALL.replace("@rectangle", "@"), "row 'on a chip afterwards': @ is the key of no row"),
        (SMALL.replace("key: rectangle", "key: best"), "the key best stands for the best row"),
        (SMALL.replace("name: refused", "versus: rectangle, metric: test/loss, name: refused"), "is of test/accuracy"),
        (SMALL.replace("run: method=vdsp", "run: seed=4"), "seed=4: seed is the table's to say; give seeds"),
        (SMALL.replace("run: method=vdsp", "run: dry_run=true"), "dry_run is the table's to say"),
        (SMALL.replace("ask: accuracy_over_time", "ask: nosuch"), "row 'asked': ask: 'nosuch' is no question"),
        (SMALL.replace("ask: accuracy_over_time", "ask: early_exit thresholds=many"), "row 'asked': ask: early_exit"),
        (SMALL.replace("ask: accuracy_over_time", "ask: comparison margin=0.1"), "ask: comparison needs against=..."),
        (SMALL.replace("ask: accuracy_over_time", "ask: early_exit against=@rectangle"), "no option of early_exit"),
        (SMALL.replace("ask: accuracy_over_time", "ask: early_exit fast"), "fast is no option of early_exit"),
    ],
)
def test_a_file_that_is_no_table_is_told_in_one_line(tmp_path, capsys, text, said):
    own = written(tmp_path, text)
    assert main(["own", "--config-dir", str(own), "--stored"]) == 2
    error = capsys.readouterr().err
    assert error.count("\n") == 1 and "own.yaml" in error and said in error, error


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["stbp", "nosuch"], "table nosuch: there is no such table"),
        (["stbp", "--budget", "tiny"], "--budget tiny"),
        (["stbp", "seed=3"], "seed=3: what a table's rows are run with stands in its file"),
        (["stbp", "--stored", "--csv", "--latex"], "--csv stands alone"),
        (["stbp", "--stored", "--results", "nowhere"], "--results nowhere: there is no such folder"),
        (["outputs", "--stored"], "--stored is of a paper's table"),
        (["stbp", "--statistics"], "--statistics is of folders of runs, and stbp is a paper's table"),
        (["stbp", "--stored", "--before", "results"], "--before is of folders of runs"),
        (["stbp", "--curves=x.png"], "--curves is of folders of runs"),
        (["stbp", "--metrics", "test/loss"], "--metrics: the figures of a paper's table stand in its file"),
        (["stbp", "--list", "--keep", "x"], "--list stands alone; leave out --keep"),
    ],
)
def test_a_line_that_cannot_be_done_is_refused(capsys, words, said):
    assert main(words) == 2
    assert said in capsys.readouterr().err


@pytest.mark.parametrize(
    ("against", "answered"), [("outputs/table-x/ann_1", True), ("ann_2", True), ("ann_3", False), ("", False)]
)
def test_an_answer_counts_only_against_a_run_of_the_row_that_is_named(tmp_path, against, answered):
    (tmp_path / "evaluations" / "1").mkdir(parents=True)
    asked = ["comparison", "margin=0.02", *([f"against={against}"] if against else [])]
    content = {"overrides": asked, "question": "comparison", "values": {"speed_up": 2.0}}
    (tmp_path / "evaluations" / "1" / "evaluation.json").write_text(json.dumps(content))
    answer = answer_of(
        {"folder": str(tmp_path)}, ["comparison", "against=@ann", "margin=0.02"], {"ann": {"ann_1", "ann_2"}}
    )
    assert answer == ({"speed_up": 2.0} if answered else None)
    assert answer_of({"folder": str(tmp_path)}, ["comparison", "against=@ann"], {"ann": {"ann_1"}}) is None


def test_a_question_that_no_run_of_its_row_could_answer_is_refused_before_training(tmp_path, monkeypatch):
    own = written(tmp_path / "conf", SMALL.replace("ask: accuracy_over_time", "ask: accuracy_over_time data.nosuch=3"))
    maker, told = make.Maker(read("own", own), "small", [], tmp_path / "outputs", own), []
    monkeypatch.setattr(make, "run_all", lambda *_: told.append(maker.why.get(("", "asked"), "")))
    maker.make([])
    assert told and all("nosuch" in why for why in told), told


def test_an_own_table_with_the_name_of_ours_is_refused(tmp_path, capsys):
    for name, said in (("stbp", "stbp is a table of snnlab, which comes first"), ("all", "all stands for all tables")):
        assert main([name, "--config-dir", str(written(tmp_path / name, SMALL, name)), "--stored"]) == 2
        assert said in capsys.readouterr().err


def test_a_figure_that_no_run_has_is_not_told_as_not_run():
    table = table_of(metric="test/acuracy")
    done = Filled(table, "small", [FilledRow(table.rows[0], "test/acuracy", [], [0], [run_with(0.9)])])
    assert done.verdict(done.rows[0], "test/acuracy") == "none: its runs have no test/acuracy"
    assert done.counts()["not run"] == 0


def test_rows_of_one_name_in_two_groups_have_reasons_of_their_own(tmp_path):
    from snnlab.tables.make import Maker

    rows = [{"name": "a", "group": group, "run": ["method=stbp"]} for group in ("one", "two")]
    maker = Maker(table_of().model_copy(update={"rows": [RowPlan(**row) for row in rows]}), "small", [], tmp_path)
    maker.why["one", "a"] = "its bound is none"
    assert [each.why for each in maker.fill().rows] == ["its bound is none", ""]


def test_any_name_is_a_name_in_every_form(tmp_path):
    table = table_of(name=r"a|b \frac $x_$ & 50% $\frac$", group="$g|h$", note="n")
    done = Filled(table, "small", [FilledRow(table.rows[0], "test/accuracy", [], [0], [run_with(0.9)])])
    lines = markdown(done).splitlines()
    assert len({len(re.findall(r"(?<!\\)\|", line)) for line in lines}) == 1
    assert picture(done, tmp_path / "table.png")
    assert of_table(done, tmp_path / "front.png", "fit_seconds")


def test_budgets_are_those_of_the_files():
    assert BUDGETS == ("small", "full")
    with pytest.raises(InputError, match="there is no such table"):
        read("nosuch")
    assert RowPlan(name="x", run="a=1 b=2").run == ["a=1", "b=2"]
