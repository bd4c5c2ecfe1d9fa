"""A sample of ``python tests/shared/together.py``: several processes on an empty cache build once."""

import pytest

from shared.together import check


@pytest.mark.parametrize("case", ["films", "checked hashes", "download"])
def test_three_processes_build_once_and_again_where_the_first_dies(case, tmp_path):
    told: list[str] = []
    assert check([case], tmp_path, 3, told.append) == 0, "\n".join(told)
    assert len(told) == 2
