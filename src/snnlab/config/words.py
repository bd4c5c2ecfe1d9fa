"""The right key for a wrong one: a key with a name like it, or the key for a word that the field uses elsewhere."""

from __future__ import annotations

import difflib
from collections.abc import Sequence

from snnlab.errors import nearest

WORDS: dict[str, tuple[str, ...]] = {  # the words of other laboratories, by our key; the first that a run has is meant
    "T time_steps timesteps time_step num_steps n_steps steps sim_steps seq_len sequence_length time_window ts": (
        *("encoder.time_steps", "data.time_steps", "data.steps"),
    ),
    "lr learning_rate learningrate eta": (*("method.optimizer.lr", "method.lr", "method.readout_optimizer.lr"),),
    "epochs epoch num_epochs n_epochs nepochs max_epoch": ("trainer.max_epochs",),
    "batch_size batch batchsize bs b train_batch_size": ("data.batch_size",),
    "tau tau_m tau_mem tau_membrane beta leak decay alpha lambda": (
        *("method.decay", "method.tau", "method.neuron_options", "method.tau_membrane"),
    ),
    "threshold thresh thr v_th vth v_threshold v_thr": ("method.threshold",),
    "v_reset reset_mode reset": ("method.reset",),
    "neuron neuron_model neuron_type node lif": ("method.neuron",),
    "surrogate surrogate_function spike_grad sg act": ("method.surrogate",),
    "loss criterion loss_fn": ("method.criterion",),
    "optimizer optim opt": ("method.optimizer", "method.readout_optimizer"),
    "momentum": ("method.optimizer.momentum",),
    "weight_decay wd l2": ("method.optimizer.weight_decay",),
    "scheduler lr_scheduler sched lr_schedule": ("method.scheduler",),
    "algorithm algo rule learning_rule training trainer_name": ("method",),
    "net network arch architecture backbone topology model_name": ("model",),
    "hidden hidden_size hidden_sizes num_hidden n_hidden units layers width": ("model.hidden", "model.channels"),
    "dropout drop p_drop dropout_rate": ("model.dropout",),
    "dataset data_set dset ds data_name dataset_name": ("data",),
    "workers num_workers n_workers worker j": ("data.num_workers",),
    "augment augmentation aug transform transforms": ("data.augmentation",),
    "val_split val_fraction val_ratio validation_split val_size": ("data.val_size",),
    "data_dir data_path data_root root dataset_path datadir": ("paths.data",),
    "cache_dir": ("paths.cache",),
    "output output_dir out out_dir outdir save_dir log_dir logdir run_dir results_dir save_path": ("paths.output",),
    "encoding coding encode encoder_name": ("encoder",),
    "init initializer initialiser initialization weight_init": ("init",),
    "chip device_model quantize quantization bits": ("hardware",),
    "device cuda gpu accelerator use_cuda": ("trainer.accelerator",),
    "gpus num_gpus n_gpu n_gpus ngpus": ("trainer.devices",),
    "amp fp16 half bf16 mixed_precision dtype precision": ("trainer.precision",),
    "clip grad_clip gradient_clip clip_grad max_norm max_grad_norm clip_norm": ("trainer.gradient_clip_val",),
    "accumulate grad_accumulation accumulation_steps": ("trainer.accumulate_grad_batches",),
    "deterministic": ("trainer.deterministic",),
    "random_seed manual_seed rng": ("seed",),
    "ckpt ckpt_path checkpoint load load_from resume_from resume_from_checkpoint restore": ("resume",),
    "wandb use_wandb log logging tensorboard": ("logger",),
    "project wandb_project": ("logger.project",),
    "exp experiment_name config cfg recipe": ("experiment",),
    "dryrun dry test_run": ("dry_run",),
}
KEYS = {word: keys for words, keys in WORDS.items() for word in words.split()}
VALUES = {  # what other laboratories write there, by the value that is meant
    ("trainer.accelerator", "cuda"): "gpu",
    ("trainer.accelerator", "true"): "gpu",
    ("logger", "true"): "wandb",
    ("logger", "false"): "none",
}
OPTIMIZERS = {"sgd": "SGD", "adam": "Adam", "adamw": "AdamW", "rmsprop": "RMSprop", "nadam": "NAdam", "radam": "RAdam"}


def nearest_keys(wrong: str, value: str, keys: Sequence[str]) -> str:
    """Keys of ``keys`` for an error message in the place of ``wrong=value``.

    The one meant by a word of the field, with its value; else those of its name further in, those like ``wrong`` in its
    own part, those anywhere with a name like its own.
    """
    part, dot, name = wrong.rpartition(".")
    if not dot and (meant := next((key for key in KEYS.get(wrong, KEYS.get(wrong.lower(), ())) if key in keys), None)):
        return _typed(meant, value)
    if same := [key for key in keys if dot and key.startswith(f"{part}.") and key.endswith(f".{name}")]:
        return ", ".join(same)
    own = [key for key in keys if (key.startswith(part.split(".")[0] + dot) if dot else "." not in key)]
    if not difflib.get_close_matches(wrong, own, cutoff=0.75):
        names = difflib.get_close_matches(name, {key.rpartition(".")[2] for key in keys}, cutoff=0.75)
        if names:
            return ", ".join(sorted({key for key in keys if key.rpartition(".")[2] in names}))
        if meant := next((key for key in KEYS.get(name, ()) if key in keys), None):
            return _typed(meant, value)
    return nearest(wrong, own or keys)


def _typed(key: str, value: str) -> str:
    """The override that was meant, with its value where that has the same meaning here."""
    if key.endswith("optimizer") and (known := OPTIMIZERS.get(value.lower())):
        return f"{key}='{{_target_:torch.optim.{known},_partial_:true,lr:0.001}}'"
    if key.endswith(".decay"):
        return f"{key}, the share that is kept per step: exp(-time_step / tau)"
    value = VALUES.get((key, value.lower().split(":")[0]), value)
    return f"{key}={value}" if value else key
