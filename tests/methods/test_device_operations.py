"""The list that what runs on the second device is held against (test_second_device.py) is torch's own."""

from __future__ import annotations

import re

import torch

from without_form import WITHOUT_FORM


def test_the_list_is_torchs() -> None:
    text = torch.use_deterministic_algorithms.__doc__ or ""
    raising = text[
        text.index("normally-nondeterministic operations will throw a") : text.index(
            "In addition, several operations fill"
        )
    ]
    found = set(re.findall(r"^        \* :\w+:`([\w.]+)`", raising, re.MULTILINE))
    assert found == set(WITHOUT_FORM)
