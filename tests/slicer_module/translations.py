"""Gather what users read into the file that translators start from: ``make translations``.

Slicer looks a text of ``_()`` up under ``package.module``, which Qt's lupdate cannot know; so it reads one module at a
time, and its nameless context gets that name.
"""

from __future__ import annotations

import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from xml.etree import ElementTree

ROOT = Path(__file__).parents[2]
MODULE = ROOT / "SlicerBMapDiffusion"
SOURCE = MODULE / "Resources" / "Translations" / "SlicerBMapDiffusion_en-US.ts"


def lupdate() -> str | None:
    """Qt's tool, which PySide6 brings."""
    return shutil.which("pyside6-lupdate", path=str(Path(sys.executable).parent)) or shutil.which("pyside6-lupdate")


def context_of(path: Path) -> str:
    """The name under which Slicer looks a module's texts up."""
    return f"{path.parent.name}.{path.stem}" if (path.parent / "__init__.py").is_file() else path.stem


def extracted() -> str:
    """The translation source: each context by name, each text once, without line numbers."""
    texts: dict[str, list[str]] = {}
    for path in sorted([*MODULE.glob("*.py"), *MODULE.glob("*Lib/**/*.py"), *MODULE.glob("Resources/UI/*.ui")]):
        for name, sources in _read(path).items():
            texts.setdefault(name or context_of(path), []).extend(sources)
    document = ElementTree.Element("TS", version="2.1", language="en_US", sourcelanguage="en_US")
    for name in sorted(texts):
        context = ElementTree.SubElement(document, "context")
        ElementTree.SubElement(context, "name").text = name
        for source in dict.fromkeys(texts[name]):
            message = ElementTree.SubElement(context, "message")
            ElementTree.SubElement(message, "source").text = source
            ElementTree.SubElement(message, "translation", type="unfinished")
    ElementTree.indent(document, "    ")
    return f'<?xml version="1.0" encoding="utf-8"?>\n<!DOCTYPE TS>\n{ElementTree.tostring(document, "unicode")}\n'


def _read(path: Path) -> dict[str, list[str]]:
    """Context to texts, as lupdate finds them."""
    options = ["-silent", "-tr-function-alias", "tr+=_", "-locations", "none"]
    command = [lupdate() or "pyside6-lupdate", *options, path.name]
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder) / "out.ts"
        subprocess.run([*command, "-ts", str(out)], cwd=path.parent, check=True, capture_output=True)
        contexts = ElementTree.parse(out).getroot().findall("context")
    return {
        context.findtext("name") or "": [message.findtext("source") or "" for message in context.findall("message")]
        for context in contexts
    }


if __name__ == "__main__":
    SOURCE.parent.mkdir(exist_ok=True)
    SOURCE.write_text(extracted(), encoding="utf-8")
