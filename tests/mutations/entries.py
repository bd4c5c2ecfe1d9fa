"""Mutated commands of the other entry points: snnlab.data, evaluate, tables and bench, run and sorted as run.py does.

python tests/mutations/entries.py --count 100 --seed 0 --entry evaluate --out FILE
"""

from __future__ import annotations

import argparse
import json
import random
import runpy
import sys
import tempfile
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

ROOM = runpy.run_path(str(Path(__file__).with_name("run.py")))
mutated, leaves = ROOM["mutated"], ROOM["leaves"]
LINE = [*ROOM["QUICK"], "method=stbp", "data=digits", "model.hidden=[4]", "encoder.time_steps=3"]
NAMES = [
    "nowhere",
    ".",
    "",
    "-",
    "--",
    "~",
    "/",
    "/dev/null",
    "a=b",
    "für",
    "x\x1b[31my",
    "x\n",
    "a" * 300,
    "{run}/run.json",
]
FLAGS = [
    "--help",
    "-h",
    "--x",
    "--debug=1",
    "--config-dir",
    "--config-dir=nowhere",
    "--config-dir={run}",
    "-cd=",
    "-m",
    "---",
]


def words(chance: random.Random, *lists: list[str]) -> list[str]:
    """One word of each of ``lists``; now and then one too few, one too many, or two in another order."""
    line = [chance.choice(choices) for choices in lists]
    kind = chance.random()
    if kind < 0.06 and line:
        line.pop(chance.randrange(len(line)))
    elif kind < 0.12:
        line.insert(chance.randrange(len(line) + 1), chance.choice([*NAMES, *FLAGS]))
    elif kind < 0.15:
        chance.shuffle(line)
    return line


def data(chance: random.Random) -> list[str]:
    """A command of snnlab.data; the large sets are never made ready."""
    from snnlab.config.compose import compose

    name = chance.choice(["digits", "randman", "adding", "store_recall", "yin_yang", "drifting_blobs"])
    if chance.random() < 0.2:
        extra = chance.choice([*NAMES, *FLAGS, "digits", "val_size=3", "--out=x.png", "--aedat=x"])
        return [chance.choice(["list", "bench", "shwo", "prepare", "show", ""]), extra]
    options = ["--out=x.png", "--out=nowhere/x.png", "--out=.", "--out=x.txt", "--out=", "--out", "--out=/proc/x.png"]
    options += ["--aedat=films", "--aedat=/proc/x", "--aedat"]
    line = words(chance, ["show", "prepare"], [name, name, name, *NAMES])
    entries = list(leaves(compose([f"data={name}"]).plain()["data"]))
    small = {"samples": 20, "train_sequences": 16, "val_sequences": 8, "test_sequences": 8}
    line += [f"{key}={value}" for key, value in small.items() if key in dict(entries)]
    line += [mutated(chance, *chance.choice(entries)) for _ in range(chance.choice((0, 1, 1, 1, 2)))]
    return [*line, *([chance.choice(options)] if chance.random() < 0.3 else [])]


def evaluate(chance: random.Random) -> list[str]:
    """A command of snnlab.evaluate about the run ``{run}``."""
    from snnlab.config.compose import compose
    from snnlab.evaluate.analysis import find, options, questions

    asked = chance.choice([*questions(), "", "", "", "x", "accuracy"])
    line = words(chance, ["{run}"] * 60 + NAMES, *([[asked]] if asked else []))
    entries = list(leaves(compose(LINE).plain()))
    for _ in range(chance.choice((0, 1, 1, 1, 2))):
        own = options(find(asked)) if asked in questions() else {}
        if own and chance.random() < 0.7:
            key, option = chance.choice(list(own.items()))
            default = None if option.default is option.empty else option.default
            line.append(mutated(chance, key, list(default) if isinstance(default, tuple) else default))
        else:
            line.append(mutated(chance, *chance.choice(entries)))
    if asked in ("comparison", "convergence_map") and chance.random() < 0.5:
        line += [f"against={chance.choice(['{run}', *NAMES])}"]
    return line


def tables(chance: random.Random) -> list[str]:
    """A command of snnlab.tables about the run ``{run}``."""
    found = "{run}/evaluations/1/evaluation.json"
    metrics = [
        "test/accuracy",
        "test/loss,fit_seconds",
        "seed",
        ",",
        "",
        "x",
        "test",
        "config",
        "metrics/test",
        "status",
    ]
    metrics += ["test/firing_rate", "test/firing_rate/hidden1", "versions", "a" * 200, "\x1b[31m", "test/accuracy," * 3]
    kind = chance.choice(["table", "table", "values", "page"])
    if kind == "values":
        keys = ["a", "a:b", "values", ":", "a:", "x", "", "a:b:c", "values/a", "=1", "[0]"]
        return words(chance, [f"--values={word}" for word in (found, found, *NAMES)], keys, keys)
    if kind == "page":
        pages = ["{run}/page.md", "{run}/broken.md", *NAMES]
        return words(chance, [f"--page={word}" for word in pages], ["--check", "--json", "x", "--check=1"])
    line = words(chance, ["{run}", "{run}/..", "{run}", *NAMES])
    line += [f"--metrics={chance.choice(metrics)}"] if chance.random() < 0.6 else []
    line += [f"--before={chance.choice(['{run}', *NAMES])}"] if chance.random() < 0.3 else []
    return [
        *line,
        *(["--json"] if chance.random() < 0.3 else []),
        *([chance.choice(FLAGS)] if chance.random() < 0.1 else []),
    ]


def bench(chance: random.Random) -> list[str]:
    """A command of snnlab.bench that measures little."""
    from dataclasses import fields

    from snnlab.bench.__main__ import Settings
    from snnlab.bench.workloads.workload import find, options

    name = chance.choice(["linear_lif", "binning", "loader", "sparse_linear", "mlp", "conv"])
    line = words(chance, [name] * 8 + ["", "x", "__init__", "workload", "-", "peers", "all"])
    own = [(key, option.default) for key, option in options(find(name)).items()]
    shared = [(field.name, field.default) for field in fields(Settings)]
    wrong = mutated(chance, *chance.choice([*own, *shared]))
    quick = ["rounds=1", "seconds=1", "peers=none", "threads=1"]
    return [*line, *(word for word in quick if word.split("=")[0] != wrong.split("=")[0]), wrong]


ENTRIES: dict[str, Callable[[random.Random], list[str]]] = {
    "data": data,
    "evaluate": evaluate,
    "tables": tables,
    "bench": bench,
}


def commands(entry: str, seed: int, count: int, run: Path) -> Iterator[list[str]]:
    """``count`` commands of one entry point about the stored run ``run``."""
    chance = random.Random(seed)
    for _ in range(count):
        yield [word.replace("{run}", str(run)) for word in ENTRIES[entry](chance)]


def stored_run(folder: Path) -> Path:
    """Make a small run below ``folder``, with an evaluation and two pages of tables beside its record."""
    from snnlab.config.compose import compose
    from snnlab.runs import wiring

    run: Path = wiring.run(compose([*LINE, f"paths.output={folder}"])).folder
    (run / "evaluations" / "1").mkdir(parents=True)
    values = {"values": {"a": [1, 2], "b": [0.5, None], "c": "text"}}
    (run / "evaluations" / "1" / "evaluation.json").write_text(json.dumps(values))
    (run / "page.md").write_text("# Page\n\n<!-- table: . -->\n\n| a |\n| --- |\n")
    (run / "broken.md").write_text("<!-- table: --metrics 'x -->\n<!-- table: nowhere -->\n<!-- table:")
    return run


def main() -> int:
    """Run the commands that the arguments ask for; 1 when one of them ended as none may."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--entry", choices=[*ENTRIES], nargs="*", default=[*ENTRIES])
    parser.add_argument("--count", type=int, default=100, help="of each entry point")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--limit", type=float, default=60, help="seconds after which a command hangs")
    parser.add_argument("--out", type=Path, default=None)
    given = parser.parse_args()
    import torch

    torch.set_num_threads(1)
    good = ("done", "refused", "failed")
    faults = 0
    with tempfile.TemporaryDirectory() as folder:
        run = stored_run(Path(folder))
        for entry in given.entry:
            ends: Counter[str] = Counter()
            for command in commands(entry, given.seed, given.count, run):
                result: dict[str, Any] = ROOM["run"](command, given.limit, Path(folder), f"snnlab.{entry}.__main__")
                ends[result["end"]] += 1
                if result["end"] not in good:
                    print(entry, result["end"], " ".join(map(ascii, command)), flush=True)
                if given.out:
                    with given.out.open("a") as file:
                        file.write(json.dumps({"entry": entry, **result}) + "\n")
            faults += sum(count for end, count in ends.items() if end not in good)
            print(f"{entry}: " + ", ".join(f"{count} {end}" for end, count in ends.most_common()), flush=True)
    return int(faults > 0)


if __name__ == "__main__":
    sys.exit(main())
