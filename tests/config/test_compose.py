"""What is composed from a copy of the same choices is what Hydra composes; hundreds of jobs are composed in seconds."""

import itertools

import pytest

from snnlab.config import compose as room
from snnlab.config.paths import conf_dir
from snnlab.errors import InputError

METHODS = sorted(path.stem for path in (conf_dir() / "method").glob("*.yaml"))
EXPERIMENTS = sorted(path.stem for path in (conf_dir() / "experiment").glob("*.yaml"))
LINES = [
    *([f"method={method}", "data=digits"] for method in METHODS),
    *([f"experiment={name}"] for name in EXPERIMENTS[::4]),
    ["experiment=vdsp_mnist", "method.lr=0.01", "seed=4"],
    ["method=stbp", "data=mnist", "model=small_conv", "data.sequence=rows"],
    ["method=stbp", "data=digits", "model.hidden=[10,20]", "method.optimizer.lr=1e-3", "method.threshold='0.5'"],
    ["method=stbp", "data=digits", "method.optimizer={_target_:torch.optim.Adam,_partial_:true,lr:0.01}"],
    ["method=stbp", "data=digits", "method.optimizer={_target_:torch.optim.Adam,_partial_:true}", "seed=1"],
    ["method=stbp", "data=digits", "method.neuron=alif", "method.neuron_options={beta:0.2}"],
    ["method=stbp", "data=digits", "hardware=loihi2", "hardware.weight_low=-8", "hardware.cores=3"],
    ["method=stbp", "data=digits", "++trainer.max_epochs=3", "paths.output='a b,{c}'"],
    ["method=stbp", "data=digits", "method=ottt", "+method.thresold=1"],
    ["method=stbp", "data=digits", "data.seed=${seed}", "seed=3", "method.scheduler=null"],
]
WRONG = [
    ["method=stbp", "model.hiden=[10]"],
    ["method=[stbp]"],
    ["method=stbq"],
    ["method=stbp", "trainer={max_steps:5}"],
    ["+method=stbp"],
    ["method=stbp", "+method.threshold=1"],
    ["method=stbp", "trainer=3"],
    ["method=stbp", "model=5"],
    ["method=stbp", "seed.a=3"],
    ["method=stbp", "data.seed=${sed}"],
    ["method=stbp", "experiment=nothing"],
]


def told(line):
    try:
        composition = room.compose(line)
    except InputError as error:
        return str(error)
    return composition.plain(), composition.choices, composition.recipe


@pytest.mark.parametrize("line", [*LINES, *WRONG], ids=" ".join)
def test_a_copy_of_the_choices_is_what_hydra_composes(line, monkeypatch):
    quick, again = told(line), told(line)
    with monkeypatch.context() as patch:
        patch.setattr(room, "_from_choices", lambda *_: None)
        assert quick == told(line) == again
    assert isinstance(quick, str) == (line in WRONG)


def test_hydra_composes_once_for_every_choice(monkeypatch):
    real, calls = room.hydra_compose, []

    def counted(*arguments, **options):
        calls.append(options)
        return real(*arguments, **options)

    monkeypatch.setattr(room, "hydra_compose", counted)
    monkeypatch.setattr(room, "CHOSEN", {})
    seeds, rates = range(20), ("1e-3", "2e-3", "3e-3")
    jobs = [
        ["method=stbp", "data=digits", f"seed={seed}", f"method.optimizer.lr={rate}"]
        for seed, rate in itertools.product(seeds, rates)
    ]
    made = room.compose_all(jobs)
    assert {(c.config.seed, c.config.data.seed) for c in made} == {(seed, seed) for seed in seeds}
    assert len(calls) == 2  # the choices that were typed, and those that the recipe takes beside them
