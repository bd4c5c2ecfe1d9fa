"""Four workers on one study, one of them SIGKILLed in a trial: ``python tests/search/four_workers.py [trials=16]``.

The killed worker's trial must be queued again and completed, every trial must end, and the journal must be whole.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

LINE = ["search=neuron", "method=stbp", "data=digits", "model.hidden=[8]", "encoder.time_steps=4", "kernels=step"]
LINE += ["trainer.max_epochs=2", "pruner=none", "seed=1"]


def running(folder: Path) -> list[tuple[int, int]]:
    """The trials that are being fitted, by number, and the process of each."""
    from optuna.trial import TrialState

    from snnlab.search.journal import open_journal

    storage = open_journal(folder / "journal.log")
    trials = storage.get_all_trials(storage.get_all_studies()[0]._study_id)
    named = {
        trial.user_attrs["process"]["id"]: trial.number
        for trial in trials
        if trial.state == TrialState.RUNNING and "process" in trial.user_attrs
    }
    fitted = set()
    for path in folder.glob("trials/*/run.json"):
        content = json.loads(path.read_text())
        if content["status"] == "running":
            fitted.add(content["process"]["id"])
    return [(number, process) for process, number in named.items() if process in fitted]


def show(trials: int, output: Path) -> dict[str, object]:
    """Start the workers, kill one in the middle of a trial, wait for the others; what came of it."""
    command = [sys.executable, "-m", "snnlab.search", *LINE, f"trials={trials}", f"paths.output={output}"]
    started = time.monotonic()
    workers = [subprocess.Popen(command, stdout=subprocess.DEVNULL) for _ in range(4)]
    killed = None
    while killed is None and time.monotonic() - started < 300:
        time.sleep(0.02)
        (folder,) = list(output.glob("search-*")) or [None]
        if folder is None or not (folder / "study.json").exists():
            continue
        for number, process in running(folder):
            if number >= 4:
                os.kill(process, signal.SIGKILL)
                killed = number
                break
    codes = sorted(worker.wait() for worker in workers)
    from optuna.trial import TrialState

    from snnlab.search.journal import open_journal

    storage = open_journal(folder / "journal.log")
    found = storage.get_all_trials(storage.get_all_studies()[0]._study_id)
    for line in (folder / "journal.log").read_text().splitlines():
        json.loads(line)
    again = [trial for trial in found if trial.user_attrs.get("of") == killed]
    kept = [trial for trial in found if "again" not in trial.user_attrs]
    return {
        "killed": killed,
        "of it": found[killed].user_attrs["reason"],
        "queued again as": [trial.number for trial in again],
        "the same": all(trial.params == found[killed].params for trial in again),
        "its state": [trial.state.name for trial in again],
        "completed": sum(trial.state == TrialState.COMPLETE for trial in kept),
        "all": len(kept),
        "exit codes": codes,
        "workers": len({trial.user_attrs["process"]["id"] for trial in found if "process" in trial.user_attrs}),
        "seconds": round(time.monotonic() - started, 1),
    }


if __name__ == "__main__":
    number = int(dict(word.split("=") for word in sys.argv[1:]).get("trials", 16))
    with tempfile.TemporaryDirectory() as place:
        told = show(number, Path(place))
    print(json.dumps(told, indent=2))
    good = told["completed"] == told["all"] == number and told["its state"] == ["COMPLETE"] and told["the same"]
    sys.exit(0 if good and told["exit codes"] == [-9, 0, 0, 0] else 1)
