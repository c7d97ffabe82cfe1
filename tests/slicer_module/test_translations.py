"""Texts for translators, and that every text can be translated."""

from __future__ import annotations

import ast
from pathlib import Path
from xml.etree import ElementTree

import pytest

from slicer_module import translations

PYTHON = sorted([*translations.MODULE.glob("*.py"), *translations.MODULE.glob("*Lib/**/*.py")])


def test_the_file_for_translators_holds_what_the_module_says() -> None:
    if translations.lupdate() is None:
        pytest.skip("Qt's lupdate is not installed here; `make test-slicer` runs this")
    assert translations.SOURCE.read_text(encoding="utf-8") == translations.extracted(), "run `make translations`"


def test_contexts_are_the_ones_that_slicer_looks_up() -> None:
    names = {element.text for element in ElementTree.parse(translations.SOURCE).iter("name")}
    assert "SlicerBMapDiffusion" in names
    assert "SlicerBMapDiffusionLib.widget" in names


@pytest.mark.parametrize("path", PYTHON, ids=lambda path: path.name)
def test_texts_are_whole_literals(path: Path) -> None:
    """A text that is put together when the program runs is found by no translator."""
    calls = [node for node in ast.walk(ast.parse(path.read_text())) if isinstance(node, ast.Call)]
    texts = [call.args[0] for call in calls if isinstance(call.func, ast.Name) and call.func.id == "_"]
    assert [ast.unparse(text) for text in texts if not isinstance(text, ast.Constant)] == []


@pytest.mark.parametrize("path", PYTHON, ids=lambda path: path.name)
def test_placeholders_have_names(path: Path) -> None:
    """Other languages have other orders, and Slicer compares placeholders by name."""
    calls = [node for node in ast.walk(ast.parse(path.read_text())) if isinstance(node, ast.Call)]
    texts = [call.args[0] for call in calls if isinstance(call.func, ast.Name) and call.func.id == "_"]
    said = [text.value for text in texts if isinstance(text, ast.Constant) and isinstance(text.value, str)]
    assert [text for text in said if "{}" in text or "{0" in text or "%s" in text] == []
