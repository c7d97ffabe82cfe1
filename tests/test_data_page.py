"""The commands that docs/data.md shows are commands, and its Python is Python."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import pytest

from monai_bmaps.data.prepare.command import argument_parser

PAGE = (Path(__file__).parents[1] / "docs" / "data.md").read_text()
COMMANDS = re.findall(r"^python -m monai_bmaps\.data (.*)$", PAGE, flags=re.MULTILINE)


def test_the_page_shows_every_data_set() -> None:
    assert {command.split()[1] for command in COMMANDS} == {"camus", "segthy", "folder", "dicom"}


@pytest.mark.parametrize("command", COMMANDS)
def test_a_command_of_the_page_is_accepted(command: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    options = argument_parser().parse_args(shlex.split(command))
    source = options.make(options)
    assert source.root == options.source


def test_the_python_of_the_page_compiles() -> None:
    for block in re.findall(r"```python\n(.*?)```", PAGE, flags=re.DOTALL):
        compile(block, "data.md", "exec")


def test_every_option_the_page_names_exists() -> None:
    text = "".join(argument_parser().parse_args.__doc__ or "")
    subparsers = [action for action in argument_parser()._actions if hasattr(action, "choices") and action.choices]
    sets = subparsers[0].choices["prepare"]._actions[-1].choices
    text += "".join(parser.format_help() for parser in sets.values())
    named = set(re.findall(r"`(--[a-z-]+)", PAGE))
    assert named
    assert {option for option in named if option not in text} == set()
