"""The benchmark command on tiny sizes: tables, records and pictures come out, bad input does not get far."""

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest

from snnlab.bench.__main__ import choose, help_text, main
from snnlab.bench.workloads.workload import outlines

TINY = {
    "active_set": ["layers=[20x8,8x8]", "batch=[4,4]", "spikes=[5,10]", "percent=[50,20]", "time_steps=10"],
    "binning": ["events=[200]", "total=400", "time_steps=4"],
    "conv": ["channels=[2,3]", "hidden=4", "side=8", "batch=2", "time_steps=3"],
    "exact_times": ["batches=[1,3]", "inputs=20", "hidden=8", "steps=10"],
    "generic": ["neurons=[LIF,FilteredLIF,CompositeNeuron,Adaptive]", "units=8", "batch=2", "time_steps=5"],
    "levels": ["units=8", "batch=2", "time_steps=5"],
    "linear_lif": ["units=[8,16]", "batch=2", "time_steps=5"],
    "memory": ["hidden=[8]", "batch=2", "time_steps=4", "steps=[2,4,8]", "resident=false"],
    "mlp": ["hidden=[8]", "batch=2", "time_steps=3"],
    "recurrent": ["units=[8]", "time_steps=[4]", "batch=2"],
    "sparse_linear": ["layers=[300x40]", "percent=[5,20]", "rows=50"],
    "vgg9": ["width=0.02", "side=8", "batch=2", "time_steps=2"],
    "methods": ["methods=[ann,conversion]", "hidden=[8]", "batch=50", "time_steps=3", "steps=1"],
    "overhead": ["run=method=stbp data=digits model.hidden=[8] encoder.time_steps=2", "batches=3", "wandb=false"],
    "loader": ["runs=['method=stbp data=digits model.hidden=[8] encoder.time_steps=2']", "batches=3"],
}


@pytest.fixture
def bench(monkeypatch, tmp_path, capsys):
    """Run the command in an empty folder: exit code, stdout, stderr, and the record of the workload, if any."""
    monkeypatch.chdir(tmp_path)

    def run(*arguments: str) -> tuple[int, str, str, dict | None]:
        code = main([*arguments])
        captured = capsys.readouterr()
        found = sorted(tmp_path.glob("benchmarks/results/*/result.json"))
        return code, captured.out, captured.err, json.loads(found[-1].read_text()) if found else None

    return run


@pytest.mark.parametrize("workload", TINY)
def test_every_workload_writes_a_table_a_record_and_a_picture(workload, bench, tmp_path):
    code, out, _, record = bench(workload, *TINY[workload], "rounds=2", "threads=1", "peers=none", "seconds=20")
    assert code == 0 and record is not None and record["workload"] == workload
    (folder,) = (tmp_path / "benchmarks/results").iterdir()
    assert re.fullmatch(rf"\d{{4}}-\d\d-\d\d_{workload}", folder.name)
    assert (folder / f"{workload}.png").stat().st_size > 1000
    assert record["machine"]["threads"] == 1 and record["machine"]["cpu"] and len(record["machine"]["load_before"]) == 3
    assert record["versions"]["torch"].startswith("2.") and "commit" in record["git"]
    assert str(tmp_path) not in (folder / "result.json").read_text()
    for case in record["cases"]:
        assert case["name"] in out and case["reference"] in case["rounds"]
        assert all(len(rounds) in (1, 2) and min(rounds) > 0 for rounds in case["rounds"].values())
        assert case["ratios"][case["reference"]]["median"] == 1


def test_memory_is_drawn_against_t_and_the_floor_holds_the_input(bench, tmp_path):
    _, _, _, record = bench("memory", *TINY["memory"], "rounds=1", "threads=1", "peers=none")
    values = record["values"]
    assert values["steps"] == [2, 4, 8] and list(tmp_path.glob("benchmarks/results/*/memory_over_time.png"))
    floor, ours = values["live_bytes"]["floor"], values["live_bytes"]["snnlab"]
    frame = 2 * 784 * 4
    assert floor[2] - floor[1] >= 4 * frame and ours[2] > ours[1] > ours[0]
    assert values["bytes_per_step"]["floor"] == pytest.approx((floor[2] - floor[0]) / 6)


def test_generic_tells_of_neurons_without_a_gradient_and_of_equal_numbers(bench):
    _, _, _, record = bench("generic", *TINY["generic"], "rounds=1", "threads=1")
    notes = {case["name"].split(",")[0]: case["notes"]["forward"] for case in record["cases"]}
    assert "spikes equal, gradients equal" in notes["LIF"] and "spikes equal" in notes["Adaptive"]
    assert "spikes equal, spikes carry no gradient, forward only" in notes["CompositeNeuron"]


def test_stbp_comes_first_and_data_that_is_missing_is_skipped_by_name(bench, empty_data, monkeypatch):
    options = ["hidden=[8]", "batch=50", "time_steps=3", "steps=1", "rounds=1", "threads=1"]
    _, out, _, record = bench("methods", "methods=[ann]", *options)
    assert list(record["cases"][0]["rounds"]) == ["stbp", "ann"]
    assert "most in " in record["cases"][0]["notes"]["stbp"]
    code, out, _, _ = bench("loader", "runs=[method=stbp data=nmnist]", "rounds=1", "threads=1")
    assert code == 0 and "method=stbp data=nmnist: skipped, " in out and "nothing could be measured here" in out


def test_start_up_counts_whole_processes(bench):
    options = ["processes=[help]", "rounds=1", "threads=1", "seconds=100"]
    code, _, _, record = bench("start_up", *options)
    assert code == 0 and {case["name"] for case in record["cases"]} == {
        "wall time of processes",
        "processor time of processes",
    }
    assert set(record["cases"][0]["rounds"]) == {"torch", "help"}


def test_the_same_workload_twice_on_a_day_gets_two_folders(bench, tmp_path):
    for _ in range(2):
        bench("mlp", *TINY["mlp"], "rounds=1", "threads=1", "peers=none", "output=out")
    names = sorted(path.name for path in (tmp_path / "out").iterdir())
    assert len(names) == 2 and names[1] == f"{names[0]}_2"


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["mpl"], "'mpl' is no workload; nearest: mlp"),
        (["mlp", "round=3"], "round: there is no such key of mlp; nearest: rounds"),
        (["mlp", "units=[8]"], "units: there is no such key of mlp; nearest: "),
        (["mlp", "rounds=0"], "rounds = 0 must be at least 1"),
        (["mlp", "rounds=few"], "bench.rounds = 'few' must be a whole number"),
        (["mlp", "threads=-1"], "threads = -1 must be at least 1"),
        (["mlp", "seconds=0"], "seconds = 0 must be positive"),
        (["mlp", "seed=-1"], "seed = -1 must lie in 0 to 4294967295"),
        (["mlp", "batch=many"], "mlp.batch = 'many' must be a whole number"),
        (["mlp", "hidden=[a]"], "mlp.hidden = ['a'] must be a list of whole numbers"),
        (["mlp", "hidden=[0]", "rounds=1"], "mlp.hidden = [0] must be above 0; [800] is the default"),
        (["mlp", "batch=0", "rounds=1"], "mlp.batch = 0 must be above 0; 100 is the default"),
        (["linear_lif", "units=[]"], "linear_lif.units = [] leaves nothing to measure"),
        (["conv", "side=2", "rounds=1"], "SmallConv: input [2, 2, 2] is too small"),
        (["loader", "runs=[method=stpb]", "rounds=1"], "method=stpb: there is no such method; nearest: stbp"),
        (["overhead", "run=method=vdib data=drifting_blobs"], "takes its own steps"),
        (["mlp", "peers=nrose"], "peers = nrose is no peer; nearest: norse"),
        (["mlp", "output=file/below"], "output = file/below cannot be written"),
        (["generic", "neurons=[LIFF]"], "generic: neurons = LIFF is unknown; nearest: LIF"),
        (["methods", "methods=[stpb]"], "methods = stpb: there is no such method; nearest: stbp"),
        (["mlp", "--quick"], "--quick: there is no such flag"),
    ],
)
def test_bad_input_is_one_line_and_exit_code_2(arguments, words, bench):
    Path("file").write_text("")
    code, _, error, record = bench(*arguments, *([] if "threads" in str(arguments) else ["threads=1"]))
    assert code == 2 and error.startswith("snnlab.bench: ") and error.count("\n") == 1
    assert words in error and record is None


def test_a_key_goes_to_the_workloads_that_have_it(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    names, settings, options = choose(["mlp", "linear_lif"], ["units=[8]", "batch=4", "threads=1"])
    assert names == ["mlp", "linear_lif"] and settings.threads == 1
    assert options == {"mlp": {"batch": 4}, "linear_lif": {"units": [8], "batch": 4}}
    assert choose([], [])[0] == list(outlines())


def test_help_names_every_workload_and_imports_no_torch():
    code = "import sys; from snnlab.bench.__main__ import help_text; help_text(); sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
    text = help_text()
    assert set(TINY) | {"start_up"} == set(outlines()) and all(f"  {name}" in text for name in outlines())
    assert max(map(len, text.splitlines())) <= 140
