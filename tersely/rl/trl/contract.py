"""Contract with TRL and transformers: the seams that our trainers override, call or read, as in the tested versions.

`configs/trl_contract.yaml` has the parameters and a hash of the body of each method, and the first value of each private
attribute. The seams are found in our sources, so a new one that is not in the file fails the tests. Sources are read as
text; neither package is imported.

python -m tersely.rl.trl.contract              compares the installed packages with the file
python -m tersely.rl.trl.contract --write      writes the file anew, after the tests passed with other versions
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
PACKAGES = ("trl", "transformers")
CLASSES = {
    "trl/trainer/grpo_trainer.py": "GRPOTrainer",
    "trl/trainer/sft_trainer.py": "SFTTrainer",
    "trl/trainer/base_trainer.py": "_BaseTrainer",
    "transformers/trainer.py": "Trainer",
}
"""The classes that our trainers derive from, by file."""
TRAINERS = ("GRPOTrainer", "SFTTrainer", "CompleteCheckpoints", "RolloutTrainer", "DistillingTrainer", "ExampleTrainer")
"""Base classes that identify our trainer classes."""
REMOVED = "no longer exists"
"""Text of `differences` for a seam that the installed version lacks."""
HEADER = (
    "# What our trainers override, call or read of TRL and transformers: parameters and a hash of the body (without docstring\n"
    "# and comments) of each method and function, the first value of each private attribute. Written by\n"
    "# `python -m tersely.rl.trl.contract --write`, read by `tersely doctor`.\n"
)


def trl_folder() -> Path | None:
    """Folder of the installed TRL, without importing it."""
    return _installed("trl")


def _installed(package: str) -> Path | None:
    spec = find_spec(package)
    return Path(spec.origin).parent.parent if spec is not None and spec.origin else None


def _source(file: str, root: Path | None) -> Path:
    """A file of one of the packages: below `root` if the package is there, otherwise as installed."""
    package = file.partition("/")[0]
    holds = root is not None and (root / package).is_dir()
    found = root if holds else trl_folder() if package == "trl" else _installed(package)
    assert found is not None, f"{package} is not installed"
    return found / file


def seams(ours: Path | None = None, root: Path | None = None) -> set[str]:
    """`file::function` or `file::Class.name` of everything that the sources in `ours` override, call or read."""
    found: set[str] = set()
    names: set[str] = set()
    for path in _sources(ours):
        tree = ast.parse(path.read_text(encoding="utf-8"))
        found |= set(_functions(tree, root))
        names |= trainer_names(tree)
    for file, cls in CLASSES.items():
        node = _class(_source(file, root), cls)
        methods = {part.name for part in node.body if isinstance(part, ast.FunctionDef)}
        attributes = {name for name in _attributes(node) if name.startswith("_")}
        found |= {f"{file}::{cls}.{name}" for name in names & (methods | attributes)}
    return found


def _sources(ours: Path | None) -> list[Path]:
    """Our files that use TRL."""
    paths = sorted((ours or Path(__file__).parents[2]).rglob("*.py"))
    return [p for p in paths if p != Path(__file__) and "trl" in p.read_text(encoding="utf-8").lower()]


def trainer_names(tree: ast.AST) -> set[str]:
    """Names that the trainers of a file define, and that they use on `self` and `super()`."""
    found: set[str] = set()
    for cls in ast.walk(tree):
        if not isinstance(cls, ast.ClassDef) or not {*TRAINERS} & {ast.unparse(base) for base in cls.bases} | {
            cls.name
        }:
            continue
        found |= {part.name for part in cls.body if isinstance(part, ast.FunctionDef)}
        for node in ast.walk(cls):
            if isinstance(node, ast.Attribute) and ast.unparse(node.value) in ("self", "super()"):
                found.add(node.attr)
    return found


def _attributes(cls: ast.ClassDef) -> dict[str, str]:
    """Name -> first value that a class assigns to its attribute."""
    found: dict[str, str] = {}
    for node in ast.walk(cls):
        if not isinstance(node, ast.Assign | ast.AnnAssign) or node.value is None:
            continue
        for target in node.targets if isinstance(node, ast.Assign) else [node.target]:
            if isinstance(target, ast.Attribute) and ast.unparse(target.value) == "self":
                found.setdefault(target.attr, ast.unparse(node.value))
    return found


def _functions(tree: ast.AST, root: Path | None) -> Iterator[str]:
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


def _located(module: str, name: str, root: Path | None, tree: ast.AST) -> Iterator[str]:
    """A function of a module; of a class of one, the methods that `tree` names, and its constructor where that is called."""
    if "." not in module:
        return  # a public class; trainers are handled by name
    path = f"{module.replace('.', '/')}.py"
    source = _source(path, root)
    if not source.is_file():
        return
    if _function(source, name) is not None:
        yield f"{path}::{name}"
    used = {node.attr for node in ast.walk(tree) if isinstance(node, ast.Attribute)}
    if any(isinstance(node, ast.Call) and ast.unparse(node.func) == name for node in ast.walk(tree)):
        used.add("__init__")
    methods = {node.name for node in _class(source, name).body if isinstance(node, ast.FunctionDef)}
    yield from (f"{path}::{name}.{method}" for method in methods & used)


def measured(names: set[str], root: Path | None = None) -> dict[str, dict[str, str]]:
    """Seam -> {parameters, body}, or {first} for an attribute, in the packages at `root`; missing ones are omitted."""
    found: dict[str, dict[str, str]] = {}
    for name in sorted(names):
        file, _, path = name.partition("::")
        cls, _, member = path.rpartition(".")
        source = _source(file, root)
        if not source.is_file():
            continue
        if (node := _function(source, member, cls)) is not None:
            found[name] = {"parameters": ast.unparse(node.args), "body": _hash(source, node)}
        elif cls and (value := _attributes(_class(source, cls)).get(member)) is not None:
            found[name] = {"first": value}
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
    """Hash of the source lines, so that it is the same on every Python version."""
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
    """{trl: version, transformers: version, seams: {name: {parameters, body} or {first}}}."""
    import yaml

    return yaml.safe_load(path.read_text(encoding="utf-8"))


def differences(before: Mapping[str, Mapping[str, str]], now: Mapping[str, Mapping[str, str]]) -> list[tuple[str, str]]:
    """(seam, change) of each changed seam."""
    found = []
    for name, was in before.items():
        if name not in now:
            found.append((name, REMOVED))
        elif "first" in was:
            if now[name] != was:
                found.append((name, f"has the first value {now[name].get('first', 'a method')}; it was {was['first']}"))
        elif now[name].get("parameters") != was["parameters"]:
            found.append((name, f"has the parameters ({now[name].get('parameters')}); they were ({was['parameters']})"))
        elif now[name]["body"] != was["body"]:
            found.append((name, "has a changed body"))
    return found


def write(path: Path = CONTRACT) -> dict[str, Any]:
    import yaml

    contract = {**{package: version(package) for package in PACKAGES}, "seams": measured(seams())}
    path.write_text(HEADER + yaml.safe_dump(contract, sort_keys=True, width=120), encoding="utf-8")
    return contract


def main() -> int:
    parser = argparse.ArgumentParser(
        prog="python -m tersely.rl.trl.contract",
        description="Compare the installed TRL and transformers with the tested versions.",
    )
    parser.add_argument("--write", action="store_true", help="record the installed versions as the tested ones")
    if parser.parse_args().write:
        contract = write()
        versions = " and ".join(f"{package} {contract[package]}" for package in PACKAGES)
        print(f"{len(contract['seams'])} seams of {versions} written")
        return 0
    before = recorded()["seams"]
    found = differences(before, measured(set(before)))
    print("\n".join(f"{name} {text}" for name, text in found) or f"{len(before)} seams as tested")
    return bool(found)


if __name__ == "__main__":
    raise SystemExit(main())
