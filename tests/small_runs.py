"""The smallest training, validation and test of each method that goes through all of its rule."""

from __future__ import annotations

from snnlab.config.paths import conf_dir

METHODS = sorted(path.stem for path in (conf_dir() / "method").glob("*.yaml"))
FEW = ["logger=none", "callbacks.progress=false", "callbacks.figures=false", "callbacks.health=false", "kernels=step"]
FEW += ["trainer.max_epochs=1", "trainer.limit_train_batches=3", "data.batch_size=10"]
FEW += ["trainer.limit_val_batches=1", "trainer.limit_test_batches=1"]
SMALL = {
    "vdib": "data=drifting_blobs model.hidden=[] data.train_sequences=30 data.val_sequences=10 method.warmup=0 "
    "data.steps_train=20 data.steps_test=20 method.credit=window",
    **dict.fromkeys(("stbp", "ottt", "fptt"), "data=digits encoder.time_steps=4"),
    "vdsp": "data=digits method.neurons=5 encoder.time_steps=4 method.label_samples=10",
    "biolcnet": "data=digits model.hidden=[8] method.neurons=2 encoder.time_steps=12 method.stdp_samples=15",
    "desire_bp": "data=digits model.hidden=[8] encoder.time_steps=8",
    "blitnet": "data=digits model.filters=2",
    "variational_spin": "data=transverse_ising method.samples=100 method.burn_in=2",
    "conversion": "data=digits method.calibration=10 encoder.time_steps=4",
    "ssnn_bp": "data=digits encoder.time_steps=6 model.hidden=[8]",
    "spike_bp": "data=digits encoder.time_steps=4",
    "bntt": "data=digits encoder.time_steps=4",
}


def small_run(method: str) -> list[str]:
    """The overrides of one: three batches of ten to train on, one each to validate and to test on."""
    return [f"method={method}", *SMALL.get(method, "data=digits").split(), *FEW]
