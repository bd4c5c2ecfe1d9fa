"""The runs of the golden set: every method, each kind of data, every way in (train, sweep, resume, evaluate).

A case is a list of command lines. ``train`` is ``python -m snnlab``, ``evaluate RUN`` is ``python -m snnlab.evaluate``,
``interrupt EPOCH`` trains until a Ctrl-C in the second batch of that epoch; ``{0}`` is the folder of the case's first
run. Cases whose name begins with ``real_`` need real data (SNNLAB_DATA); all others see an empty data root.
"""

from __future__ import annotations

FEW = (
    "logger=none callbacks.progress=false callbacks.figures=false trainer.max_epochs=1 "
    "trainer.limit_train_batches=3 trainer.limit_val_batches=2 trainer.limit_test_batches=2"
)
FILMS = "data=mnist_dvs data.train_films=60 data.val_films=20 data.test_films=20 data.batch_size=10 data.time_steps=20"
BLOBS = "data=drifting_blobs data.train_sequences=128 data.val_sequences=32 data.test_sequences=32"
FIXED = (  # VDIB as its paper has it, which its recipes had until hidden layers learned; one draw a sample
    "method.draws=1 method.gain=one method.hidden_bias=0 method.surrogate=box method.readout_start=own "
    "method.feedback=dfa method.hidden_optimizer.lr=3e-5"
)
FIXED_FILMS = f"{FIXED} method.samples=8 method.prior=0.3 method.beta=0.01 method.learn=readout"
ADDING = "data=adding data.steps=20 data.train_sequences=256 data.val_sequences=64 data.test_sequences=64"
EGRU = (  # a mapping on its own: a word for ``_target_`` alone would be read into the default
    "data=digits data.sequence=rows method.neuron=egru model.hidden=[16] method.readout=trace method.readout_decay=0.9 "
    "method.score=last "
    "method.regularizer={_target_:snnlab.regularizers.activity.Activity,activity:0.1,voltage_strength:0.1}"
)
STORE = "data=store_recall data.train_sequences=128 data.val_sequences=32 data.test_sequences=32 data.batch_size=16"
RANDMAN = "data=randman data.samples=40 data.steps=50 data.batch_size=32"
SRESNET = "data=digits model=sresnet model.channels=4 model.n=1 encoder=direct encoder.time_steps=3 data.batch_size=8"


def train(*words: str) -> str:
    """A line that trains, with few batches; what comes later on the line wins."""
    given = " ".join(words).split()
    keys = {word.split("=")[0] for word in given}
    return " ".join(["train", *(w for w in FEW.split() if w.split("=")[0] not in keys), *given])


CASES: dict[str, list[str]] = {
    # every method on images, without data
    "stbp": [train("method=stbp data=digits trainer.max_epochs=2 trainer.limit_test_batches=null")],
    "stbp_step": [train("method=stbp data=digits kernels=step")],
    "stbp_half": [train("method=stbp data=digits kernels=half")],
    "stbp_conv": [train("method=stbp data=digits model=small_conv model.channels=[4,8] model.hidden=16")],
    "stbp_lenet_plif": [train("method=stbp data=digits model=lenet method.neuron=plif")],
    "stbp_sdbp": [train("method=stbp data=digits method.gradient=sdbp method.surrogate=gaussian")],
    "stbp_clipped": [
        train("method=stbp data=digits trainer.gradient_clip_val=0.1 trainer.accumulate_grad_batches=2 seed=5")
    ],
    "stbp_kaiming": [train("method=stbp data=digits init=kaiming")],
    "stbp_double": [train("method=stbp data=digits trainer.precision=64-true")],
    "bntt": [train("method=bntt data=digits trainer.max_epochs=2")],
    "bntt_resnet": [train("method=bntt data=digits model=resnet9 model.width=0.0625 data.batch_size=8")],
    "bntt_sresnet": [
        train("method=bntt", SRESNET, "model.boost=true"),
        train("method=bntt", SRESNET, "method.shift=true"),
    ],
    "stbp_sresnet": [
        train("method=stbp", SRESNET, "method.norm=bntt model.residual=iand"),
        train("method=stbp", SRESNET, "method.norm=shared model.residual=preactivation init=kaiming"),
    ],
    "ottt": [train("method=ottt data=digits trainer.max_epochs=2")],
    "ottt_online": [train("method=ottt data=digits method.update=online")],
    "ottt_bptt": [train("method=ottt data=digits method.gradient=bptt")],
    "ottt_step": [train("method=ottt data=digits kernels=step")],
    "ottt_recurrent": [train("method=ottt data=digits model=recurrent_mlp model.hidden=[32]")],
    "ottt_nf_resnet": [train("method=ottt data=digits model=nf_resnet34 model.width=0.0625 data.batch_size=4")],
    "spike_bp": [train("method=spike_bp data=digits trainer.max_epochs=2")],
    "spike_bp_lenet": [
        train("method=spike_bp data=digits model=lenet model.channels=[4,8] model.padding=same encoder.time_steps=10")
    ],
    "sparse_bp": [train("method=sparse_bp data=digits trainer.max_epochs=2")],
    "sparse_bp_dense_max": [
        train("method=sparse_bp data=digits method.backward=dense method.score=max init=fluctuation")
    ],
    "ssnn_bp": [train("method=ssnn_bp data=digits trainer.max_epochs=2")],
    "ssnn_bp_rounded": [train("method=ssnn_bp data=digits method.rounding=0.0078125 method.update_every=10")],
    "ssnn_bp_twin": [train("method=ssnn_bp data=digits method.gradient=backprop")],
    "ann": [train("method=ann data=digits trainer.max_epochs=2")],
    "conversion": [
        train("method=ann data=digits model.dropout=0 trainer.limit_train_batches=20"),
        train("method=conversion data=digits method.calibration=50"),
        train("method=conversion data=digits method.calibration=50 method.balance=activation"),
        "evaluate {1} comparison against={2}",
    ],
    "vdib": [train("method=vdib data=digits method.warmup=1 trainer.max_epochs=2", FIXED)],
    "vdib_twins": [
        train("method=vdib data=digits method.learn=frozen", FIXED),
        train("method=vdib data=digits method.decoder=rate", FIXED),
        train("method=vdib data=digits method.decoder=mlp method.gradient=straight_through", FIXED),
    ],
    "vdib_films": [train("method=vdib", FILMS, "model.hidden=[64] method.warmup=1 method.n_out=16", FIXED_FILMS)],
    "vdib_learned": [train("method=vdib data=digits method.warmup=1 trainer.max_epochs=2")],
    "vdib_learned_films": [train("method=vdib", FILMS, "model.hidden=[32,24] method.warmup=1 method.n_out=16")],
    "vdib_predictive": [
        train("method=vdib", BLOBS, "method.credit=window method.draws=1"),
        "evaluate {0} memory_over_time steps=[2,4]",
    ],
    "fptt": [train("method=fptt data=digits model.hidden=[16]")],
    "fptt_rows": [train("method=fptt data=digits data.sequence=rows model.hidden=[16]")],
    "fptt_adding": [train("method=fptt", ADDING, "model.hidden=[16]"), "evaluate {0} memory_over_time steps=[10,20]"],
    "fptt_bptt_alif": [train("method=fptt data=digits method.gradient=bptt method.neuron=alif model.hidden=[16]")],
    "egru": [train("method=stbp", EGRU), train("method=stbp", EGRU, "kernels=step")],
    "egru_paper": [train("method=stbp", EGRU, "method.neuron_options.form=paper")],
    "egru_fptt": [
        train("method=fptt data=digits data.sequence=rows method.neuron=egru method.readout=trace model.hidden=[16]")
    ],
    "multispike": [train("method=multispike_fast_deep data=digits model.hidden=[32] trainer.limit_train_batches=6")],
    "multispike_yin_yang": [train("method=multispike_fast_deep data=yin_yang trainer.limit_train_batches=10")],
    "eventprop": [
        train("method=eventprop data=digits model.hidden=[32] trainer.limit_train_batches=6 method.lbd_upper=0.01"),
        train(
            "method=eventprop data=digits model=recurrent_mlp model.hidden=[16] method.objective=sum_weigh_exp "
            "method.time_step=0.0005 trainer.limit_train_batches=4"
        ),
    ],
    "eventprop_yin_yang": [train("method=eventprop data=yin_yang model.hidden=[30] trainer.limit_train_batches=10")],
    "multispike_timing": [
        train("method=multispike_timing data=digits model.hidden=[16] trainer.limit_train_batches=6"),
    ],
    "multispike_timing_hard": [
        train("method=multispike_timing data=yin_yang method.reset=hard trainer.limit_train_batches=6"),
    ],
    "memprop": [train("method=memprop data=digits encoder.time_steps=20")],
    "memprop_sigmoid_plain": [
        train("method=memprop data=digits encoder.time_steps=20 method.code=sigmoid method.weights=plain kernels=step")
    ],
    "memprop_peak": [train("method=memprop data=digits encoder.time_steps=20 method.code=peak method.sub_steps=2")],
    "vdsp": [train("method=vdsp data=digits method.neurons=20 encoder.time_steps=20 method.label_samples=200")],
    "variational_spin": [
        train("method=variational_spin data=transverse_ising data.train_starts=300 method.samples=500"),
        train("method=variational_spin data=heisenberg method.sampler=exact"),
    ],
    "blitnet": [train("method=blitnet data=digits trainer.max_epochs=2")],
    "blitnet_code": [
        train("method=blitnet data=digits method.rule=code method.readout=forcing trainer.max_epochs=1"),
        train("method=blitnet", FILMS, "method.learn=thresholds model.hidden=[40,20] method.in_turn=true"),
    ],
    "biolcnet": [train("method=biolcnet data=digits model.hidden=[12] encoder.time_steps=60 method.stdp_samples=30")],
    "biolcnet_local": [
        train(
            "method=biolcnet data=digits model=local model.filters=6 model.kernel=4 model.stride=4 model.crop=0",
            "encoder.time_steps=60 method.stdp_samples=20 "
            "method.reward={_target_:snnlab.methods.biolcnet.reward.PredictionError}",
        )
    ],
    "desire_bp": [train("method=desire_bp data=digits model.hidden=[16,12] model.dropout=0.2")],
    "desire_bp_step": [
        train("method=desire_bp data=digits model=small_conv model.channels=[4] model.hidden=12 kernels=step")
    ],
    "vdsp_step": [
        train("method=vdsp data=digits method.neurons=10 encoder.time_steps=10 method.label_samples=100 kernels=step")
    ],
    "vdsp_films": [train("method=vdsp", FILMS, "method.neurons=10 method.rule=memristor")],
    "burstccn": [train("method=burstccn data=digits trainer.max_epochs=2 trainer.limit_train_batches=20")],
    "pal": [train("method=pal data=digits model.hidden=[8] trainer.max_epochs=2 trainer.limit_train_batches=2")],
    "pal_twins": [
        train(
            "method=pal data=yin_yang method.B=tied method.noise=0 trainer.max_epochs=1 trainer.limit_train_batches=3"
        ),
        train("method=pal data=teacher_student method.B=fixed trainer.max_epochs=1 trainer.limit_train_batches=3"),
    ],
    "burstccn_conv": [
        train("method=burstccn data=digits model=small_conv model.channels=[4,8] model.hidden=16 method.Y=symmetric")
    ],
    "burstccn_twins": [
        train("method=burstccn data=digits method.gradient=alignment"),
        train("method=burstccn data=digits method.gradient=backprop method.Q=tied"),
    ],
    # every kind of data
    "stbp_rows": [train("method=stbp data=digits data.sequence=rows")],
    "stbp_films": [
        train("method=stbp", FILMS, "model.hidden=[64] data.augmentation.flip=0.5 data.augmentation.jitter_us=500")
    ],
    "stbp_randman": [train("method=stbp", RANDMAN, "model.hidden=[32]")],
    "stbp_sparse_dale": [
        train("method=stbp", RANDMAN, "model.hidden=[32] init.inhibitory=0.3 init.density=0.5"),
    ],
    "stbp_store_recall": [train("method=stbp", STORE)],
    "stbp_rewired": [
        train("experiment=ahp_store_recall_rewired", STORE),
    ],
    "stbp_yin_yang": [train("method=stbp data=yin_yang")],
    "real_stbp_no_validation": [train("method=stbp data=mnist data.train_size=500 data.val_size=0 model.hidden=[32]")],
    # every way in
    "figures": [train("method=stbp data=digits callbacks.figures=true")],
    "sweep": [train("-m method=stbp data=digits model.hidden=[16],[32] seed=0,1")],
    "resume": [
        train("method=stbp data=digits trainer.max_epochs=3"),
        "interrupt 1 " + train("method=stbp data=digits trainer.max_epochs=3 seed=7").removeprefix("train "),
        train("method=stbp data=digits trainer.max_epochs=3 seed=7 resume=auto"),
    ],
    "questions": [
        train("method=bntt data=digits"),
        "evaluate {0}",
        "evaluate {0} encoder.time_steps=5",
        "evaluate {0} accuracy_over_time",
        "evaluate {0} early_exit",
        "evaluate {0} robustness noise=[0.0,0.2] fgsm=[0.0,0.05] samples=50",
        "evaluate {0} spikes_over_time samples=50",
        "evaluate {0} memory_over_time steps=[2,4]",
    ],
    "faults": [
        train("method=stbp data=digits encoder=rate encoder.time_steps=6 model.hidden=[16] hardware=int4"),
        "evaluate {0} faults repetitions=2 samples=20 rates=[0.0,0.1] seconds=[1.0,100.0] sigmas=[0.1]",
        train("method=stbp data=digits model.hidden=[16] hardware=rpu hardware.device_options={stuck:0.1}"),
        train("method=vdsp data=digits hardware=memristor method.neurons=5 encoder.time_steps=10"),
    ],
    "question_map": [
        train("method=multispike_fast_deep data=digits model.hidden=[16]"),
        "evaluate {0} convergence_map points=3 repeats=2 epochs=3",
    ],
    # real data
    "real_stbp_mnist": [train("method=stbp data=mnist data.train_size=1000 model.hidden=[64]")],
    "real_stbp_nmnist": [train("method=stbp data=nmnist model.hidden=[64] data.batch_size=5")],
    "real_bntt_mnist_rows": [train("method=bntt data=mnist data.train_size=1000 data.sequence=rows")],
    "real_ottt_fashion": [train("method=ottt data=fashion_mnist data.train_size=1000 model.hidden=[64]")],
    "real_vdib_mnist": [train("method=vdib data=mnist data.train_size=600 data.val_size=100 model.hidden=[32]", FIXED)],
    "real_multispike_nmnist": [train("method=multispike_fast_deep data=nmnist model.hidden=[8] data.batch_size=4")],
    "real_ssnn_bp_nmnist": [train("method=ssnn_bp data=nmnist data.batch_size=4")],
    "real_burstccn_mnist": [train("method=burstccn data=mnist data.train_size=1000 model.hidden=[32]")],
}
