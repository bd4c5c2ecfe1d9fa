"""A space is read, fitted to a config, and refused in one line where it makes no sense."""

from __future__ import annotations

from pathlib import Path

import pytest

from snnlab.config.compose import compose
from snnlab.config.space import Parameter, Space, as_experiment, names, settled, space_of
from snnlab.errors import InputError
from snnlab.runs.identity import identity

LINE = ["method=stbp", "data=digits"]
FAMILIES = {  # of each space that ships, methods that it is for
    "lr": ("ssnn_bp", "vdib", "vdsp", "pal"),
    "neuron": ("stbp",),
    "surrogate_gradient": ("bntt", "spike_bp"),
    "online": ("ottt", "fptt", "vdib"),
    "local": ("blitnet", "vdsp", "ssnn_bp", "biolcnet", "desire_bp"),
    "rates": ("burstccn",),
    "spike_times": ("multispike_fast_deep", "eventprop", "multispike_timing"),
    "conversion": ("conversion",),
    "energy": ("stbp",),
}


def space(*varied: str, fixed: list[str] | None = None, chosen: tuple[str, ...] = ()) -> Space:
    return settled(space_of(chosen, varied, None, ["objective"]), LINE if fixed is None else fixed, None)


def only(*varied: str) -> Parameter:
    (parameter,) = space(*varied).parameters
    return parameter


@pytest.mark.parametrize(("name", "method"), [(name, method) for name in FAMILIES for method in FAMILIES[name]])
def test_every_space_that_ships_fits_the_methods_that_it_is_for(name: str, method: str) -> None:
    found = space(fixed=[f"method={method}", "data=digits"], chosen=(name,))
    assert found.first()
    assert all(p.values.choices or 0 <= p.values.low < p.values.high for p in found.parameters)


def test_every_space_is_tried() -> None:
    assert set(names(None)) == set(FAMILIES)


@pytest.mark.parametrize(
    ("text", "values"),
    [
        ("method.decay=interval(0.1, 0.9)", (0.1, 0.9, None, False, False)),
        ("method.optimizer.lr=tag(log, interval(1e-4,1e-1))", (1e-4, 0.1, None, True, False)),
        ("encoder.time_steps=int(interval(2, 16))", (2, 16, None, False, True)),
        ("encoder.time_steps=tag(log, int(interval(2, 16)))", (2, 16, None, True, True)),
        ("encoder.time_steps=range(2, 10, 3)", (2, 8, 3, False, True)),
        ("method.decay=range(0.1, 0.75, 0.3)", (0.1, 0.7, 0.3, False, False)),
        ("method.optimizer.lr=tag(log, times, interval(0.1, 10))", (1e-4, 1e-2, None, True, False)),
        ("encoder.time_steps=tag(times, interval(0.5, 2))", (5, 20, None, False, True)),
    ],
)
def test_numbers_are_read(text: str, values: tuple[float, float, float | None, bool, bool]) -> None:
    found = only(text).values
    low, high, step, log, whole = values
    assert (found.low, found.high) == (pytest.approx(low), pytest.approx(high))
    assert (found.step, found.log, found.whole, found.times) == (step, log, whole, False)


@pytest.mark.parametrize(
    ("text", "choices"),
    [
        ("method.surrogate=choice(triangle, sigmoid)", ("triangle", "sigmoid")),
        ("method.surrogate=triangle,sigmoid", ("triangle", "sigmoid")),
        ("model.hidden=[8],[8,4]", ("[8]", "[8,4]")),
        ("method.width=choice(null,1.0)", ("null", "1.0")),
        ("encoder=glob([d*,r*])", ("direct", "rate")),
        (
            "method.optimizer={_target_:torch.optim.SGD,_partial_:true,lr:1},{_target_:torch.optim.Adam,_partial_:true}",
            None,
        ),
    ],
)
def test_choices_are_read_and_compose(text: str, choices: tuple[str, ...] | None) -> None:
    found = only(text)
    assert choices is None or found.values.choices == choices
    compose([*LINE, f"{found.key}={found.values.choices[-1]}"])


def test_a_key_beside_a_choice_varies_there_alone(tmp_path: Path) -> None:
    (tmp_path / "search").mkdir()
    (tmp_path / "search" / "mine.yaml").write_text(
        "space:\n  method.surrogate: [triangle, sigmoid, atan]\n  method.decay: interval(0, 1)\n"
        "when:\n  method.surrogate=triangle:\n    method.width: interval(1, 2)\nobjective: loss\n"
    )
    found = settled(space_of(["mine"], [], tmp_path, ["objective"]), LINE, tmp_path)
    assert [p.name for p in found.parameters] == ["method.surrogate", "method.decay", "method.width (triangle)"]
    assert found.settings == {"objective": "loss"}
    assert found.parameters[2].holds({"method.surrogate": "triangle"})
    assert not found.parameters[2].holds({"method.surrogate": "atan"})
    line = settled(space_of(["mine"], ["method.surrogate=triangle,atan"], tmp_path, ["objective"]), LINE, tmp_path)
    assert [p.key for p in line.parameters] == ["method.decay", "method.surrogate", "method.width"]
    typed = settled(space_of(["mine"], [], tmp_path, ["objective"]), [*LINE, "method.surrogate=atan"], tmp_path)
    assert [p.key for p in typed.parameters] == ["method.decay"]
    typed = settled(space_of(["mine"], [], tmp_path, ["objective"]), [*LINE, "method.surrogate=triangle"], tmp_path)
    assert [p.key for p in typed.parameters] == ["method.decay", "method.width"]


def test_a_grid_goes_over_every_point(tmp_path: Path) -> None:
    found = space("method.surrogate=triangle,sigmoid", "encoder.time_steps=range(2,9,3)", "model.hidden=[4],[8]")
    assert len(found.grid()) == 2 * 3 * 2 and len({str(point) for point in found.grid()}) == 12
    with pytest.raises(InputError, match=r"sampler=grid: method.decay=interval\(0,1\) has no end of values"):
        space("method.surrogate=triangle,sigmoid", "method.decay=interval(0,1)").grid()
    with pytest.raises(InputError, match="more than 10,000 points; use sampler=tpe"):
        space("encoder.time_steps=range(1,200)", "data.batch_size=range(1,200)").grid()


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("method.decya=interval(0,1)", "method.decya: there is no such key; nearest: method.decay"),
        ("lr=interval(0,1)", "lr: there is no such key; nearest: method.optimizer.lr"),
        ("method.decay=interval(1,0)", "1.0 must be less than 0.0"),
        ("method.decay=interval(1,1)", "must be less than"),
        ("method.optimizer.lr=tag(log, interval(0,1))", "log takes an interval that begins above 0"),
        ("method.decay=tag(lgo, interval(0,1))", "there is no tag lgo; there are log and times"),
        ("method.reset=choice(hard)", "a choice needs two values at least"),
        ("method.reset=hard,hard", "a choice needs two values at least"),
        ("method.reset=tag(log, choice(hard, soft))", "log is for numbers"),
        ("encoder.time_steps=range(9,2)", "a range has 2 to 10,000 values, the smallest first"),
        ("encoder.time_steps=tag(log, range(1,9))", "log takes an interval"),
        ("method.surrogate=tag(times, interval(1,2))", "is 'rectangle', and times needs a number above 0"),
    ],
)
def test_what_makes_no_sense_is_one_line(text: str, words: str) -> None:
    with pytest.raises(InputError, match=words) as refusal:
        space(text)
    assert "\n" not in str(refusal.value)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("space:\n  method.decay: 0.5\n", "mine.yaml: method.decay=0.5 is one value; a space has several"),
        ("space: 3\n", "space = 3 must be a mapping"),
        ("spcae: {}\n", "spcae: there is no such key; nearest: space"),
        ("when:\n  method.reset=hard: 3\n", "must be a mapping"),
        ("space:\n  method.decay: interval(0,1)\nwhen:\n  method.reset=hard:\n    method.width: interval(1,2)\n",
         "when method.reset=hard: the space has no such choice"),
        ("optional:\n  method.nothing: interval(0,1)\n", "there is nothing to search for"),
        ("space: [\n", "is no YAML"),
    ],
)  # fmt: skip
def test_a_file_that_makes_no_sense_is_named(text: str, words: str, tmp_path: Path) -> None:
    (tmp_path / "search").mkdir()
    (tmp_path / "search" / "mine.yaml").write_text(text)
    with pytest.raises(InputError, match=words):
        settled(space_of(["mine"], [], tmp_path, ["objective"]), LINE, tmp_path)


@pytest.mark.parametrize(
    "line",
    [
        ["method=stbp", "data=digits", "method.optimizer.lr=0.01", "model.hidden=[8,4]", "seed=3"],
        ["method=ottt", "data=digits", "model=recurrent_mlp", "encoder=rate", "encoder.time_steps=3"],
        ["method=stbp", "data=digits", "method.optimizer={_target_:torch.optim.SGD,_partial_:true,lr:0.1}"],
        ["method=stbp", "data=digits", "method.neuron=alif", "method.neuron_options={strength:1.5}"],
        ["method=stbp", "data=digits", "method.scheduler=null", "logger=[csv,wandb]", "hardware=int8"],
        ["experiment=ann_mnist", "data=digits", "method.optimizer.lr=0.01"],
        ["method=stbp", "data=digits", "hardware=int8", "hardware.weight_bits=6"],
    ],
)
def test_a_line_as_an_experiment_is_the_same_run(line: list[str], tmp_path: Path) -> None:
    (tmp_path / "experiment").mkdir()
    (tmp_path / "experiment" / "best.yaml").write_text(as_experiment(line, ["a note"]))
    assert identity(compose(["experiment=best"], tmp_path).plain()) == identity(compose(line).plain())


def test_the_later_of_two_files_wins() -> None:
    """Both vary the threshold, each in its own range."""
    of = {name: space_of([name], [], None, ["objective"]) for name in ("energy", "neuron")}
    key = "method.threshold"
    texts = {name: [p.values.text for p in space.parameters if p.key == key] for name, space in of.items()}
    assert texts["energy"] != texts["neuron"]
    for order in (["energy", "neuron"], ["neuron", "energy"]):
        both = space_of(order, [], None, ["objective"])
        assert [p.values.text for p in both.parameters if p.key == key] == texts[order[-1]]
