"""Who may import whom, what modules are called, and that everything public is described and typed."""

from __future__ import annotations

import ast
import importlib
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PACKAGE = ROOT / "monai_bmaps"
SLICER_LIBRARY = ROOT / "SlicerBMapDiffusion" / "SlicerBMapDiffusionLib"
SLICER_ROOMS = {
    "places": set(),
    "geometry": set(),
    "jobs": set(),
    "models": {"jobs", "places"},
    "setup": {"jobs", "places"},
    "scene": {"geometry", "models", "places"},
    "parameters": set(),
    "planning": {"geometry", "jobs", "models", "parameters", "scene"},
    "defaults": {"models", "parameters", "planning", "scene"},
    "choices": {"models"},
    "beam_finding": {"geometry", "models", "planning", "scene"},
    "errands": {"beam_finding", "geometry", "jobs", "models", "places", "planning", "scene"},
    "logic": {"choices", "errands", "geometry", "jobs", "models", "parameters", "planning", "scene", "setup"},
}
"""What each room of the Slicer library may import of it; the panel, the widget and the self-test stand above all."""

MODULES = sorted(PACKAGE.rglob("*.py"))

_CORE = {"types", "bmaps", "diffusion"}
ALLOWED = {
    "types": set(),
    "files": set(),
    "geometry": {"types"},
    "bmaps": {"types"},
    "diffusion": {"types"},
    "schedulers": _CORE,
    "networks": {"types"},
    "conversion": {"networks"},
    "acceleration": {"types"},
    "ranks": {"types"},
    "inferers": {*_CORE, "acceleration", "schedulers"},
    "transforms": {*_CORE, "draws", "geometry", "inferers", "model_card", "schedulers"},
    "pictures": {"types"},
    "metrics": {"data", "files", "geometry", "pictures", "provenance", "transforms", "types"},
    "evaluation": {"files", "metrics", "pictures", "types"},
    "data": {"files", "geometry", "types"},
    "draws": set(),
    "model_card": {*_CORE, "files", "geometry", "schedulers"},
    "training": {*_CORE, "draws", "files", "model_card", "schedulers", "inferers"},
    "losses": {*_CORE, "schedulers", "training"},
    "provenance": {"files", "pictures"},
    "handlers": {
        *_CORE,
        "data",
        "draws",
        "files",
        "inferers",
        "pictures",
        "provenance",
        "ranks",
        "schedulers",
        "transforms",
    },
    "jobs": {"data", "files", "geometry", "pictures", "ranks", "transforms"},
    "export": {"files", "inferers", "training"},
    "figures": {
        *_CORE,
        "data",
        "files",
        "geometry",
        "inferers",
        "pictures",
        "schedulers",
        "training",
        "transforms",
    },
}
FAMILIES = {"distributions", "pairs", "realism", "memorisation", "obedience"}
ROOMS_OF_METRICS = {
    "findings": set(),
    "images": set(),
    "segmentation": set(),
    **{family: {"findings", "images"} for family in FAMILIES},
    "obedience": {"findings", "images", "segmentation"},
    "downstream": {"findings", "images", "segmentation"},
    "comparison": {"findings", "images", "segmentation", *FAMILIES},
}
READERS = {"camus", "segthy", "folder", "datalist", "split", "classes"}
PIXEL_LIBRARIES = {"PIL", "nibabel", "numpy", "torch", "monai", "SimpleITK", "imageio", "cv2"}
FOREIGN = {"matplotlib", "slicer", "qt", "vtk"}


def named(path: Path) -> str:
    return str(path.relative_to(ROOT))


def component(path: Path) -> str:
    """First name below the package: ``schedulers`` for schedulers/ddim.py, ``types`` for types.py."""
    return path.relative_to(PACKAGE).parts[0].removesuffix(".py")


def imports(tree: ast.AST, everywhere: bool = True) -> Iterator[str]:
    """Dotted names of what is imported; without ``everywhere`` not what functions import when called."""
    for node in ast.iter_child_nodes(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, "imports are absolute"
            yield from (f"{node.module}.{alias.name}" for alias in node.names)
        elif everywhere or not isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)):
            yield from imports(node, everywhere)


def parsed(path: Path) -> ast.Module:
    return ast.parse(path.read_text())


def roots(path: Path, everywhere: bool = True) -> set[str]:
    return {name.split(".")[0] for name in imports(parsed(path), everywhere)}


def test_the_parser_sees_imports_where_it_should() -> None:
    tree = ast.parse("import a.b\ntry:\n    from c import d\nexcept ImportError:\n    pass\ndef f():\n    import e\n")
    assert set(imports(tree)) == {"a.b", "c.d", "e"}
    assert set(imports(tree, everywhere=False)) == {"a.b", "c.d"}


@pytest.mark.parametrize("path", [p for p in MODULES if p != PACKAGE / "__init__.py"], ids=named)
def test_a_module_imports_only_what_lies_below_it(path: Path) -> None:
    allowed = ALLOWED[component(path)] | {component(path)}
    if path.parent == PACKAGE / "data" / "prepare":
        allowed |= {"transforms", "pictures"}
    pairs = {tuple(name.split(".")[:2]) for name in imports(parsed(path)) if name.split(".")[0] == "monai_bmaps"}
    assert {second for _, second in pairs} <= allowed


def room(path: Path) -> str | None:
    """Folder of ``metrics`` that a module lies in: ``pairs`` for metrics/pairs/figures.py."""
    parts = path.relative_to(PACKAGE).parts
    return parts[1] if parts[0] == "metrics" and len(parts) > 2 else None


def of_metrics(path: Path) -> list[list[str]]:
    """What a module imports of ``metrics`` outside of its own room: ``["pairs", "Lpips"]``, ``["compare"]``."""
    found = [name.split(".")[2:] for name in imports(parsed(path)) if name.startswith("monai_bmaps.metrics.")]
    return [names for names in found if names[0] != room(path)]


def test_the_metrics_are_rooms_under_one_command() -> None:
    metrics = PACKAGE / "metrics"
    assert {path.parent.name for path in metrics.glob("*/__init__.py")} == set(ROOMS_OF_METRICS)
    assert {path.stem for path in metrics.glob("*.py")} == {"__init__", "__main__", "command"}


@pytest.mark.parametrize("path", [p for p in MODULES if room(p)], ids=named)
def test_a_room_of_the_metrics_imports_only_rooms_below_it(path: Path) -> None:
    assert {names[0] for names in of_metrics(path)} <= ROOMS_OF_METRICS[str(room(path))]


@pytest.mark.parametrize("path", [p for p in MODULES if p != PACKAGE / "metrics" / "command.py"], ids=named)
def test_rooms_of_the_metrics_are_entered_by_their_doors(path: Path) -> None:
    doors = {name: set(importlib.import_module(f"monai_bmaps.metrics.{name}").__all__) for name in ROOMS_OF_METRICS}
    into_rooms = [names for names in of_metrics(path) if names[0] in doors]
    assert [names for names in into_rooms if len(names) != 2 or names[1] not in doors[names[0]]] == []


@pytest.mark.parametrize(
    "path", [p for p in MODULES if component(p) in {"geometry", "bmaps", "diffusion", "types"}], ids=named
)
def test_the_mathematics_never_imports_monai(path: Path) -> None:
    assert "monai" not in roots(path)


@pytest.mark.parametrize("path", MODULES, ids=named)
def test_no_module_needs_an_application_or_a_plotting_library_to_be_imported(path: Path) -> None:
    assert not roots(path, everywhere=False) & FOREIGN


@pytest.mark.parametrize("path", MODULES, ids=named)
def test_no_module_imports_the_archived_package_whose_weights_we_convert(path: Path) -> None:
    assert "generative" not in roots(path)


@pytest.mark.parametrize("path", [p for p in MODULES if component(p) == "data" and p.stem in READERS], ids=named)
def test_readers_of_data_sets_open_no_pixels(path: Path) -> None:
    assert not roots(path) & PIXEL_LIBRARIES


@pytest.mark.skipif(not SLICER_LIBRARY.is_dir(), reason="the Slicer module is not there")
def test_the_slicer_library_does_not_import_torch_monai_or_this_package() -> None:
    found = {named(path): roots(path) & {"torch", "monai", "monai_bmaps"} for path in SLICER_LIBRARY.rglob("*.py")}
    assert found
    assert not {path: names for path, names in found.items() if names}


@pytest.mark.parametrize("room", SLICER_ROOMS)
def test_a_room_of_the_slicer_library_imports_only_what_stands_below_it(room: str) -> None:
    paths = sorted(SLICER_LIBRARY.glob(f"{room}/*.py")) or sorted(SLICER_LIBRARY.glob(f"{room}.py"))
    if not paths:
        pytest.skip("the Slicer module is not there")
    found = {named(path): slicer_rooms(path) - SLICER_ROOMS[room] - {room} for path in paths}
    assert not {path: names for path, names in found.items() if names}


def test_every_component_has_a_place_in_the_architecture() -> None:
    assert {component(path) for path in MODULES} - {"__init__"} <= set(ALLOWED)


@pytest.mark.parametrize("path", MODULES, ids=named)
def test_no_module_is_named_after_nothing(path: Path) -> None:
    assert path.stem.strip("_") not in {"utils", "util", "helpers", "helper", "common", "misc", "tools"}


def slicer_rooms(path: Path) -> set[str]:
    """Rooms, and modules outside of rooms, of the Slicer library that a module imports."""
    library, found = SLICER_LIBRARY.name, set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.ImportFrom) and (node.module or "").split(".")[0] == library:
            parts = (node.module or "").split(".")
            found |= {parts[1]} if len(parts) > 1 else {alias.name for alias in node.names}
    return found


# descriptions and types


def public(tree: ast.Module) -> Iterator[tuple[str, ast.FunctionDef | ast.ClassDef]]:
    """Public functions and classes, and the public methods of those (``__call__`` among them)."""
    for node in tree.body:
        if isinstance(node, (ast.FunctionDef, ast.ClassDef)) and not node.name.startswith("_"):
            yield node.name, node
            for member in node.body if isinstance(node, ast.ClassDef) else ():
                if isinstance(member, ast.FunctionDef) and (
                    member.name == "__call__" or not member.name.startswith("_")
                ):
                    yield f"{node.name}.{member.name}", member


def unannotated(function: ast.FunctionDef) -> Iterator[str]:
    arguments = function.args
    every = [*arguments.posonlyargs, *arguments.args, *arguments.kwonlyargs, arguments.vararg, arguments.kwarg]
    yield from (a.arg for a in every if a is not None and a.annotation is None and a.arg not in {"self", "cls"})
    if function.returns is None:
        yield "return"


@pytest.mark.parametrize("path", MODULES, ids=named)
def test_a_module_says_what_it_owns(path: Path) -> None:
    assert ast.get_docstring(parsed(path))


@pytest.mark.parametrize("path", MODULES, ids=named)
def test_everything_public_has_a_docstring(path: Path) -> None:
    assert [name for name, node in public(parsed(path)) if not ast.get_docstring(node)] == []


@pytest.mark.parametrize("path", MODULES, ids=named)
def test_every_public_signature_is_annotated(path: Path) -> None:
    functions = [(name, node) for name, node in public(parsed(path)) if isinstance(node, ast.FunctionDef)]
    constructors = [
        (f"{name}.__init__", member)
        for name, node in public(parsed(path))
        if isinstance(node, ast.ClassDef)
        for member in node.body
        if isinstance(member, ast.FunctionDef) and member.name == "__init__"
    ]
    found = {name: [*unannotated(node)] for name, node in [*functions, *constructors]}
    assert {name: missing for name, missing in found.items() if missing} == {}


@pytest.mark.parametrize("path", [p for p in MODULES if p.name == "__init__.py"], ids=named)
def test_a_package_exports_names_that_exist_once_each(path: Path) -> None:
    module = importlib.import_module(".".join(path.parent.relative_to(ROOT).parts))
    assert [name for name in module.__all__ if not hasattr(module, name)] == []
    assert len(set(module.__all__)) == len(module.__all__)
