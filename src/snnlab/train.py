"""The command line: ``python -m snnlab key=value ...`` trains and tests, ``-m`` sweeps.

Light to import: torch and lightning are loaded once a run really starts.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path

from snnlab.command import CONFIG_DIR, config_dir_of, outliving_stdout, parse, run, set_up_logging
from snnlab.errors import InputError

HELP = """snnlab: train and test a spiking network, record everything.

usage: python -m snnlab [KEY=VALUE ...]           plain: method=vdib data=mnist_dvs
       python -m snnlab -m KEY=A,B [KEY=VALUE ...] a sweep over every combination
       python -m snnlab method=stbp --help         the keys of one choice; likewise data=, model=, encoder=, init=

examples
  python -m snnlab method=stbp data=digits
  python -m snnlab method=stbp data=mnist model.hidden=[400] method.surrogate=triangle seed=1
  python -m snnlab -m method=stbp data=digits seed=0,1,2
  python -m snnlab method=stbp data=mnist dry_run=true      shapes, parameters, memory, time; then stop

choices
{choices}
keys
  seed=0  resume=never|auto|RUN  kernels=auto|half|step  threads=1  debug=true (tracebacks)  dry_run=true
  callbacks.early_stopping=5  callbacks.checkpoint_minutes=5  init.from_run=RUN  method.freeze=[weight1]  docs/resume.md
  hydra/launcher=joblib|submitit_local|submitit_slurm|ray  where the jobs of a sweep run  docs/sweeps.md
  trainer.max_epochs=5 (every Lightning Trainer argument)  method.KEY=  model.KEY=  data.KEY=  encoder.KEY=
  method.neuron=ahp|alif|cuba_lif|egru|lif|ltc|memristive|plif, or package.module.Class (stbp, ottt, fptt); its own
                      arguments stand in method.neuron_options={{...}}
  method.optimizer={{_target_:torch.optim.Adam,_partial_:true,lr:0.01}}  a mapping with a _target_ replaces a part
  --cfg               print the composed config and stop
  --config-dir DIR    one more folder of configs, for methods and data of your own
  --debug             show tracebacks

other commands (each with --help; `snnlab data list` is the same, and so on)
  python -m snnlab.data list | prepare NAME | show NAME
  python -m snnlab.evaluate RUN [QUESTION] [KEY=VALUE ...]
    questions: accuracy_over_time comparison convergence_map early_exit faults memory_over_time robustness
               spikes_over_time
  python -m snnlab.export RUN                the network for other simulators (NIR), a chip (numpy), ONNX or TorchScript
  python -m snnlab.search search=NAME [KEY=SPACE ...] [KEY=VALUE ...]    the best of a space, on validation
  python -m snnlab.tables NAME | FOLDER ...  a paper's table, ours beside the paper's; rows over runs of one's own
  python -m snnlab.report FOLDER ... -o SITE     the same as a static site; --cite: BibTeX of what the runs used
  python -m snnlab.bench [WORKLOAD ...]

environment: SNNLAB_DATA (data root, default ./data), SNNLAB_CACHE (default: the user's cache folder)
exit codes: 0 done, 1 failed, 2 bad input, 141 nobody reads the output any more,
            130 interrupted (SIGINT, SIGTERM, SIGHUP, SIGUSR1, SIGUSR2; a checkpoint is written first)
"""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command line of ``python -m snnlab`` and return its exit code."""
    return run("snnlab", train, arguments, interrupted="interrupted; go on with the same command and resume=auto")


def train(arguments: list[str]) -> int:
    """What the command line asks for: help, the composed config, a sweep or one run.

    Raises:
        InputError: for a flag that does not exist, a --config-dir that is no folder, and as a run does.
    """
    line = parse(arguments, ("-h --help", "-m --multirun", "-c --cfg"), (CONFIG_DIR,))
    config_dir = config_dir_of(line)
    overrides = [*line.words, *line.overrides]
    if "help" in line.flags:
        from snnlab.config.pages import page

        print(page(line.overrides, config_dir) or HELP.format(choices=choices_text(config_dir)), end="")
        return 0
    if "cfg" in line.flags:
        from snnlab.config.compose import compose

        print(compose(overrides, config_dir).text(), end="")
        return 0
    set_up_logging()
    if "multirun" in line.flags:
        from snnlab.runs.sweep import sweep

        with outliving_stdout():
            try:
                sweep(overrides, config_dir, show_table)
            except KeyboardInterrupt as stop:
                raise KeyboardInterrupt(str(stop) or "interrupted; the same command goes on") from stop
        return 0
    from snnlab.config.compose import compose
    from snnlab.runs.stored import of_run

    composition = compose(of_run(overrides), config_dir)
    if composition.config.dry_run:
        from snnlab.runs.dry_run import dry_run

        print(dry_run(composition))
        return 0
    from snnlab.runs import wiring

    with outliving_stdout():
        given = [word for word in sys.argv[1:] if word != "--debug"]
        print("\n".join(wiring.run(composition, repeatable=arguments == given).lines()))
    return 0


def show_table(folder: Path) -> None:
    """Print what the runs below ``folder`` have come to, and leave it there as tables and pictures.

    What cannot be read costs the table, not the sweep.
    """
    from snnlab.tables.report import report
    from snnlab.tables.rows import read_runs

    try:
        print(report(read_runs([folder]), folder), flush=True)
    except InputError as error:
        print(f"table: {error}")


def choices_text(config_dir: Path | None) -> str:
    """The groups of the config and what may be chosen in each, one line a group."""
    from snnlab.config.line import GROUPS
    from snnlab.config.paths import conf_dir

    lines = []
    for group in GROUPS:
        folders = [conf_dir() / group] + ([config_dir / group] if config_dir else [])
        names = sorted({path.stem for folder in folders for path in folder.glob("*.yaml")})
        if names:
            lines.append(f"  {group + '=':12}{' '.join(names)}")
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    sys.exit(main())
