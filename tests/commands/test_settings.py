"""Every setting is honoured or refused: ranges, keys that nobody reads, parts of the wrong kind."""

from __future__ import annotations

import copy
import functools
import re

import pytest
from omegaconf import DictConfig, OmegaConf

from snnlab.config.build import build
from snnlab.config.compose import compose
from snnlab.config.line import PARSER, expand_sweeps
from snnlab.errors import InputError

BASE = ["method=stbp", "data=digits", "model.hidden=[4]"]


@functools.cache
def shared(choices: tuple[str, ...]) -> DictConfig:
    return compose(choices).config


def composed(base: list[str], overrides: list[str]) -> DictConfig:
    """The config; one composition is shared by all values that only ``build`` can refuse."""
    values = [word for word in overrides if re.fullmatch(r"[a-z]+(\.\w+)+=[^{$?]*", word)]
    if not values:
        return compose([*base, *overrides]).config
    config = copy.deepcopy(shared((*base, *(word for word in overrides if word not in values))))
    for word in values:
        OmegaConf.update(config, word.split("=")[0], PARSER.parse_override(word).value(), merge=False)
    return config


@pytest.mark.parametrize(
    ("overrides", "words"),
    [
        (["+callbacks.early_stop={_target_:x}"], "callbacks.early_stop: there is no such key"),
        (["callbacks.early_stopping={_target_:x}"], "callbacks.early_stopping = "),
        (["+logger.foo=1"], "logger.foo: there is no such key; nearest: "),
        (["+paths.logs=x"], "paths.logs: there is no such key; nearest: "),
        (["+foo=1"], "foo: there is no such key; nearest: "),
        (["+method.decya=1"], "method.decya: there is no such key; nearest: decay"),
        (["+ckpt_path=x"], "ckpt_path: there is no such key; nearest: resume=x"),
        (["+trainer.callbacks=[]"], "trainer.callbacks: there is no such key; runs have callbacks=..."),
        (["model.hidden=[]", "model.dropout=1.5"], "MLP: dropout = 1.5 must lie in [0, 1)"),
        (["debug=1e300"], "debug = 1e+300 must be true or false"),
        (["trainer.detect_anomaly=nan"], "trainer.detect_anomaly = nan must be true or false"),
        (["seed=1e20"], "seed = 1e+20 must be a whole number"),
        (["method.optimizer.lr=text"], "method.optimizer.lr = 'text' must be a number"),
        (["method.neuron_options=text"], "method.neuron_options = 'text' must be a mapping {key: value} or null"),
        (
            ["method.neuron_options=[1]"],
            "method.neuron_options = [1] must be a mapping {key: value} or null",
        ),
        (["data.sequence=${nothing}"], "data.sequence=${nothing}: Interpolation key 'nothing' not found"),
        (["callbacks=${nothing}"], "callbacks=${nothing}: a choice is a name; it cannot refer to something else"),
        (["data.root=${data.root}"], "data.root=${data.root}: Recursive interpolation detected"),
        (["+encoder=none"], "+encoder: one is chosen already; write it without the plus sign"),
        (["method.bias = true"], "cannot be read as key=value: a space stands before the ="),
        (["data"], "'data' cannot be read as key=value: it has no ="),
        (["/data._target_=x"], "'/data._target_=x' cannot be read as key=value: extraneous input '/'"),
        (
            ["data.augmentation={_target_:math.sqrt,_partial_:true}"],
            "data.augmentation._target_ = math.sqrt is of another kind: ImageAugmentation belongs there",
        ),
        (
            ["data.augmentation={_target_:builtins.print}"],
            "data.augmentation._target_ = builtins.print is of another kind: ImageAugmentation belongs there",
        ),
        (["hardware.name=loihi"], "hardware.name = loihi: choose one of none"),
        (["hardware={_target_:torch.nn.Dropout}"], "hardware._target_ = torch.nn.Dropout is of another kind: Target"),
        (["callbacks={_target_:torch.nn,_partial_:true}"], "callbacks._target_: there is no such key"),
        (["paths.output="], "paths.output = '' must be text that is not empty"),
        (["trainer.gradient_clip_val=-1"], "trainer.gradient_clip_val = -1 must be positive"),
        (["trainer.gradient_clip_val=0"], "trainer.gradient_clip_val = 0 must be positive; null does not clip"),
        (["trainer.gradient_clip_algorithm=norm"], "clips nothing without trainer.gradient_clip_val=1"),
        (["trainer.min_epochs=2"], "trainer.min_epochs = 2 has no effect: only trainer.max_time ends a run early"),
        (["trainer.limit_predict_batches=3"], "trainer.limit_predict_batches = 3 is not for a recorded run"),
        (["trainer.strategy=fsdp"], "trainer.strategy = fsdp is not for a recorded run: ddp shares each batch"),
        (["trainer.sync_batchnorm=true"], "trainer.sync_batchnorm = True is not for a recorded run"),
        (["trainer.check_val_every_n_epoch=1000"], "trainer.check_val_every_n_epoch = 1000 must lie in 1 to"),
        (["trainer.num_sanity_val_steps=-5"], "trainer.num_sanity_val_steps = -5 must be at least -1"),
        (["trainer.limit_train_batches=0.0001"], "trainer.limit_train_batches = 0.0001 of 26 batches leaves none"),
        (["trainer.limit_test_batches=1.5"], "trainer.limit_test_batches = 1.5 must be a share up to 1.0"),
        (["trainer.limit_train_batches={_target_:os}"], "must be a whole number or a number or null"),
        (["method.scheduler.T_max=-5"], "method.scheduler.T_max = -5 must be at least 1"),
        (["method.scheduler.T_max=0"], "method.scheduler.T_max = 0 must be at least 1"),
        (["+method.scheduler.eta_min=-1"], "method.scheduler.eta_min = -1 must be 0 or more"),
        (["method.scheduler._partial_=3"], "method.scheduler._partial_ = 3 must be true or false"),
        (["+method.optimizer.maximize=true"], "method.optimizer.maximize = True must be false"),
        (["+method.optimizer.betas=[0.9,1.5]"], "method.optimizer: Invalid beta parameter"),
        (["method.optimizer.lr=0"], "method.optimizer.lr = 0 must lie in (0, 10000]"),
        (["method.optimizer.lr=1e300"], "method.optimizer.lr = 1e+300 must be 0 or lie within 1e-45 to 1e+08"),
        (["method.optimizer.lr=nan"], "method.optimizer.lr = nan must be a finite number"),
        (["method.threshold=1000000000"], "method.threshold = 1000000000.0 must be 0 or lie within"),
        (["method.readout_decay=2.5"], "method.readout_decay = 2.5 must lie in [0, 1]"),
        (["method.neuron_options={x:nan}"], "method.neuron_options = nan must be a finite number"),
        (["method.neuron=cuba_lif", "method.neuron_options={tau_syn:null}"], "tau_syn = None must be float"),
        (["method.neuron=snnlab.neurons.lif.LIFF"], "snnlab.neurons.lif has no such class; nearest: LIF"),
        (["method=spike_bp", "method.pool_threshold=-1"], "pool_threshold = -1 must be positive"),
        (["method=fptt", "model=recurrent_mlp", "method.decay=2.0"], "method.decay = 2.0 must lie in [0, 1]"),
        (["method=vdsp", "method.x_n=2.0"], "method.x_n = 2.0 must lie in [0, 1)"),
        (["method=ssnn_bp", "method.scheduler.total_iters=-1"], "method.scheduler.total_iters = -1 must be at least 1"),
        (["init=kaiming", "init.gain=1e6"], "starts at values up to"),
        (["data.seed=-1"], "data.seed = -1 must be 0 or more"),
        (["data.batch_size=1000000000"], "data.batch_size = 1000000000 must be at most 1,000,000"),
        (["encoder.time_steps=1000000000000"], "time_steps = 1000000000000 must be at most 1,000,000"),
        (["encoder.time_steps=100000000000000000000"], "must lie within 64 bits"),
        (
            ["data.batch_size=1000", "encoder.time_steps=1000000"],
            "a batch of T = 1,000,000 steps and B = 1,000 samples",
        ),
        (["model.hidden=[1000000000000]"], "the network needs 238,418.6 GiB at once for weights"),
        (["model.dropout=2"], "MLP: dropout = 2 must lie in [0, 1)"),
        (["model=vgg9", "model.channels=[64,P,P,P,P]"], "model: "),
        (["init._target_=torch.optim.SGD"], "init._target_ = torch.optim.SGD is of another kind"),
        (["init._target_=builtins.print"], "makes a NoneType, and something to be called with 2 things is needed"),
        (["model._target_=torch.nn"], "model._target_ = torch.nn is no class or function"),
        (
            ["model={_target_:torch.nn.Dropout,_partial_:true}"],
            "model._partial_ = True: model is made at once",
        ),
        (["data._target_=builtins.dict"], "data._target_ = builtins.dict is no class or function"),
        (["method._target_=torch.nn.Linear"], "is of another kind: Method belongs there"),
        (["encoder._target_=torch.nn.Dropout"], "is of another kind: Encoder belongs there"),
        (["method.optimizer={_target_:torch.optim.Adam}"], "Optimizer with _partial_: true belongs there"),
        (["method.optimizer._target_=torch.nn.Linear"], "Optimizer with _partial_: true belongs there"),
        (["method.neuron_options={_target_:a.b}"], "method.neuron_options._target_: there is no such key"),
        (["+method.optimizer._args_=[1]"], "method.optimizer._args_: there is no such key"),
        (["trainer.precision=${trainer.precision}"], "trainer.precision: Recursive interpolation detected"),
        (["method.threshold=???"], "method.threshold = ??? is still to be given a value"),
        (["seed=0,1"], "several values are a sweep, and -m runs one: python -m snnlab -m"),
        (["method=glob(*)"], "several values are a sweep"),
        (["callbacks@x=none"], "a part cannot be moved to another place"),
    ],
)
def test_nonsense_is_refused_in_one_line_before_data_is_read(overrides, words):
    keys = {override.split("=")[0] for override in overrides}
    base = [word for word in BASE if word.split("=")[0] not in keys]
    if "model" in keys or "method" in keys:
        base = [word for word in base if not word.startswith("model.")]
    if "init" in keys:
        overrides = [o for o in overrides if o.startswith("init=")] + [
            o for o in overrides if not o.startswith("init=")
        ]
    with pytest.raises(InputError) as refusal:
        build(composed(base, overrides))
    assert words in str(refusal.value) and "\n" not in str(refusal.value)


@pytest.mark.parametrize(
    ("word", "key"),
    [
        ("lr=0.1", "method.optimizer.lr=0.1"),
        ("learning_rate=0.1", "method.optimizer.lr=0.1"),
        ("T=10", "encoder.time_steps=10"),
        ("timesteps=10", "encoder.time_steps=10"),
        ("epochs=3", "trainer.max_epochs=3"),
        ("batch_size=8", "data.batch_size=8"),
        ("optimizer=adam", "method.optimizer='{_target_:torch.optim.Adam,_partial_:true,lr:0.001}'"),
        ("device=cuda:0", "trainer.accelerator=gpu"),
        ("gpus=1", "trainer.devices=1"),
        ("dataset=mnist", "data=mnist"),
        ("net=lenet", "model=lenet"),
        ("workers=2", "data.num_workers=2"),
        ("augment=true", "data.augmentation=true"),
        ("tau=2", "method.decay, the share that is kept per step: exp(-time_step / tau)"),
        ("method.lr=0.1", "method.optimizer.lr"),
        ("trainer.lr=0.1", "method.optimizer.lr"),
    ],
)
def test_a_word_of_the_field_is_answered_with_the_key(word, key):
    with pytest.raises(InputError) as refusal:
        compose(["method=stbp", "data=digits", word])
    assert str(refusal.value) == f"{word.split('=')[0]}: there is no such key; nearest: {key}"


def test_the_key_is_that_of_the_chosen_parts():
    for method, data, word, key in (
        ("vdsp", "digits", "lr=1", "method.lr=1"),
        ("vdib", "digits", "lr=1", "method.readout_optimizer.lr=1"),
        ("stbp", "mnist_dvs", "T=9", "data.time_steps=9"),
    ):
        with pytest.raises(InputError, match=f"nearest: {key}$"):
            compose([f"method={method}", f"data={data}", word])


def test_a_sweep_takes_choices_by_pattern_and_refuses_what_has_no_end():
    assert expand_sweeps(["method=glob(st*)", "seed=0"]) == [["method=stbp", "seed=0"]]
    assert expand_sweeps(["paths.output=a,b", "seed=0,1"]) == [["paths.output=a,b", f"seed={s}"] for s in (0, 1)]
    for line, words in (
        ("method.threshold=interval(1e-4,1e-1)", "an interval has no end of values"),
        ("seed=range(0,1000000000)", "a sweep of more than 10,000 jobs"),
        ("model=glob(x*)", "no choice of model is like that"),
    ):
        with pytest.raises(InputError, match=words):
            expand_sweeps([line])


def test_a_precision_that_lightning_would_replace_is_refused(run_command):
    """On a CPU it takes bf16-mixed in place of 16-mixed, and the record would name what never was."""
    for words in (["trainer.precision=16-mixed"], ["trainer.precision=16-mixed", "dry_run=true"]):
        code, _, error = run_command(*BASE, *words, "trainer.accelerator=cpu")
        assert (
            code == 2
            and error
            == "snnlab: trainer.precision = 16-mixed needs a GPU, and this run is on the CPU; use bf16-mixed\n"
        )


def test_a_profiler_leaves_its_report_in_the_folder(run_command, tmp_path):
    few = [f"trainer.limit_{split}_batches=1" for split in ("train", "val", "test")]
    quiet = ["logger=none", "callbacks.figures=false", "trainer.max_epochs=1"]
    code, _, error = run_command(*BASE, *few, *quiet, "trainer.profiler=simple")
    assert code == 0, error
    assert "run_training_batch" in next(tmp_path.glob("outputs/*/fit-profile.txt")).read_text()
