"""The parts of vLLM that our engine reaches into, looked up in the code of one version. Part of vllm_probe.py.

What we touch is read from our own sources, so that a new use is checked without a word here. GPU classes are read as text:
their modules import compiled parts, and an instance needs a GPU.
"""

from __future__ import annotations

import ast
import inspect
import re
from collections.abc import Iterator
from functools import cache
from importlib import import_module
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from our_imports import missing_imports

OURS = Path(__file__).parents[2] / "tersely"
ENGINE, WORKER = "vllm/v1/engine/llm_engine.py::LLMEngine", "vllm/v1/worker/gpu_worker.py::Worker"
RUNNERS = ("vllm/v1/worker/gpu_model_runner.py::GPUModelRunner", "vllm/v1/worker/gpu/model_runner.py::GPUModelRunner")
CONFIG = "vllm/config/model.py::ModelConfig"
HEAD = "vllm/model_executor/layers/vocab_parallel_embedding.py::ParallelLMHead"
EXECUTORS = tuple(
    f"vllm/v1/executor/uniproc_executor.py::{name}" for name in ("UniProcExecutor", "ExecutorWithExternalLauncher")
)
LLM = "vllm/entrypoints/llm.py::LLM"
ROOTS = {
    "engines/vllm.py": {"self.llm": (LLM,), "self.config": (CONFIG,), "engine": (ENGINE,)},
    "engines/vllm_weights.py": {"runner": RUNNERS, "head": (HEAD,)},
    "engines/server/worker.py": {"self.model_runner": RUNNERS},
}
"""Our file -> the names in it that hold an object of vLLM's, and its classes."""
TYPES: dict[str, tuple[str, ...]] = {
    "llm_engine": (ENGINE,),
    "engine_core": ("vllm/v1/engine/core_client.py::InprocClient",),
    "model_executor": EXECUTORS,
    "driver_worker": (WORKER,),  # through WorkerWrapperBase, which hands attributes on
    "model_runner": RUNNERS,
    "model_config": (CONFIG,),
    "quant_method": ("vllm/model_executor/layers/vocab_parallel_embedding.py::UnquantizedEmbeddingMethod",),
}
"""The classes that an attribute of vLLM's holds; below another attribute nothing is looked up."""


def internals(package: Path) -> dict[str, Any]:
    """`missing`: what this version does not have; `chains`: what was looked up."""
    root = package.parent
    missing = [text for chain, classes in sorted(chains()) for text in lost(root, chain, classes)]
    for runner in RUNNERS:
        missing += [f"reload_weights of {runner} uses self.{name}" for name in borrowed(root, runner)]
    if "__getattr__" not in members(root, "vllm/v1/worker/worker_base.py::WorkerWrapperBase"):
        missing.append("WorkerWrapperBase hands no attributes on")
    extension = {name for name in dir(import_module("tersely.engines.server.worker").TerselyWorker) if name[:2] != "__"}
    return {
        "missing": missing,
        "chains": sorted({chain for chain, _ in chains()}),
        "conflicts": sorted(extension & members(root, WORKER)),
        "variables": sorted(variables() - set(import_module("vllm.envs").environment_variables)),
        "imports": missing_imports("vllm"),
        "steps": any("self.llm_engine.step(" in path.read_text() for path in (package / "entrypoints").rglob("*.py")),
        "generated": generated(),
    }


# ---- what we touch ----


def chains() -> set[tuple[str, tuple[str, ...]]]:
    """(`a.b.c` below a root, the root's classes) of every use in our sources."""
    found = set()
    for name, roots in ROOTS.items():
        for node in ast.walk(ast.parse((OURS / name).read_text())):
            text = ast.unparse(node) if isinstance(node, ast.Attribute) else ""
            for root, classes in roots.items():
                if re.fullmatch(rf"{re.escape(root)}(\.\w+)+", text):
                    found.add((text.removeprefix(f"{root}."), classes))
    return found


def lost(root: Path, chain: str, classes: tuple[str, ...]) -> Iterator[str]:
    for name in chain.split("."):
        yield from (f"{one} has no {name} ({chain})" for one in classes if name not in members(root, one))
        if not (classes := TYPES.get(name, ())):
            return


def variables() -> set[str]:
    """Environment variables of vLLM's that our sources name."""
    found = set()
    for path in OURS.rglob("*.py"):
        if "VLLM_" in (text := path.read_text()):
            words = (node.value for node in ast.walk(ast.parse(text)) if isinstance(node, ast.Constant))
            found |= {word for word in words if isinstance(word, str) and re.fullmatch("VLLM_[A-Z0-9_]+", word)}
    return found


# ---- what a class has ----


@cache
def parsed(path: Path) -> ast.Module:
    return ast.parse(path.read_text())


@cache
def members(root: Path, place: str) -> frozenset[str]:
    """Methods, fields and attributes of `self` of a class, `file::name`, and of its bases in vLLM."""
    file, _, name = place.partition("::")
    if not (root / file).is_file():
        return frozenset()
    tree = parsed(root / file)
    cls = next((node for node in ast.walk(tree) if isinstance(node, ast.ClassDef) and node.name == name), None)
    if cls is None:
        return frozenset()
    found: set[str] = set()
    for node in cls.body:
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            found.add(node.name)
        elif isinstance(node, ast.AnnAssign | ast.Assign):
            targets = node.targets if isinstance(node, ast.Assign) else [node.target]
            found |= {target.id for target in targets if isinstance(target, ast.Name)}
    for node in ast.walk(cls):
        if isinstance(node, ast.Attribute) and isinstance(node.ctx, ast.Store) and ast.unparse(node.value) == "self":
            found.add(node.attr)
    imports = {
        alias.asname or alias.name: f"{str(node.module).replace('.', '/')}.py::{alias.name}"
        for node in ast.walk(tree)
        if isinstance(node, ast.ImportFrom) and node.level == 0
        for alias in node.names
    }
    for base in cls.bases:
        short = ast.unparse(base).split("[")[0]
        found |= members(root, imports.get(short, f"{file}::{short}"))
    return frozenset(found)


def borrowed(root: Path, runner: str) -> list[str]:
    """Attributes of `self` in `reload_weights` that this runner does not have; V2 calls V1's method on itself."""
    bodies = []
    for place in RUNNERS:
        file, _, name = place.partition("::")
        cls = next(n for n in ast.walk(parsed(root / file)) if isinstance(n, ast.ClassDef) and n.name == name)
        bodies.append(next(n for n in cls.body if isinstance(n, ast.FunctionDef) and n.name == "reload_weights"))
    own = bodies[RUNNERS.index(runner)]
    used = bodies if "GPUModelRunnerV1.reload_weights" in ast.unparse(own) else [own]
    asked = {
        node.attr
        for body in used
        for node in ast.walk(body)
        if isinstance(node, ast.Attribute) and ast.unparse(node.value) == "self"
    }
    return sorted(asked - members(root, runner))


# ---- what our engine makes of vLLM's own classes ----


def generated() -> dict[str, Any]:
    """`VLLMEngine.generate` with vLLM's sampling parameters, outputs and log-probs, and without the engine."""
    from vllm.entrypoints.llm import LLM as RealLLM
    from vllm.logprobs import FlatLogprobs
    from vllm.outputs import CompletionOutput

    from tersely.engines.base import GenerationRequest
    from tersely.engines.vllm import VLLMEngine

    given: dict[str, Any] = {}

    def generate(*arguments: Any, **named: Any) -> Any:
        given.update(inspect.signature(RealLLM.generate).bind(None, *arguments, **named).arguments)
        logprobs = FlatLogprobs()
        for token in (4, 7):
            logprobs.append_fast([token], [-0.25], iter([1]), [None])
        return [SimpleNamespace(outputs=[CompletionOutput(0, "", [4, 7], -0.5, logprobs, finish_reason="stop")])]

    made: Any = object.__new__(VLLMEngine)
    made.processors, made.tokenizer, made.sleeps, made._asleep = [], SimpleNamespace(eos_token_id=2), False, set()
    made.config, made.llm = SimpleNamespace(max_model_len=64), SimpleNamespace(generate=generate)
    (drawn,) = made.generate([GenerationRequest((1, 2), 2**62, 9, stop_ids=(7,), banned_ids=(5,))], temperature=0.5)
    inspect.signature(RealLLM.reset_prefix_cache).bind(None)
    params = given["sampling_params"][0]
    asked = ("seed", "temperature", "max_tokens", "stop_token_ids", "logprobs", "flat_logprobs", "detokenize")
    return {
        "drawn": [drawn.token_ids, drawn.logprobs, drawn.finish],
        **{name: getattr(params, name) for name in asked},
    }
