"""The runs that lie in results/: all are read and can be built again, and their page is what they make."""

import functools
from collections import Counter
from pathlib import Path

import pytest

from snnlab.config.build import build
from snnlab.runs.identity import digest, less_seed, recorded
from snnlab.runs.record import RunRecord
from snnlab.tables.__main__ import table
from snnlab.tables.page import check
from snnlab.tables.rows import read_runs, rows_of

RESULTS = Path(__file__).parents[2] / "results"
PATHS = sorted(RESULTS.rglob("run.json"))


@functools.cache
def contents():
    return [RunRecord.read(path.parent).content for path in PATHS]


def test_every_stored_run_is_read_and_has_an_identity_and_a_row():
    assert len(PATHS) >= 485  # none is lost
    identities = Counter(digest(recorded(content)) for content in contents())
    rows = Counter(digest(less_seed(recorded(content))) for content in contents())
    assert len(rows) < len(identities) < len(PATHS)  # some were run again, with other kernels
    for content in contents():
        assert "moved" not in content and content["config"]["trainer"]["devices"] == 1


def test_the_parts_of_every_row_can_be_built_again(empty_data):
    from omegaconf import OmegaConf

    built = set()
    for content in contents():
        row = digest(less_seed(recorded(content)))
        if row not in built:
            built.add(row)
            parameters = build(OmegaConf.create(content["config"])).method.parameters()
            prototypes = content["method"] == "vdib" and content["data"] in ("mnist_dvs", "nmnist")
            if not prototypes and content["provenance"]["source"] != "simulated":  # of whatever images there are here
                assert sum(p.numel() for p in parameters if p.requires_grad) == content["parameters"], content[
                    "overrides"
                ]
    assert len(built) >= 163  # none is lost


@pytest.mark.parametrize(
    ("folder", "rows"),
    [
        ("main_films", 4),
        ("main_films_learned", 2),
        ("main_digits", 2),
        ("stbp_fashion_mnist", 2),
        ("ahp_store_recall", 5),
        ("vdib_mnist_time", 6),
    ],
)
def test_runs_of_different_configs_under_one_seed_have_rows_of_their_own(folder, rows):
    found = rows_of(read_runs([RESULTS / folder]))
    assert len(found) == rows
    for row in found.values():
        assert len({digest(less_seed(recorded(run))) for run in row.runs}) == 1


@pytest.mark.parametrize("page", ["results/README.md", "results/papers.md", "README.md", "README.zh-CN.md"])
def test_every_table_of_a_page_is_what_its_runs_make(page):
    path = RESULTS.parent / page
    text = path.read_text()
    if path.parent == RESULTS:
        assert text.count("<!-- table: ") == text.count("\n| --- |")  # no table stands there without its arguments
    check(path, table)
