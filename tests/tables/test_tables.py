"""Tables over hand-written run.json files."""

import json

import pytest

from snnlab.errors import InputError, RunFailure
from snnlab.tables.__main__ import main, table
from snnlab.tables.names import flatten, names
from snnlab.tables.page import check, rewrite
from snnlab.tables.rows import markdown, read_runs, rows_of

ADAM = {"_target_": "torch.optim.Adam"}


def config(seed=0, lr=1e-3, **method):
    return {
        "seed": seed,
        "method": {"_target_": "snnlab.methods.stbp.STBP", "optimizer": ADAM | {"lr": lr}, **method},
        "data": {"_target_": "snnlab.data.images.digits.Digits", "seed": seed, "root": "x", "batch_size": 50},
        "model": {"_target_": "snnlab.models.mlp.MLP", "hidden": [8]},
        "trainer": {"max_epochs": 2},
    }  # fmt: skip


def write(folder, seed, accuracy, source="bundled", content=None, **more):
    folder.mkdir(parents=True)
    written = {
        "schema": 1,
        "status": "completed",
        "method": "stbp",
        "model": "mlp",
        "data": "digits",
        "encoder": "none",
        "hardware": "none",
        "seed": seed,
        "config": content or config(seed),
        "overrides": ["method=stbp", f"seed={seed}", "paths.output=x"],
        "provenance": {"source": source, "altered": False, "subset": False, "hash": f"{source} of data"},
        "metrics": {"train": {}, "val": {}, "test": {"accuracy": accuracy, "firing_rate": {"hidden1": 0.25}}},
        "timing": {"fit_seconds": 3.0},
        "started": "2026-11-20T10:00:00",
    }
    (folder / "run.json").write_text(json.dumps(written | more))


def lines(folder, *metrics):
    return markdown(read_runs([folder]), metrics or ["test/accuracy"]).splitlines()[2:]


def test_joules_and_bytes_have_their_unit(tmp_path):
    for seed, joule in enumerate((4.8e-8, 4.9e-8)):
        figures = {"energy_joule": joule, "memory_bytes": {"weights": 76840.0}, "synaptic_operations": 52172.6}
        write(tmp_path / str(seed), seed, 0.5, metrics={"train": {}, "val": {}, "test": figures})
    (row,) = lines(tmp_path, "test/energy_joule", "test/memory_bytes/weights", "test/synaptic_operations")
    assert "| 48.5 ± 0.707 nJ | 76.8 ± 0 kB | 52173 ± 0 | completed |" in row


def test_seeds_become_one_row_with_mean_and_spread(tmp_path):
    write(tmp_path / "a", 0, 0.8)
    write(tmp_path / "b", 1, 0.9)
    write(tmp_path / "c", 0, 0.5, source="simulated")
    table = markdown(read_runs([tmp_path]), ["test/accuracy", "test/firing_rate/hidden1", "fit_seconds"])
    lines = table.splitlines()
    name = "`method=stbp data=digits`"
    assert f"| {name} | 0, 1 | 0.8500 ± 0.0707 | 0.2500 ± 0.0000 | 3.0000 ± 0.0000 | completed |" in lines
    assert f"| {name} (simulated) | 0 | 0.5000 | 0.2500 | 3.0000 | completed |" in lines
    assert len(lines) == 4


def test_a_metric_that_nobody_has_is_no_blank_column(tmp_path):
    write(tmp_path / "a", 0, 0.8)
    with pytest.raises(InputError, match=r"--metrics test/acuracy: no run has it; nearest: test/accuracy"):
        lines(tmp_path, "test/acuracy")
    write(tmp_path / "b", 1, 0.9, metrics={"train": {}, "val": {}, "test": {}}, timing={}, status="failed")
    assert lines(tmp_path, "test/accuracy")  # one has it


def test_seeds_that_are_in_no_mean_are_told_in_the_status(tmp_path):
    nothing = {"metrics": {"train": {}, "val": {}, "test": {}}, "timing": {}}
    write(tmp_path / "a", 0, 0.8)
    write(tmp_path / "b", 1, 0.9)
    write(tmp_path / "c", 2, 0.0, **nothing, status="failed")
    write(tmp_path / "d", 3, 0.7, metrics={"train": {}, "val": {}, "test": {"accuracy": 0.7}}, timing={})
    (row,) = lines(tmp_path, "test/accuracy", "fit_seconds")
    cells = "0.8000 ± 0.1000 | 3.0000 ± 0.0000 (2 seeds)"
    assert row == f"| `method=stbp data=digits` | 0, 1, 3 | {cells} | completed, failed (seed 2) |"


def test_a_row_of_several_numbers_of_threads_says_so(tmp_path):
    write(tmp_path / "a", 0, 0.8, machine={"threads": 1})
    write(tmp_path / "b", 1, 0.9, machine={"threads": 2})
    write(tmp_path / "c", 2, 0.9, machine={"cores": 2})  # of before threads were recorded
    assert lines(tmp_path)[0].endswith("| completed, with 1 and 2 threads, whose last digits differ |")


def test_two_recipes_never_share_a_row_and_are_named_by_what_tells_them_apart(tmp_path):
    write(tmp_path / "a", 0, 0.8)
    write(tmp_path / "b", 0, 0.7, content=config(lr=0.01))  # the same words on the command line
    write(tmp_path / "c", 1, 0.6, content=config(1, lr=0.01, threshold=1.0))
    assert lines(tmp_path) == [
        "| `method=stbp data=digits method.optimizer.lr=0.001` | 0 | 0.8000 | completed |",
        "| `method=stbp data=digits method.optimizer.lr=0.01 method.threshold=0.5` | 0 | 0.7000 | completed |",
        "| `method=stbp data=digits method.threshold=1` | 1 | 0.6000 | completed |",
    ]


def test_other_data_under_the_same_recipe_is_another_row(tmp_path):
    write(tmp_path / "a", 0, 0.8)
    provenance = {"source": "bundled", "altered": False, "subset": False, "hash": "0123456789"}
    write(tmp_path / "b", 1, 0.6, provenance=provenance)
    assert lines(tmp_path) == [
        "| `method=stbp data=digits` (data bundled ) | 0 | 0.8000 | completed |",
        "| `method=stbp data=digits` (data 01234567) | 1 | 0.6000 | completed |",
    ]


def test_the_newest_run_of_a_seed_counts_and_the_row_says_so(tmp_path):
    write(tmp_path / "a", 0, 0.8, started="2026-11-22T10:00:00")
    write(tmp_path / "b", 0, 0.7, started="2026-11-21T10:00:00")
    write(tmp_path / "c", 1, 0.6)
    assert lines(tmp_path) == [
        "| `method=stbp data=digits` | 0, 1 | 0.7000 ± 0.1414 | completed, newest of 2 with seed 0 |"
    ]


def test_a_completed_run_never_gives_way_to_an_unfinished_one(tmp_path):
    write(tmp_path / "a", 0, 0.8)
    write(tmp_path / "b", 0, 0.1, status="interrupted", started="2026-11-25T10:00:00")
    assert lines(tmp_path) == ["| `method=stbp data=digits` | 0 | 0.8000 | completed, newest of 2 with seed 0 |"]
    write(tmp_path / "c", 0, 0.9, started="2026-11-21T10:00:00")
    assert "| 0.9000 |" in lines(tmp_path)[0]


def test_a_key_that_a_run_was_stored_without_counts_as_its_default(tmp_path):
    write(tmp_path / "a", 0, 0.8)
    write(tmp_path / "b", 1, 0.6, content={**config(1, threshold=0.5, rewiring=None), "kernels": "auto"})
    assert len(rows_of(read_runs([tmp_path]))) == 1


def told(*lefts, choices=()):
    runs = [{"method": "m", "data": "d", "config": left, **dict(choices)} for left in lefts]
    return [name.removeprefix("`method=m data=d").strip(" `") for name in names(list(zip(runs, lefts, strict=True)))]


def test_the_fewest_words_then_the_shortest_that_no_other_row_matches():
    """Two values of x, two of y: the corner (2, 2) needs one word only where no other row has it."""
    assert told({"x": 1, "why": 1}, {"x": 2, "why": 1}) == ["x=1", "x=2"]
    assert told({"x": 1, "y": 1}, {"x": 2, "y": 1}, {"x": 1, "y": 2}) == ["x=1 y=1", "x=2", "y=2"]
    assert told({"a": 1, "longer": 1}, {"a": 2, "longer": 2}) == ["a=1", "a=2"]
    assert told({"x": [1, 2], "y": None}, {"x": [1, 2], "y": True}, {"x": [], "y": 0.5}) == ["y=null", "y=true", "x=[]"]
    assert told({"x": 1}) == [""]


def test_more_keys_than_are_tried_together_still_tell_a_row_apart():
    base = dict.fromkeys("abcdef", 0)
    rows = [base, *({**base, key: 1} for key in base)]
    assert told(*rows) == ["a=0 b=0 c=0 d=0 e=0 f=0", *(f"{key}=1" for key in base)]


def test_parts_are_named_by_class_or_choice_and_defaults_are_written_out():
    node = {"_target_": "snnlab.methods.stbp.STBP"}
    cosine = {"_target_": "torch.optim.lr_scheduler.CosineAnnealingLR", "T_max": 2}
    with_it, without = {"method": {**node, "scheduler": cosine}}, {"method": node}
    assert told(with_it, without) == ["method.scheduler=CosineAnnealingLR", "method.scheduler=null"]
    assert told({"method": {**node, "decay": 0.9}}, without) == ["method.decay=0.9", "method.decay=0.2"]
    kaiming = {"method": node, "init": {"_target_": "snnlab.initializers.kaiming.Kaiming"}}
    assert told(kaiming, without) == ["init=kaiming", "init=default"]
    lenet = {"model": {"_target_": "snnlab.models.lenet.LeNet"}}
    assert told(lenet, {"model": {"_target_": "snnlab.models.mlp.MLP"}}) == ["model=lenet", "model=mlp"]
    assert flatten({"method": node}) == {"method._target_": "snnlab.methods.stbp.STBP"}


def test_a_number_that_follows_from_the_epochs_names_a_row_last():
    def left(epochs):
        return {"trainer": {"max_epochs": epochs}, "method": {"scheduler": {"_target_": "x.Y", "T": epochs}}}

    assert told(left(2), left(3)) == ["trainer.max_epochs=2", "trainer.max_epochs=3"]


def test_command(tmp_path, capsys):
    write(tmp_path / "a", 0, 0.8)
    assert main([str(tmp_path), "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert told == [{"run": "`method=stbp data=digits`", "seed": 0, "test/accuracy": 0.8}]
    assert main([str(tmp_path / "nowhere")]) == 2 and "holds no run.json" in capsys.readouterr().err
    assert main([]) == 2 and main(["--help"]) == 0 and "--page FILE" in capsys.readouterr().out
    assert main([str(tmp_path), "--check"]) == 2 and "--check needs a --page" in capsys.readouterr().err
    assert main([str(tmp_path), "--metrics=,"]) == 2 and "--metrics such as" in capsys.readouterr().err


def test_rows_beside_what_they_were_before(tmp_path):
    write(tmp_path / "old/a", 0, 0.8)
    write(tmp_path / "old/b", 1, 0.9)
    write(tmp_path / "new/a", 0, 0.7)
    write(tmp_path / "new/c", 0, 0.5, content=config(lr=0.1))
    assert table(["new", "--before", "."], tmp_path).splitlines() == [
        "| run | seeds | test/accuracy before | test/accuracy | status |",
        "| --- | --- | --- | --- | --- |",
        "| `method=stbp data=digits method.optimizer.lr=0.001` | 0 | 0.8500 ± 0.0707 (2 seeds) | 0.7000 | completed |",
        "| `method=stbp data=digits method.optimizer.lr=0.1` | 0 |  | 0.5000 | completed |",
    ]


PAGE = """# Title
words | with a bar

<!-- table: runs --metrics test/accuracy -->

| old |
| --- |

## Next
<!-- table: runs -->
end
"""


def test_a_page_is_made_again_in_place_and_checked(tmp_path, capsys):
    write(tmp_path / "runs/a", 0, 0.8)
    page = tmp_path / "page.md"
    page.write_text(PAGE)
    assert main(["--page", str(page), "--check"]) == 1
    assert "the table runs --metrics test/accuracy is not what its runs make" in capsys.readouterr().err
    assert page.read_text() == PAGE
    assert rewrite(page, table) == ["runs --metrics test/accuracy", "runs"]
    made = table(["runs"], tmp_path)
    assert page.read_text() == PAGE.replace("| old |\n| --- |\n", made).replace(
        "<!-- table: runs -->\n", f"<!-- table: runs -->\n\n{made}"
    )
    check(page, table)
    assert rewrite(page, table) == []
    page.write_text(page.read_text().replace("0.8000", "0.8001", 1))
    with pytest.raises(RunFailure, match="the table runs --metrics test/accuracy is not"):
        check(page, table)
    page.write_text("<!-- table: runs -->")  # at the very end, without a line break
    assert main(["--page", str(page), "--check"]) == 1
    page.write_text("nothing")
    with pytest.raises(InputError, match="holds no line <!-- table"):
        check(page, table)


def test_values_of_an_answer_side_by_side(tmp_path):
    (tmp_path / "e.json").write_text(
        json.dumps({"values": {"accuracy": 0.5, "accuracy_against": 0.25, "steps": 25, "rule": "x"}})
    )
    assert table(["--values", "e.json", "accuracy:accuracy_against", "steps"], tmp_path).splitlines()[2:] == [
        "| accuracy, accuracy_against | 0.5000 | 0.2500 |",
        "| steps | 25 |  |",
    ]
    with pytest.raises(InputError, match="holds no number step; nearest: steps"):
        table(["--values", "e.json", "step"], tmp_path)
    with pytest.raises(InputError, match="is no answer of python"):
        table(["--values", "none.json"], tmp_path)


def test_another_schema_is_refused(tmp_path):
    write(tmp_path / "a", 0, 0.8, schema=99)
    with pytest.raises(InputError, match="schema = 99, this snnlab reads 1"):
        read_runs([tmp_path])


@pytest.mark.parametrize("text", ["[]", "null", '{"schema": 1}', '{"schema": 1, "config": []}', '{"schema": "x"}', "{"])
def test_a_broken_record_is_one_line(tmp_path, capsys, text):
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "run.json").write_text(text)
    assert main([str(tmp_path)]) == 2
    error = capsys.readouterr().err
    assert len(error.strip().splitlines()) == 1 and "run.json" in error


def test_a_broken_record_stops_no_other_run_and_its_escape_codes_are_not_printed(tmp_path, capsys):
    write(tmp_path / "a", 0, 0.8, label="\x1b[31mred")
    write(tmp_path / "b", 1, "text")
    write(tmp_path / "c\x1b[2J", 2, [1])
    (tmp_path / "d").mkdir()
    (tmp_path / "d/run.json").write_text("[" * 100_000)
    assert main([str(tmp_path)]) == 0
    table, told = capsys.readouterr()
    assert "0.8000" in table and r"\x1b[31mred" in table and "\x1b" not in table + told
    left = told.strip().splitlines()
    assert len(left) == 3 and all(line.startswith("left out: ") for line in left)
    assert "metrics.test.accuracy = 'text' must be a number" in left[0] and "nested too deeply" in told
