"""Packages import in one direction, there are no circular imports, and no file exceeds 400 lines.

Imports inside functions count. Names that are looked up as text (`tersely.build`, the command table) do not.
"""

from __future__ import annotations

import ast
from pathlib import Path

import tersely

HERE = Path(tersely.__file__).parent
ORDER = [
    {"core"},
    {"configs"},
    {"rewards", "testbed"},
    {"algorithms"},
    {"data", "engines"},
    {"eval"},
    {"rl"},
    {"launch"},
]
"""Each package may import those of earlier rows."""
LEVEL = {name: row for row, names in enumerate(ORDER) for name in names}


def modules() -> dict[str, Path]:
    def name(path: Path) -> str:
        return ".".join(["tersely", *path.relative_to(HERE).with_suffix("").parts]).removesuffix(".__init__")

    return {name(path): path for path in sorted(HERE.rglob("*.py"))}


def imports() -> dict[str, set[str]]:
    """Module -> modules that it imports. `from package import name` means the package only where `name` is no module."""
    known = modules()
    found: dict[str, set[str]] = {}
    for module, path in known.items():
        targets = found.setdefault(module, set())
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Import):
                targets |= {alias.name for alias in node.names} & known.keys()
            elif isinstance(node, ast.ImportFrom) and node.module in known:
                names = {f"{node.module}.{alias.name}" for alias in node.names}
                targets |= names & known.keys() or {node.module}
        targets.discard(module)
    return found


def test_every_package_has_its_place():
    assert {path.name for path in HERE.iterdir() if (path / "__init__.py").exists()} == LEVEL.keys()


def test_packages_import_downwards():
    def package(module: str) -> str:
        return module.split(".")[1] if "." in module else ""

    against = [
        f"{module} imports {target}"
        for module, targets in imports().items()
        for target in targets
        if package(module) in LEVEL and package(target) in LEVEL and package(module) != package(target)
        if LEVEL[package(target)] >= LEVEL[package(module)]
    ]
    assert not against, "\n".join(against)


def test_no_circle():
    graph = imports()
    done: set[str] = set()
    path: list[str] = []

    def visit(module: str) -> list[str] | None:
        if module in path:
            return [*path[path.index(module) :], module]
        if module in done:
            return None
        path.append(module)
        for target in sorted(graph[module]):
            if circle := visit(target):
                return circle
        path.pop()
        done.add(module)
        return None

    for module in graph:
        circle = visit(module)
        assert circle is None, " -> ".join(circle or [])


def test_files_stay_readable():
    long = {module: lines for module, path in modules().items() if (lines := len(path.read_text().splitlines())) > 400}
    assert not long
