"""Config in, built parts out: every part is made, and what cannot work is refused before any data is read."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import partial
from typing import Any

from omegaconf import DictConfig, OmegaConf

from snnlab.config import schema, trial
from snnlab.config.memory import check_memory
from snnlab.config.parts import instantiate_part
from snnlab.config.paths import conf_dir
from snnlab.errors import InputError, one_line


@dataclass
class Parts:
    """Everything a run is made of, built and checked, with no data read yet."""

    data: Any  # DataModule
    method: Any  # Method
    initializer: Any
    config: dict[str, Any]
    target: Any = None  # Target, None where nothing is limited
    changed: list[str] = field(default_factory=list)  # what was changed to keep its limits
    fit: Any = None  # Fit: what the network needs of the target


def build(config: DictConfig) -> Parts:
    """Make data module, encoder, model, method and optimizer from a composed config; nothing is read.

    Raises:
        InputError: when a value is wrong or the parts do not fit.
    """
    import lightning as L
    import torch

    from snnlab import kernels
    from snnlab.hardware.constrain import constrain, on_levels, settle
    from snnlab.hardware.fit import fit, must_fit
    from snnlab.methods.base.method import UnansweredError

    container = OmegaConf.to_container(config, resolve=True)
    assert isinstance(container, dict)
    plain = {str(key): value for key, value in container.items()}
    check_values(plain)
    chosen = plain.get("kernels", "auto")
    path = kernels.Path(chosen)
    L.seed_everything(plain["seed"], verbose=False)
    data = instantiate_part("data", plain["data"])
    encoder = instantiate_part("encoder", plain["encoder"]) if "_target_" in plain["encoder"] else None
    model = instantiate_part("model", plain["model"])
    initializer = instantiate_part("init", of_class("init", plain))
    target = instantiate_part("hardware", plain["hardware"]) if "_target_" in plain.get("hardware", {}) else None
    try:
        with kernels.using(path):
            method = instantiate_part("method", of_class("method", plain), model=model, data=data.spec, encoder=encoder)
    except UnansweredError as error:
        raise InputError(f"{error}; {_way_out(data.spec.question)}") from error
    method.network.kernels = path
    check_trainer(plain["trainer"])
    method.check_trainer(plain["trainer"])
    batches = batches_of_epoch(data.spec, plain)
    for split in ("val", "test"):
        batches_of_epoch(data.spec, plain, split)
    validated = data.spec.sizes.get("val") != 0
    trial.check(plain["method"], plain["trainer"], batches, validated, method.automatic_optimization)
    check_memory(method, data.spec, plain["data"]["batch_size"])
    try:
        method.configure_optimizers()
    except InputError:
        raise
    except (ValueError, TypeError) as error:
        names = [f"method.{key}" for key in plain["method"] if str(key).endswith("optimizer")]
        raise InputError(f"{', '.join(names)}: {one_line(error)}") from error
    if (patience := plain["callbacks"].get("early_stopping")) is not None:
        check_patience(patience, method.trains and validated and plain["trainer"]["limit_val_batches"] != 0)
    if not method.trains and data.spec.sizes.get("val") == 0:
        raise InputError(
            "data.val_size = 0 leaves nothing to choose and check this method on; data.val_size=5000 is usual"
        )
    if method.trains:
        with torch.no_grad():
            frames = torch.zeros(1, 1, *data.spec.input_shape)
            initializer(method.network, frames)
    check_start(method)
    changed, report = list[str](), None
    if target is not None:
        changed = constrain(method.network, target, method.spiking_input)
        method.limit_neuron = partial(settle, "", target=target)
        report = fit(method.network, target, data.spec.input_shape, method.outputs())
        if target.must_fit:
            must_fit(report)
        method.cost.time_step = method.cost.time_step or target.time_step
        bits = target.weight_bits
        of_states = dict.fromkeys(on_levels(method.network), target.state_bits)  # what is read from outside is not
        method.cost.run_on(target.mac_joule, target.ac_joule, lambda _: bits, of_states.get)
    method.check_weights()  # an initialiser may limit them, too
    if layers := plain["method"].get("freeze"):
        method.freeze_layers(layers)
    return Parts(data, method, initializer, plain, target, changed, report)


def of_class(group: str, config: Mapping[str, Any]) -> dict[str, Any]:
    """A part's config less the key that every choice of its group has, and no class: what a run makes of the part."""
    return {key: value for key, value in config[group].items() if key != schema.OF_GROUP[group]}


def batches_of_epoch(spec: Any, config: Mapping[str, Any], split: str = "train") -> int | None:
    """How many batches of a split an epoch takes, None where the data set's size is not known before it is read.

    Raises:
        InputError: when trainer.limit_train_batches, or that of the split, leaves none.
    """
    limit = config["trainer"][f"limit_{split}_batches"]
    if not (size := spec.sizes.get(split)):
        return None
    batches = -(-size // config["data"]["batch_size"])
    if isinstance(limit, float):
        if not int(batches * limit):
            raise InputError(
                f"trainer.limit_{split}_batches = {limit} of {batches} batches leaves none; at least {1 / batches:.4f} "
                "does, or a whole number of batches"
            )
        return int(batches * limit)
    return batches if limit is None else min(batches, limit)


def check_values(config: Mapping[str, Any]) -> None:
    """Check what no part of the run reads: the keys of the house's own and the Trainer's.

    Raises:
        InputError: when a value has the wrong type, or a key of the Trainer does not exist.
    """
    import lightning as L

    schema.check_plain(config)
    schema.check_arguments("trainer", config["trainer"], L.Trainer)


def check_patience(patience: int, validated: bool) -> None:
    """Raise InputError where callbacks.early_stopping would wait for nothing."""
    if patience < 1:
        raise InputError(f"callbacks.early_stopping = {patience} must be at least 1 validation; null does not stop")
    if not validated:
        raise InputError(
            f"callbacks.early_stopping = {patience} waits for a better figure of validation, and this run has none; "
            "use null"
        )


def check_start(method: Any) -> None:
    """Refuse weights that start so far out that nothing can be learned from there.

    Raises:
        InputError: naming the weight.
    """
    for name, values in method.named_parameters():
        largest = float(values.detach().abs().amax()) if values.numel() else 0.0
        if not largest <= LARGEST:
            raise InputError(
                f"{name} starts at values up to {largest:.3g}, and {LARGEST:g} is the most from which anything is "
                "learned; lower the gain of the method or of init"
            )


def _way_out(question: Any) -> str:
    """Which methods of this house answer what a data set asks, by the names of their configs."""
    from hydra.utils import get_object

    configs = {path.stem: OmegaConf.load(path) for path in sorted((conf_dir() / "method").glob("*.yaml"))}
    targets = {name: get_object(OmegaConf.select(node, "_target_")) for name, node in configs.items()}
    found = [name for name, target in targets.items() if question.is_among(target.answers)]
    if not found:
        return f"no method here does; one that does has {type(question).__name__} in its answers"
    return f"choose method={' or '.join(found)}"


LARGEST = 10_000.0  # of a weight at its start

ONLY: dict[
    str, tuple[Any, str]
] = {  # arguments of the Trainer that a recorded run has no use for, and what does instead
    "max_steps": (-1, "use trainer.max_epochs and trainer.limit_train_batches"),
    "fast_dev_run": (False, "use dry_run=true, or trainer.max_epochs=1 with trainer.limit_train_batches=2"),
    "overfit_batches": (0.0, "use trainer.limit_train_batches"),
    "val_check_interval": (None, "each epoch is validated once, at its end"),
    "limit_predict_batches": (None, "a run trains, validates and tests"),
    "barebones": (False, "a run is recorded"),
    "num_nodes": (1, "a run uses the devices of one machine; sweeps spread over machines"),
    "sync_batchnorm": (False, "norms of the house take the whole batch's statistics, whatever devices share it"),
    "use_distributed_sampler": (True, "each batch is shared out among the devices"),
    "plugins": (None, "trainer.precision chooses the precision"),
}
OWN = ("callbacks", "logger", "default_root_dir", "model_registry")  # arguments of the Trainer that runs/ gives


def check_trainer(trainer: Mapping[str, Any]) -> None:
    """Refuse what Lightning takes and a recorded run cannot: it has whole, validated epochs on one device.

    Raises:
        InputError: naming the argument and what would do instead.
    """
    for name in OWN:
        if name in trainer:
            raise InputError(f"trainer.{name}: there is no such key; runs have callbacks=..., logger=..., paths.output")
    epochs = trainer["max_epochs"]
    if epochs is None or epochs < 1:
        raise InputError(f"trainer.max_epochs = {epochs} must be at least 1; dry_run=true looks without training")
    for name in ("limit_train_batches", "limit_val_batches", "limit_test_batches"):
        limit = trainer[name]
        if limit is not None and limit <= 0:
            raise InputError(f"trainer.{name} = {limit} leaves nothing to work on; null takes all batches")
        if isinstance(limit, float) and limit > 1:
            raise InputError(f"trainer.{name} = {limit} must be a share up to 1.0, or a whole number of batches")
    for name, (only, instead) in ONLY.items():
        if trainer[name] != only or isinstance(trainer[name], bool) != isinstance(only, bool):
            raise InputError(f"trainer.{name} = {trainer[name]} is not for a recorded run: {instead}")
    if trainer["enable_checkpointing"] is False:
        raise InputError("trainer.enable_checkpointing = False is not for a recorded run: its test needs a checkpoint")
    if trainer["strategy"] not in ("auto", "ddp"):
        raise InputError(
            f"trainer.strategy = {trainer['strategy']} is not for a recorded run: ddp shares each batch among "
            "trainer.devices, auto likewise where there are several"
        )
    devices = trainer["devices"]
    number = devices if isinstance(devices, int) and not isinstance(devices, bool) else 1
    if number == 0 or number < -1 or isinstance(devices, bool) or devices in ([], "", "0"):
        raise InputError(
            f"trainer.devices = {devices} leaves no device to train on; 1 is usual, -1 takes all there are"
        )
    every = trainer["check_val_every_n_epoch"]
    if every is None or not 1 <= every <= epochs:
        raise InputError(
            f"trainer.check_val_every_n_epoch = {every} must lie in 1 to trainer.max_epochs = {epochs}: the checkpoint "
            "is chosen on validation"
        )
    for name, least in (
        ("accumulate_grad_batches", 1),
        ("log_every_n_steps", 1),
        ("num_sanity_val_steps", -1),
        ("reload_dataloaders_every_n_epochs", 0),
    ):
        if trainer[name] is not None and trainer[name] < least:
            raise InputError(f"trainer.{name} = {trainer[name]} must be at least {least}")
    clip = trainer["gradient_clip_val"]
    if clip is not None and not clip > 0:
        raise InputError(f"trainer.gradient_clip_val = {clip} must be positive; null does not clip")
    if clip is None and trainer["gradient_clip_algorithm"] is not None:
        raise InputError("trainer.gradient_clip_algorithm clips nothing without trainer.gradient_clip_val=1")
    for name in ("min_epochs", "min_steps"):
        if trainer[name] is None:
            continue
        if trainer["max_time"] is None:
            raise InputError(f"trainer.{name} = {trainer[name]} has no effect: only trainer.max_time ends a run early")
        if trainer[name] < 1 or (name == "min_epochs" and trainer[name] > epochs):
            raise InputError(f"trainer.{name} = {trainer[name]} must lie in 1 to trainer.max_epochs = {epochs}")
