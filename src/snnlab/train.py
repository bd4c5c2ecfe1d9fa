"""The command line: ``python -m snnlab key=value ...`` trains and tests, ``-m`` sweeps.

Light to import: torch and lightning are loaded once a run really starts.
"""

from __future__ import annotations

import hashlib
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from snnlab.command import parse, run, set_up_logging
from snnlab.errors import InputError

if TYPE_CHECKING:
    from snnlab.runs.wiring import Result

HELP = """snnlab: train and test a spiking network, record everything.

usage: python -m snnlab [KEY=VALUE ...]           plain: method=vdib data=mnist_dvs
       python -m snnlab -m KEY=A,B [KEY=VALUE ...] a sweep over every combination

examples
  python -m snnlab method=stbp data=digits
  python -m snnlab method=stbp data=mnist model.hidden=[400] method.surrogate=triangle seed=1
  python -m snnlab -m method=stbp data=digits seed=0,1,2
  python -m snnlab method=stbp data=mnist dry_run=true      shapes, parameters, memory, time; then stop

choices
{choices}
keys
  seed=0  resume=never|auto|RUN  debug=true (tracebacks)  dry_run=true
  trainer.max_epochs=5 (every Lightning Trainer argument)  method.KEY=  model.KEY=  data.KEY=  encoder.KEY=
  --cfg               print the composed config and stop
  --config-dir DIR    one more folder of configs, for methods and data of your own
  --debug             show tracebacks

other commands (each with --help)
  python -m snnlab.data list | prepare NAME | show NAME
  python -m snnlab.evaluate RUN [KEY=VALUE ...]
  python -m snnlab.tables FOLDER ...

environment: SNNLAB_DATA (data root, default ./data), SNNLAB_CACHE (default: the user's cache folder)
exit codes: 0 done, 1 failed, 2 bad input, 130 interrupted, 141 nobody reads the output any more
"""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command line of ``python -m snnlab`` and return its exit code."""
    return run("snnlab", train, arguments, interrupted="interrupted; go on with the same command and resume=auto")


def train(arguments: list[str]) -> int:
    """What the command line asks for: help, the composed config, a sweep or one run.

    Raises:
        InputError: for a flag that does not exist, a --config-dir that is no folder, and as a run does.
    """
    line = parse(arguments, ("-h --help", "-m --multirun", "-c --cfg"), ("-cd --config-dir",))
    config_dir = Path(line.values["config-dir"]).expanduser() if "config-dir" in line.values else None
    if config_dir and not config_dir.is_dir():
        raise InputError(
            f"--config-dir {config_dir}: there is no such folder; give the one that holds method/, data/, ..."
        )
    overrides = [*line.words, *line.overrides]
    if "help" in line.flags:
        print(HELP.format(choices=choices_text(config_dir)), end="")
        return 0
    if "cfg" in line.flags:
        from omegaconf import OmegaConf

        from snnlab.config.compose import compose

        print(OmegaConf.to_yaml(compose(overrides, config_dir).config), end="")
        return 0
    return (sweep if "multirun" in line.flags else single)(overrides, config_dir)


def choices_text(config_dir: Path | None) -> str:
    """The groups of the config and what may be chosen in each, one line a group."""
    from snnlab.config.compose import GROUPS
    from snnlab.config.paths import conf_dir

    lines = []
    for group in GROUPS:
        folders = [conf_dir() / group] + ([config_dir / group] if config_dir else [])
        names = sorted({path.stem for folder in folders for path in folder.glob("*.yaml")})
        if names:
            lines.append(f"  {group + '=':12}{' '.join(names)}")
    return "\n".join(lines) + "\n"


def single(overrides: list[str], config_dir: Path | None) -> int:
    """One run: sweeps are refused, the composed config is run, the figures and numbers are named."""
    from snnlab.config.compose import compose

    composition = compose(overrides, config_dir)
    set_up_logging()
    from snnlab.runs import wiring

    if composition.config.dry_run:
        from snnlab.runs.dry_run import dry_run

        print(dry_run(composition))
        return 0
    report(wiring.run(composition))
    return 0


def sweep(overrides: list[str], config_dir: Path | None) -> int:
    """Every combination of a multirun, through Hydra's launcher; all are checked before the first one starts."""
    from snnlab.config.build import build
    from snnlab.config.compose import compose, expand_sweeps
    from snnlab.config.paths import conf_dir

    own = [o for o in overrides if not o.lstrip("+").startswith("hydra")]
    jobs = expand_sweeps(own)
    from snnlab.runs import wiring

    set_up_logging()
    compositions = [compose(job, config_dir) for job in jobs]
    for composition in compositions:
        build(composition.config)
    if any(composition.config.dry_run for composition in compositions):
        from snnlab.runs.dry_run import dry_run

        print("\n\n".join(f"{' '.join(c.overrides)}\n{dry_run(c)}" for c in compositions))
        return 0
    name = "sweep-" + hashlib.sha256("\n".join(sorted(own)).encode()).hexdigest()[:10]
    print(f"{name}: {len(jobs)} runs", flush=True)
    folder = Path(compositions[0].config.paths.output).expanduser().resolve() / name

    def job(config: Any) -> None:  # Hydra launches it by number; what it runs has been composed and checked above
        set_up_logging()
        report(wiring.run(compositions[config.job], sweep=name))

    os.environ["HYDRA_FULL_ERROR"] = "1"
    import hydra

    outer = sys.argv
    launcher = [o for o in overrides if o not in own]
    numbers = ",".join(str(i) for i in range(len(jobs)))
    sys.argv = [outer[0], "-m", f"hydra.sweep.dir={folder}", *launcher, f"+job={numbers}"]
    try:
        hydra.main(config_path=str(conf_dir()), config_name="config", version_base="1.3")(job)()
    except hydra.errors.HydraException as error:
        raise InputError(f"sweep: {str(error).strip().splitlines()[0]}") from error
    finally:
        sys.argv = outer
    return 0


def report(result: Result) -> None:
    """Print the test's numbers and where the record and the figures lie."""
    print_metrics(result.metrics["test"])
    print(f"record   {result.folder / 'run.json'}")
    for path in result.figures:
        print(f"figure   {path}")


def print_metrics(metrics: dict[str, Any]) -> None:
    """Print test metrics, one a line."""
    for key, value in _flat(metrics):
        print(f"test     {key:32} {value:.4f}" if abs(value) < 1000 else f"test     {key:32} {value:,.0f}")


def _flat(tree: dict[str, Any], prefix: str = "") -> list[tuple[str, float]]:
    rows: list[tuple[str, float]] = []
    for key, value in tree.items():
        rows += _flat(value, f"{prefix}{key}/") if isinstance(value, dict) else [(f"{prefix}{key}", float(value))]
    return rows


if __name__ == "__main__":
    sys.exit(main())
