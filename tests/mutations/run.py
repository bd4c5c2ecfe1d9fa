"""Mutated commands: what somebody may type by mistake, made from the composed configs, run, and sorted by their end.

    python tests/mutations/run.py --count 2000 --seed 0 --out FILE

Each command is a right one with one thing wrong: a value of another type or size, a key taken away, doubled or
misspelt, a choice that is none, a sign too many. It runs in a forked process with a limit on its memory, its files and
its time. A command ends well (0), is refused in one line (2) or fails in one line (1); anything else is a fault of
snnlab. What ended well is written to FILE too: somebody has to judge whether it makes sense.
"""

from __future__ import annotations

import argparse
import importlib
import json
import math
import os
import random
import re
import resource
import shutil
import signal
import sys
import tempfile
import time
import traceback
from collections import Counter
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

MEMORY = 6 * 2**30  # bytes of address space that a command may take
PROCESSES = 64  # beyond those that are there
QUICK = [
    "logger=none",
    "callbacks.progress=false",
    "callbacks.figures=false",
    "trainer.max_epochs=1",
    "data.batch_size=10",
]
QUICK += [f"trainer.limit_{split}_batches=1" for split in ("train", "val", "test")]
METHODS = (
    *("stbp", "bntt", "ottt", "spike_bp", "ssnn_bp", "ann", "conversion", "vdib", "fptt", "multispike_fast_deep"),
    *("eventprop", "multispike_timing", "pal", "blitnet", "vdsp", "biolcnet", "desire_bp", "burstccn", "sparse_bp"),
    "memprop",
)
BASES = [
    *([f"method={method}", "data=digits"] for method in METHODS),
    *([f"method={method}", "data=digits", "trainer.accumulate_grad_batches=1"] for method in ("stbp", "bntt")),
    ["method=stbp", "data=digits", "model=small_conv"],
    ["method=stbp", "data=digits", "model=recurrent_mlp", "method.neuron=alif"],
    ["method=ottt", "data=digits", "model=lenet"],
    ["method=spike_bp", "data=digits", "encoder=latency"],
    ["method=stbp", "data=randman", "data.samples=20", "init=fluctuation"],
    ["method=fptt", "data=adding", "data.train_sequences=64", "data.val_sequences=16", "data.test_sequences=16"],
    ["method=stbp", "data=store_recall", "data.train_sequences=32", "data.val_sequences=8", "data.test_sequences=8"],
    ["method=multispike_fast_deep", "data=yin_yang"],
    [
        "method=vdib",
        "data=drifting_blobs",
        "data.train_sequences=64",
        "data.val_sequences=16",
        "data.test_sequences=16",
    ],
    *(
        ["method=stbp", f"data={name}", "data.side=8", "data.steps=6", "data.dt=0.1", "model.hidden=[4]"]
        for name in ("expanding_disc", "landing_ramp")
    ),
    ["method=stbp", "data=digits", "init=kaiming"],
    ["method=stbp", "data=digits", "data.sequence=rows", "encoder=none"],
]
LOOKED_AT = [  # too large to train here: dry only
    *([f"method=stbp data={data}"] for data in ("cifar10_dvs", "dvs_gesture", "nmnist", "shd", "ssc", "mnist_dvs")),
    *([f"method=stbp data={data}"] for data in ("mnist", "fashion_mnist", "emnist", "svhn", "cifar10", "cifar100")),
    ["method=variational_spin", "data=transverse_ising", "method.samples=100"],
    *([f"experiment={name}"] for name in ("fptt_adding", "bntt_mnist", "vdib_films", "ahp_store_recall_rewired")),
    *([f"experiment={name}"] for name in ("conversion_mnist", "vdsp_mnist", "burstccn_mnist", "fluctuation_randman")),
]
NUMBERS = [
    "-1",
    "0",
    "-0.5",
    "1.5",
    "2",
    "2.5",
    "1000",
    "1e9",
    "1e20",
    "1e30",
    "1e300",
    "1000000000000",
    "nan",
    "inf",
    "-inf",
    "1e-300",
    "-5",
]
ANYTHING = [
    "null",
    "true",
    "text",
    "''",
    "[1]",
    "[]",
    "{a:1}",
    "{}",
    "${seed}",
    "${nothing}",
    "${method}",
    "für",
    "a,b",
]
SYNTAX = [
    *(
        "[{k}={v}]",
        "{k}=={v}",
        "={v}",
        "{k}",
        "{k}=",
        "~{k}",
        "~{k}={v}",
        "+{k}={v}",
        "++{k}={v}",
        "{k}='{v}",
        '{k}="{v}',
    ),
    *(
        "{k}=[{v}",
        "{k}={{{v}",
        "{k}={v})",
        "{k}=range(1,3)",
        "{k}=interval(1e-4,1e-1)",
        "{k}=glob(*)",
        "{k}=choice({v})",
    ),
    *("{k}={v},{v}", "{k}=sort(3,1)", "{k}=shuffle(1,2)", "{k}=tag(a,1)", "{k}=int({v})", "{k}=foo({v})", "{k} = {v}"),
    *(
        "{k}.x={v}",
        "+{k}.x={v}",
        "+{k}_={v}",
        "{k}x={v}",
        "+x={v}",
        "{k}[0]={v}",
        "{k}@x={v}",
        "/{k}={v}",
        "{k}={v}\n3",
    ),
    *("{k}=${{{k}}}", "{k}=${{oc.env:NOWHERE}}", "{k}=${{oc.env:HOME}}", "--{k}={v}", "-{k}", "--cfg=job", "--info"),
    *(
        "--package=x",
        "--resolve",
        "hydra.{k}={v}",
        "hydra/{k}={v}",
        "+hydra.x=1",
        "\udcff{k}={v}",
        "{k}=\udcff",
        "{k}= ",
    ),
    *(
        "{k}=\\",
        "{k}=\\'",
        "{k}=$",
        "{k}=#",
        "{k}=%s",
        "{k}=*",
        "{k}=?",
        "{k}=???",
        "{k}=@",
        "+{k}=[{v}]",
        "++{k}.y.z=1",
    ),
]
TARGETS = [
    *("torch.nn", "torch", "math.sqrt", "builtins.print", "builtins.dict", "builtins.int", "torch.optim.SGD", "os"),
    *("torch.nn.Linear", "torch.nn.Dropout", "nowhere", "a.b.c", "snnlab.models.mlp.MLP", "snnlab.methods.stbp.STBP"),
    *("snnlab.data.images.digits.Digits", "snnlab.data.encoders.Rate", "collections.OrderedDict", "functools.partial"),
    *("torch.optim.lr_scheduler.ReduceLROnPlateau", "torch.optim.LBFGS", "torch.optim.SparseAdam", "torch.zeros", "''"),
]
NODES = ["{_target_:%s}", "{_target_:%s,_partial_:true}", "{_target_:%s,x:1}", "{_target_:%s,_partial_:true,lr:0.1}"]


def leaves(node: Any, path: str = "") -> Iterator[tuple[str, Any]]:
    """Every dotted key below ``node`` with its value, mappings among them."""
    for key, value in node.items():
        yield f"{path}{key}", value
        if isinstance(value, Mapping):
            yield from leaves(value, f"{path}{key}.")


def spelled(value: Any) -> str:
    """A value as it is typed."""
    if isinstance(value, Mapping):
        return "{" + ",".join(f"{key}:{spelled(item)}" for key, item in value.items()) + "}"
    if isinstance(value, list):
        return "[" + ",".join(map(spelled, value)) + "]"
    if value is None or isinstance(value, bool):
        return "null" if value is None else str(value).lower()
    return str(value)


def mutated(chance: random.Random, key: str, value: Any) -> str:
    """One override that somebody may have mistyped, for a key that has ``value``."""
    kind = chance.random()
    if kind < 0.22:
        try:
            return chance.choice(SYNTAX).format(k=key, v=spelled(value))
        except (KeyError, IndexError, ValueError):
            return f"{key}="
    if isinstance(value, Mapping) or kind < 0.30:
        return f"{key}=" + chance.choice([*ANYTHING, *(node % chance.choice(TARGETS) for node in NODES * 4)])
    if key.endswith("_target_"):
        return f"{key}={chance.choice(TARGETS)}"
    if isinstance(value, list):
        items = [*NUMBERS, *ANYTHING]
        length = chance.choice((1, len(value), len(value) + 1))
        return f"{key}=[" + ",".join(chance.choice(items) for _ in range(length)) + "]"
    if isinstance(value, bool) or value is None or isinstance(value, str):
        return f"{key}={chance.choice([*ANYTHING, *NUMBERS])}"
    near = [str(value * factor) for factor in (-1, 1e6, 1e-6, 10)] if math.isfinite(value) else []
    return f"{key}={chance.choice([*NUMBERS, *near, *ANYTHING[:6]])}"


def commands(seed: int, count: int, real: float) -> Iterator[list[str]]:
    """``count`` commands, the share ``real`` of them to be trained, the others only to be looked at."""
    from snnlab.config.compose import compose
    from snnlab.config.line import GROUPS

    chance = random.Random(seed)
    known: dict[str, list[tuple[str, Any]]] = {}
    for _ in range(count):
        dry = chance.random() >= real
        base = list(chance.choice([*BASES, *([word.split() for word, *_ in LOOKED_AT] if dry else [])]))
        base = [word for entry in base for word in (entry.split() if isinstance(entry, str) else entry)]
        name = " ".join(base)
        if name not in known:
            plain = compose(base).plain()
            known[name] = list(leaves(plain))
        entries = known[name]
        if chance.random() < 0.08:
            group = chance.choice(GROUPS)
            words = [
                chance.choice(
                    [
                        f"{group}={chance.choice([*ANYTHING, *NUMBERS, '[stbp]', 'stpb', 'none'])}",
                        f"~{group}",
                        f"+{group}=none",
                        f"{group}@x=none",
                        f"{group}/x=none",
                        f"{group}",
                    ]
                )
            ]
        else:
            words = [mutated(chance, *chance.choice(entries))]
        if chance.random() < 0.05:
            words += [mutated(chance, *chance.choice(entries))]
        keys = {word.split("=")[0] for word in [*base, *words]}
        quick = [
            word for word in QUICK if word.split("=")[0] not in keys and not (dry and word.startswith("trainer.l"))
        ]
        sweep = ["-m"] if chance.random() < 0.06 else []
        yield [*sweep, *quick, *base, *words, *(["dry_run=true"] if dry and "dry_run" not in keys else [])]


def run(command: list[str], limit: float, folder: Path, entry: str = "snnlab.train") -> dict[str, Any]:
    """Run a command of the module ``entry`` in a forked process; how it ended, what it said, how long it took.

    It hangs when it computes for longer than ``limit`` seconds, or waits for longer than ten times that.
    """
    folder = Path(tempfile.mkdtemp(dir=folder))
    started = time.perf_counter()
    sys.stdout.flush()
    child = os.fork()
    if child == 0:
        _become(command, folder, entry, limit)
    ended = None
    while ended is None and time.perf_counter() - started < 10 * limit:
        done, status = os.waitpid(child, os.WNOHANG)
        ended = status if done else None
        time.sleep(0.01)
    if ended is None:
        os.killpg(child, signal.SIGKILL)
        os.waitpid(child, 0)
    said = (folder / "said").read_text(errors="replace") if (folder / "said").is_file() else ""
    seconds = time.perf_counter() - started
    shutil.rmtree(folder, ignore_errors=True)
    code = None if ended is None else os.waitstatus_to_exitcode(ended)
    lines = [line for line in said.splitlines() if re.match(r"snnlab(\.\w+)?: ", line)]
    end = {None: "hang", -signal.SIGXCPU: "hang", 0: "done", 1: "failed", 2: "refused"}.get(code, f"code {code}")
    if "Traceback (most recent call last)" in said:
        end = "traceback"
    elif code in (1, 2) and len(lines) != 1:
        end = f"{len(lines)} lines"
    return {
        "command": command,
        "end": end,
        "seconds": round(seconds, 2),
        "line": lines[-1] if lines else "",
        "said": said[-3000:] if end not in ("done", "refused", "failed") else "",
    }


def _become(command: list[str], folder: Path, entry: str, limit: float) -> None:
    os.setpgid(0, 0)
    resource.setrlimit(resource.RLIMIT_CPU, (math.ceil(limit), math.ceil(limit) + 9))
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY, MEMORY))
    resource.setrlimit(resource.RLIMIT_FSIZE, (2**28, 2**28))
    os.chdir(folder)
    target = os.open("said", os.O_CREAT | os.O_WRONLY)
    os.dup2(target, 1), os.dup2(target, 2)
    sys.stdout, sys.stderr = os.fdopen(1, "w"), os.fdopen(2, "w")
    try:
        code = importlib.import_module(entry).main(command)
    except BaseException:
        traceback.print_exc()
        code = 70
    sys.stdout.flush(), sys.stderr.flush()
    os._exit(code)


def main() -> int:
    """Run the commands that the arguments ask for; 1 when one of them ended as none may."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--count", type=int, default=200)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--real", type=float, default=0.2, help="share of the commands that train")
    parser.add_argument("--limit", type=float, default=60, help="seconds after which a command hangs")
    parser.add_argument("--jobs", type=int, default=1)
    parser.add_argument("--out", type=Path, default=None)
    parser.add_argument("--file", type=Path, default=None, help="commands to run again: those of an earlier FILE")
    given = parser.parse_args()
    import torch

    import snnlab.runs.dry_run
    import snnlab.runs.sweep
    import snnlab.runs.wiring  # noqa: F401

    torch.set_num_threads(1)
    if given.file:
        todo = [json.loads(line)["command"] for line in given.file.read_text().splitlines()]
    else:
        todo = list(commands(given.seed, given.count, given.real))
    results = []
    with tempfile.TemporaryDirectory() as folder, ThreadPoolExecutor(given.jobs) as pool:
        for result in pool.map(lambda command: run(command, given.limit, Path(folder)), todo):
            results.append(result)
            if result["end"] not in ("done", "refused", "failed"):
                print(result["end"], " ".join(map(ascii, result["command"])), flush=True)
            if given.out:
                with given.out.open("a") as file:
                    file.write(json.dumps(result) + "\n")
    ends = Counter(re.sub(r"\d+ lines", "several lines", result["end"]) for result in results)
    print(f"{len(results)} commands: " + ", ".join(f"{count} {end}" for end, count in ends.most_common()))
    return int(any(end not in ("done", "refused", "failed") for end in ends))


if __name__ == "__main__":
    sys.exit(main())
