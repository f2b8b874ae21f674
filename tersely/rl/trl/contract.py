"""Contract with TRL: a hash of every TRL method that this package overrides or calls, as in the tested version.

`configs/trl_contract.yaml` has the parameters and a hash of the body of each. Sources are read as text; TRL is not imported.

python -m tersely.rl.trl.contract              compares the installed TRL with the file
python -m tersely.rl.trl.contract --write      writes the file anew, after the tests passed with another TRL
"""

from __future__ import annotations

import argparse
import ast
import hashlib
from collections.abc import Iterator, Mapping
from functools import lru_cache
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path
from typing import Any

CONTRACT = Path(__file__).parents[2] / "configs" / "trl_contract.yaml"
CLASSES = {
    "trl/trainer/grpo_trainer.py": "GRPOTrainer",
    "trl/trainer/sft_trainer.py": "SFTTrainer",
    "trl/trainer/base_trainer.py": "_BaseTrainer",
}
"""The classes that our trainers derive from, by file."""
HEADER = (
    "# TRL's methods and functions that this package overrides or calls, with parameters and a hash of the body (without\n"
    "# docstring and comments). Written by `python -m tersely.rl.trl.contract --write`, read by `tersely doctor`.\n"
)


def trl_folder() -> Path | None:
    """Where TRL is installed, without importing it."""
    spec = find_spec("trl")
    return Path(spec.origin).parent.parent if spec is not None and spec.origin else None


def seams(ours: Path | None = None, root: Path | None = None) -> set[str]:
    """`file::function` or `file::Class.method` of everything of TRL's that the sources in `ours` override or call."""
    root = root or trl_folder()
    assert root is not None, "TRL is not installed"
    methods = {
        (file, cls): {node.name for node in _class(root / file, cls).body if isinstance(node, ast.FunctionDef)}
        for file, cls in CLASSES.items()
    }
    found: set[str] = set()
    for path in sorted((ours or Path(__file__).parents[2]).rglob("*.py")):
        text = path.read_text(encoding="utf-8")
        if path == Path(__file__) or not ("trl" in text.lower() or "trainer" in text):
            continue
        tree = ast.parse(text)
        found |= set(_functions(tree, root))
        used = set(_names(tree))
        found |= {f"{file}::{cls}.{name}" for (file, cls), names in methods.items() for name in names & used}
    return found


def _functions(tree: ast.AST, root: Path) -> Iterator[str]:
    """Functions and methods that are imported from TRL, or reached through one of its modules."""
    modules: dict[str, str] = {}
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and (node.module or "").split(".")[0] == "trl":
            for alias in node.names:
                yield from _located(str(node.module), alias.name, root, tree)
        elif isinstance(node, ast.Import):
            modules |= {a.asname or a.name: a.name for a in node.names if a.name.split(".")[0] == "trl"}
    for node in ast.walk(tree):
        if isinstance(node, ast.Attribute) and (module := modules.get(ast.unparse(node.value))):
            yield from _located(module, node.attr, root, tree)


def _located(module: str, name: str, root: Path, tree: ast.AST) -> Iterator[str]:
    """A function of a module; of a class of one, the methods that `tree` names, and its constructor where that is called."""
    path = f"{module.replace('.', '/')}.py"
    if not (root / path).is_file():
        return
    if _function(root / path, name) is not None:
        yield f"{path}::{name}"
    used = {node.attr for node in ast.walk(tree) if isinstance(node, ast.Attribute)}
    if any(isinstance(node, ast.Call) and ast.unparse(node.func) == name for node in ast.walk(tree)):
        used.add("__init__")
    methods = {node.name for node in _class(root / path, name).body if isinstance(node, ast.FunctionDef)}
    yield from (f"{path}::{name}.{method}" for method in methods & used)


def _names(tree: ast.AST) -> Iterator[str]:
    """What a file calls or hands over on a trainer (`self`, `super()`, `trainer`), and the methods that its classes define."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Attribute):
            holder = ast.unparse(node.value)
            if holder in ("self", "super()") or holder.rpartition(".")[2].strip("_") == "trainer":
                yield node.attr
        elif isinstance(node, ast.ClassDef):
            yield from (part.name for part in node.body if isinstance(part, ast.FunctionDef) and _is_trainer(node))


def _is_trainer(node: ast.ClassDef) -> bool:
    """Does it derive from a trainer, or from the stand-in of one that mixins have?"""
    bases = [ast.unparse(base) for base in node.bases]
    return any("Trainer" in base or base in ("_Base", "Sealing", "Saving") for base in bases)


def measured(names: set[str], root: Path | None = None) -> dict[str, dict[str, str]]:
    """Seam -> {parameters, body} in the TRL at `root`; one that is not there is left out."""
    root = root or trl_folder()
    assert root is not None, "TRL is not installed"
    found = {}
    for name in sorted(names):
        file, _, path = name.partition("::")
        cls, _, function = path.rpartition(".")
        node = _function(root / file, function, cls) if (root / file).is_file() else None
        if node is not None:
            found[name] = {"parameters": ast.unparse(node.args), "body": _hash(root / file, node)}
    return found


def _parsed(path: Path) -> ast.Module:
    return _parsed_at(path, path.stat().st_mtime_ns)


@lru_cache(maxsize=32)
def _parsed_at(path: Path, _: int) -> ast.Module:
    return ast.parse(path.read_text(encoding="utf-8"))


def _class(path: Path, name: str) -> ast.ClassDef:
    found = next((node for node in _parsed(path).body if isinstance(node, ast.ClassDef) and node.name == name), None)
    return found or ast.ClassDef(name=name, bases=[], keywords=[], body=[], decorator_list=[])


def _function(path: Path, name: str, cls: str = "") -> ast.FunctionDef | None:
    body = _class(path, cls).body if cls else _parsed(path).body
    return next((node for node in body if isinstance(node, ast.FunctionDef) and node.name == name), None)


def _hash(path: Path, node: ast.FunctionDef) -> str:
    """Of the source lines, so that it is the same under every Python."""
    lines = path.read_text(encoding="utf-8").splitlines()
    first = node.body[0]
    quoted = (
        isinstance(first, ast.Expr) and isinstance(first.value, ast.Constant) and isinstance(first.value.value, str)
    )
    left_out = range(first.lineno, (first.end_lineno or first.lineno) + 1) if quoted else range(0)
    begin = min([node.lineno, *(decorator.lineno for decorator in node.decorator_list)])
    kept = [
        lines[number - 1].rstrip()
        for number in range(begin, (node.end_lineno or begin) + 1)
        if number not in left_out and lines[number - 1].strip() and not lines[number - 1].lstrip().startswith("#")
    ]
    return hashlib.sha256("\n".join(kept).encode()).hexdigest()[:16]


def recorded(path: Path = CONTRACT) -> dict[str, Any]:
    """{trl: version, seams: {name: {parameters, body}}}."""
    import yaml

    return yaml.safe_load(path.read_text(encoding="utf-8"))


def differences(before: Mapping[str, Mapping[str, str]], now: Mapping[str, Mapping[str, str]]) -> list[tuple[str, str]]:
    """(seam, what changed) of each that is not as it was."""
    found = []
    for name, was in before.items():
        short = name.partition("::")[2]
        if name not in now:
            found.append((short, "is gone"))
        elif now[name]["parameters"] != was["parameters"]:
            found.append((short, f"takes ({now[name]['parameters']}), and took ({was['parameters']})"))
        elif now[name]["body"] != was["body"]:
            found.append((short, "has another body"))
    return found


def write(path: Path = CONTRACT) -> dict[str, Any]:
    import yaml

    contract = {"trl": version("trl"), "seams": measured(seams())}
    path.write_text(HEADER + yaml.safe_dump(contract, sort_keys=True, width=120), encoding="utf-8")
    return contract


def main() -> int:
    parser = argparse.ArgumentParser(
        prog="python -m tersely.rl.trl.contract", description="TRL against the tested one."
    )
    parser.add_argument("--write", action="store_true", help="record the installed TRL as the tested one")
    if parser.parse_args().write:
        print(f"{len(write()['seams'])} seams of trl {version('trl')} written")
        return 0
    before = recorded()["seams"]
    found = differences(before, measured(set(before)))
    print("\n".join(f"{name} {text}" for name, text in found) or f"{len(before)} seams as tested")
    return bool(found)


if __name__ == "__main__":
    raise SystemExit(main())
