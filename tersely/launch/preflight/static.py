"""Checks that load no model and no data; they run at the start of every training and in `tersely preflight`."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from tersely.configs.dataset import SourceSpec
from tersely.configs.recipe import Recipe
from tersely.core.errors import ConfigError
from tersely.core.findings import Finding, failed
from tersely.engines.models import model_place
from tersely.engines.registry import ENGINES, capabilities_of

GIB = 1 << 30
LEAST_DISK = GIB // 2
"""Minimum free bytes for a checkpoint and the records of a run."""


PROBE_S = 10.0
"""Seconds to wait for an answer from a server."""


def check_run(recipe: Recipe, tell: Callable[[Finding], None]) -> None:
    """Pass warnings to `tell`, and raise `ConfigError` for what cannot work."""
    found = list(cheap(recipe))
    for finding in found:
        if finding.level == "warn":
            tell(finding)
    if bad := failed(found):
        lines = "; ".join(finding.line for finding in bad)
        raise ConfigError(f"preflight: {lines} (start anyway with --skip-preflight)")


def cheap(recipe: Recipe, ranks: int | None = None) -> Iterator[Finding]:
    """Findings of a checked recipe, all stages, without loads and downloads. `ranks`: number of ranks of this launch."""
    from tersely.rl.config import world_size

    yield from packages(recipe)
    yield model_place(recipe.model_name_or_path)
    yield from data_places(recipe.dataset)
    if recipe.evaluation is not None:
        yield from data_places(recipe.evaluation.dataset)
    yield room(recipe.run_dir)
    yield from remote_code(recipe.trl)
    yield from device(recipe.trl, ranks or world_size())
    yield from unread_steps(recipe)
    for stage in recipe.stages:
        if stage.kind != "sft":
            yield from engine(stage.recipe, f"stage {stage.name}" if stage.name else "engine")
    yield from servers(recipe, recipe.trl.get("max_completion_length"))


def unread_steps(recipe: Recipe) -> Iterator[Finding]:
    """Warn about max_steps if all stages set their own steps."""
    specs, total = recipe.written.get("stages") or [], recipe.trl.get("max_steps")
    if not specs or total is None or not all("steps" in spec for spec in specs):
        return
    learning = sum(spec["steps"] for spec in specs if spec.get("kind", "rl") == "rl")
    if total not in (learning, sum(spec["steps"] for spec in specs)):
        text = f"max_steps: got {total}, which has no effect: each stage sets its steps, {learning} in total"
        yield Finding("warn", "stages", text, "use a share of max_steps in the stages, or remove max_steps")


def packages(run: Recipe) -> Iterator[Finding]:
    """Check that package versions are supported and that the recipe's engine is installed."""
    from tersely.launch.preflight.doctor import installed, judged, tested

    fine = 0
    for name, row in tested().items():
        found, package = installed(name, row)
        needed = row["needed"] or name == ENGINES[run.engine].package
        finding = judged(package, found, {**row, "needed": needed})
        if needed and finding.level == "fail":
            yield finding
        fine += finding.level in ("ok", "note")
    yield Finding("ok", "versions", f"{fine} packages have supported versions; `tersely doctor` lists them")


def data_places(sources: Sequence[SourceSpec]) -> Iterator[Finding]:
    """Find data files that do not exist."""
    for source in sources:
        path = Path(str(source.path))
        if source.local and not source.procedural and not path.exists():
            yield Finding("fail", "data", f"dataset {source.label}: no such file: {path}", "correct the path")
        else:
            yield Finding("ok", "data", source.label)


def room(run_dir: str) -> Finding:
    """Check the free disk space for the run directory."""
    there = _nearest_folder(run_dir)
    if fault := _not_writable(there):
        return Finding("fail", "disk", fault, "another --run_dir")
    free = shutil.disk_usage(there).free
    if free < LEAST_DISK:
        return Finding(
            "fail", "disk", f"{free / GIB:.2f} GiB free in {there}", "free disk space, or choose another --run_dir"
        )
    return Finding("ok", "disk", f"{free / GIB:.1f} GiB free in {there}")


def require_writable(run_dir: str) -> None:
    """Raise `ConfigError` for a run_dir that cannot be created."""
    if fault := _not_writable(_nearest_folder(run_dir)):
        raise ConfigError(f"run_dir: got {run_dir!r}; {fault}. Choose another folder")


def _nearest_folder(run_dir: str) -> Path:
    """Error text for the run directory, or for its first existing parent; empty if it is writable."""
    folder = Path(run_dir).absolute()
    return next(path for path in (folder, *folder.parents) if path.exists())


def _not_writable(there: Path) -> str:
    if not there.is_dir():
        return f"{there} is a file; expected a folder"
    return "" if os.access(there, os.W_OK) else f"{there} is not writable"


def remote_code(values: Mapping[str, Any]) -> Iterator[Finding]:
    """Warn about trust_remote_code, which is off by default."""
    asked = values.get("trust_remote_code") or (values.get("model_init_kwargs") or {}).get("trust_remote_code")
    if asked:
        text = "trust_remote_code is on: Python files from the model's repository will run as you, with your files and keys"
        yield Finding("warn", "security", text, "remove it unless the model needs it")


def device(values: Mapping[str, Any], ranks: int) -> Iterator[Finding]:
    """Find idle GPUs and a precision that this machine does not support."""
    from tersely.launch.preflight.machine import visible_gpus

    gpus = visible_gpus()
    if gpus > 1 and ranks == 1:
        fix = "tersely launch local uses all of them"
        yield Finding("note", "gpu", f"one process, but {gpus} GPUs are visible", fix)
    if values.get("bf16") and not gpus:
        yield Finding("warn", "gpu", "bf16: true without a GPU: bfloat16 is slow on a CPU", "remove bf16")


def engine(run: Recipe, where: str) -> Iterator[Finding]:
    """Check the rollout engine against the launch and the lengths."""
    from tersely.launch.preflight.model import sharding

    cap, room_for = run.trl.get("max_completion_length"), run.trl.get("vllm_max_model_length")
    able = capabilities_of(run.engine)
    if able.own_copy and cap and room_for and cap >= room_for:
        text = f"max_completion_length {cap} leaves no room for a prompt in vllm_max_model_length {room_for}"
        yield Finding("fail", where, text, f"set vllm_max_model_length to at least {cap} plus the longest prompt")
    elif able.trained_model and sharding() == "zero3":
        text = "generates with a ZeRO-3 model: every step gathers all weights on every rank"
        yield Finding("warn", where, text, "use zero2 if the weights fit, or engine: vllm")
    else:
        yield Finding("ok", where, f"{run.engine}, cap {cap or 'by default'}")


def servers(run: Recipe, cap: int | None) -> Iterator[Finding]:
    """Check that the recipe's servers answer, accept the key, support weight sync, and have room for the answers."""
    from tersely.core.http import ServerDown, ServerRefused, call
    from tersely.engines.server.auth import VARIABLE

    key = os.environ.get(VARIABLE) or None
    for address in map(str, run.servers):
        where = address.rstrip("/").removesuffix("/v1")
        try:
            call(where, "/health", timeout_s=PROBE_S, key=key)
            model = call(where, "/v1/models", timeout_s=PROBE_S, key=key)["data"][0]
            call(where, "/weight_info", timeout_s=PROBE_S, key=key)
        except ServerDown as error:
            fix = "start it with `tersely serve`, or remove servers and let `tersely launch local` start them"
            yield Finding("fail", "server", f"no answer: {error}", fix)
        except ServerRefused as error:
            if error.status == 401:
                fix = f"export the same {VARIABLE} as the server"
            else:
                fix = "start it with `tersely serve`, which enables weight sync"
            yield Finding("fail", "server", str(error), fix)
        except (KeyError, IndexError, TypeError):
            yield Finding(
                "fail", "server", f"{where} is not a vLLM server", "set servers to addresses of `tersely serve`"
            )
        else:
            room_for = model.get("max_model_len") or 0
            text = f"{where}, {model.get('id')}, {room_for} tokens"
            if cap and room_for <= cap:
                yield Finding("fail", "server", f"{text}: no room for a prompt and {cap}", "raise --max-model-len")
            else:
                yield Finding("ok", "server", text)
