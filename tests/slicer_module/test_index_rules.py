"""What Slicer's Extensions Index checks and asks of an extension, as far as it can be checked without a network."""

from __future__ import annotations

import ast
import json
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit

import pytest

ROOT = Path(__file__).parents[2]
MODULE = ROOT / "SlicerBMapDiffusion"
DESCRIPTION = MODULE / "BMapDiffusion.json"
CMAKE = (ROOT / "CMakeLists.txt").read_text()
README = (MODULE / "README.md").read_text()
SHIPPED = sorted([*MODULE.glob("*.py"), *(MODULE / "SlicerBMapDiffusionLib").rglob("*.py")])
LARGEST = 100e6
# of the index's list of categories
CATEGORIES = {"Cardiac", "Simulation", "Ultrasound"}
# the index's schema, version 1.0.1
KEYS = {"category": str, "scm_url": str, "scm_revision": str, "build_subdirectory": str, "tier": int}
KEYS |= {"$schema": str, "build_dependencies": list}
# what Slicer brings
KNOWN = set(sys.stdlib_module_names) | {"numpy", "vtk", "qt", "ctk", "slicer", "SlicerBMapDiffusionLib"}


def metadata(name: str) -> str:
    """A value as the index reads it: one line, between quotes."""
    match = re.search(rf'^set\(EXTENSION_{name} "([^"\n]+)"\)$', CMAKE, re.MULTILINE)
    assert match, f"EXTENSION_{name} must be one line"
    return match[1]


def described() -> dict[str, object]:
    return dict(json.loads(DESCRIPTION.read_text()))


def test_the_extensions_name_is_its_project_and_its_file_and_does_not_start_with_slicer() -> None:
    assert re.findall(r"project\s*\(\s*([^\s)]+)", CMAKE) == [DESCRIPTION.stem]
    assert not DESCRIPTION.stem.startswith("Slicer")


def test_the_description_file_has_the_indexs_form() -> None:
    assert b"\r" not in DESCRIPTION.read_bytes()
    assert DESCRIPTION.read_bytes().endswith(b"}\n")
    assert {name: type(value) for name, value in described().items()} == KEYS
    assert described()["category"] in CATEGORIES
    assert described()["tier"] in range(1, 6)


def test_description_file_and_cmake_say_the_same() -> None:
    assert metadata("CATEGORY") == described()["category"]
    assert metadata("DEPENDS").split() == described()["build_dependencies"]
    assert metadata("HOMEPAGE") == described()["scm_url"]


def test_the_repository_is_called_after_slicer() -> None:
    address = urlsplit(str(described()["scm_url"]))
    assert address.scheme == "https"
    assert address.path.rpartition("/")[2].startswith("Slicer")


@pytest.mark.parametrize("name", ["ICONURL", "SCREENSHOTURLS"])
def test_pictures_are_files_of_this_repository(name: str) -> None:
    owner = urlsplit(metadata("HOMEPAGE")).path
    for url in metadata(name).split():
        prefix = f"https://raw.githubusercontent.com{owner}/{described()['scm_revision']}/"
        assert url.startswith(prefix)
        picture = ROOT / url.removeprefix(prefix)
        assert picture.read_bytes().startswith(b"\x89PNG\r\n"), picture


def test_the_icon_has_the_size_that_slicer_shows() -> None:
    header = (MODULE / "Resources" / "Icons" / "SlicerBMapDiffusion.png").read_bytes()[16:24]
    assert header == (128).to_bytes(4, "big") * 2


def test_the_licence_lies_at_the_root() -> None:
    assert "Apache License" in (ROOT / "LICENSE").read_text()


@pytest.mark.parametrize(
    "heading", ["Modules", "Installation", "Tutorial: heart", "Tutorial: thyroid", "Privacy, network and disk"]
)
def test_the_readme_has_the_sections_that_reviewers_ask_for(heading: str) -> None:
    assert f"\n## {heading}\n" in README


def test_the_readme_answers_the_reviewers_questions() -> None:
    assert re.search(r"!\[[^\]]+\]\(Screenshots/\w+\.png\)", README), "a picture"
    assert "Sample Data" in README, "where sample data comes from"
    assert "arxiv.org/abs/2407.05428" in README, "how to cite"
    assert "Slicer 5.10 or newer" in README
    assert "How to remove" in README


def test_pictures_and_files_of_the_readme_are_there() -> None:
    targets = [target for target in re.findall(r"\]\(([^)#]+)\)", README) if "://" not in target]
    assert [target for target in targets if not (MODULE / target).is_file()] == []


def git(*arguments: str) -> str:
    return subprocess.run(["git", *arguments], cwd=ROOT, capture_output=True, text=True, check=True).stdout


def test_the_repository_stays_below_the_indexs_limit_with_all_its_history() -> None:
    """The index clones everything and adds up all files, those of .git among them."""
    if not (ROOT / ".git").exists() or git("rev-parse", "--is-shallow-repository").strip() == "true":
        pytest.skip("this is no clone with its history")
    history = int(git("rev-list", "--disk-usage", "--objects", "HEAD"))
    checkout = sum((ROOT / name).stat().st_size for name in git("ls-files", "-z").split("\0") if name)
    assert checkout > 1e6
    assert history + checkout < LARGEST


# code


def at_file_scope(nodes: list[ast.stmt]) -> Iterator[ast.stmt]:
    """Statements that run when a module is imported, those of branches among them."""
    for node in nodes:
        yield node
        if isinstance(node, (ast.If, ast.Try, ast.With)):
            yield from at_file_scope([child for child in ast.iter_child_nodes(node) if isinstance(child, ast.stmt)])


@pytest.mark.parametrize("path", SHIPPED, ids=lambda path: path.relative_to(MODULE).as_posix())
def test_no_third_party_is_imported_at_file_scope(path: Path) -> None:
    names: set[str] = set()
    for node in at_file_scope(ast.parse(path.read_text()).body):
        if isinstance(node, ast.Import):
            names |= {alias.name.partition(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            names.add(str(node.module).partition(".")[0])
    assert names <= KNOWN


@pytest.mark.parametrize("path", SHIPPED, ids=lambda path: path.relative_to(MODULE).as_posix())
def test_nothing_runs_at_file_scope(path: Path) -> None:
    """Definitions, constants, imports, texts, a program's start: no loops, no other branches, no bare calls."""
    allowed = (ast.Import, ast.ImportFrom, ast.FunctionDef, ast.ClassDef, ast.Assign, ast.AnnAssign, ast.AugAssign)
    assert [
        ast.unparse(node)
        for node in ast.parse(path.read_text()).body
        if not isinstance(node, allowed)
        and not (isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant))
        and not (isinstance(node, ast.If) and ast.unparse(node.test) == "__name__ == '__main__'")
    ] == []


@pytest.mark.parametrize("path", SHIPPED, ids=lambda path: path.relative_to(MODULE).as_posix())
def test_pytorch_is_left_to_its_extension(path: Path) -> None:
    """No text of the code asks pip for torch."""
    texts = [node.value for node in ast.walk(ast.parse(path.read_text())) if isinstance(node, ast.Constant)]
    assert not [text for text in texts if isinstance(text, str) and re.fullmatch(r"torch(vision)?\s*[<>=~].*", text)]


def test_requirements_name_no_torch_and_no_exact_versions() -> None:
    lines = (MODULE / "Resources" / "requirements.txt").read_text().splitlines()
    lines = [line for line in lines if not line.startswith("#")]
    assert lines
    assert not [line for line in lines if line.startswith("torch") or "==" in line or ">=" not in line]
