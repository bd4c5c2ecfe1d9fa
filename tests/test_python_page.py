"""Every block of docs/python.md runs, one after the other, and what it says is so."""

import re
from pathlib import Path

import matplotlib.pyplot as plt
import torch

PAGE = Path(__file__).parents[1] / "docs" / "python.md"


def test_the_blocks_of_the_page_run(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    plt.close("all")  # of tests before
    blocks = re.findall(r"```python\n(.*?)```", PAGE.read_text(), re.DOTALL)
    assert len(blocks) == 9
    names: dict[str, object] = {}
    for block in blocks:
        exec(compile(block, str(PAGE), "exec"), names)
    assert (tmp_path / "membrane.png").stat().st_size > 5000
    assert (tmp_path / "accuracy_over_time.png").stat().st_size > 5000
    accuracy = names["result"].metrics["test"]["accuracy"]
    assert names["content"]["metrics"]["test"]["accuracy"] == accuracy > 0.3
    assert f"{accuracy:.4f}" in capsys.readouterr().out  # the table
    assert len(names["epochs"]) == 4
    assert plt.get_fignums() == []  # what a question drew is not in the way of the next plot
    seen, outputs = names["seen"], names["outputs"]
    assert torch.equal(seen.spikes["hidden1"], names["fired"]["hidden1"]) and len(outputs) == 8  # it is a forward
    assert torch.equal(seen.outputs, outputs)
    assert names["table"]["test/accuracy"].tolist() == [accuracy] and names["table"]["status"].tolist() == ["completed"]
    assert names["spikes"].nonzero()[:, 0].tolist()[:2] == [3, 7]  # the hand-made case
