"""docs/questions.md says who answers what, as the code does."""

from __future__ import annotations

import importlib.util
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]


def drawing():
    spec = importlib.util.spec_from_file_location("draw_questions", ROOT / "docs/draw_questions.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_page_is_what_is_made_from_the_code():
    text = (ROOT / "docs/questions.md").read_text()
    assert drawing().page(text) == text, "run python docs/draw_questions.py"


def test_every_method_answers_something_and_every_question_has_an_answer():
    drawn = drawing()
    methods, asked = drawn.classes("method").values(), drawn.questions()
    assert all(method.answers for method in methods) and len(asked) >= 6
    for kind in asked:
        assert any(issubclass(kind, method.answers) for method in methods), kind
