"""What our sources import from another package, looked up in the version that is on the path."""

from __future__ import annotations

import ast
from importlib import import_module
from pathlib import Path

ROOT = Path(__file__).parents[2]


def missing_imports(package: str) -> list[str]:
    """`file: module.name` of every import that this version does not have, and nothing of ours catches."""
    found = []
    for path in sorted([*(ROOT / "tersely").rglob("*.py"), ROOT / "scripts" / "gpu.py"]):
        if package not in (text := path.read_text()):
            continue
        tree = ast.parse(text)
        tries = [node for node in ast.walk(tree) if isinstance(node, ast.Try)]
        caught = {id(inner) for one in tries for part in one.body for inner in ast.walk(part)}
        for node in ast.walk(tree):
            module = str(node.module) if isinstance(node, ast.ImportFrom) else ""
            if module.split(".")[0] != package or id(node) in caught:
                continue
            for name in (alias.name for alias in node.names):
                try:
                    getattr(import_module(module), name)
                except (ImportError, AttributeError):
                    try:
                        import_module(f"{module}.{name}")
                    except ImportError:
                        found.append(f"{path.name}: {module}.{name}")
    return found
