"""Check Tersely on one GPU in about 15 minutes, and write one file that can be attached to a bug report.

    make gpu                                   everything, into gpu-report.md
    python scripts/gpu.py --cpu                the same checks without a GPU
    python scripts/gpu.py --only engine_vllm,train_alp

The embedded model is used throughout; nothing is downloaded. Every check runs in a separate process with a time limit:

    environment         tersely doctor --deep
    engine_*            start, 64 samples, their log-probs against the trainer's model, the same after new weights
    train_*             a few steps of one recipe of each family; train_alp_vllm and train_hapo_vllm through vLLM
    memory              three steps of a model of 0.3B parameters: the peak against the estimate of `tersely preflight`

The exit status is 1 if a check fails. A check that this machine cannot run is skipped, with the reason.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import signal
import subprocess
import sys
import tempfile
import time
from importlib.util import find_spec
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
RESULT = "RESULT "
GAP = 0.05
"""Mean difference of log-probs between an engine and a trainer that round to bfloat16; stale weights are far above."""
MEMORY = (0.6, 1.25)
"""Measured peak over estimate that counts as agreement."""
FAMILIES = {
    "alp": "length reward",
    "dapo": "bounds, four updates per batch",
    "hapo": "entropy-aware sampling, bounds and credit",
    "hbpo": "budgets in the prompt",
    "dler": "filter, resampling, batch-whitened advantage",
    "ares": "controllers and a reference model",
    "lapo": "two stages and prompt memory",
    "selfbudgeter": "cold start, then budgets",
}
"""Shipped recipe of the embedded model -> what it exercises."""
SMALL = {"prompts_per_step": 4, "group_size": 4, "micro_batch": 4, "max_completion_length": 128, "save_strategy": "no"}
STEPS = 6
"""Minimum number of steps; rounded to whole generation batches of the recipe."""
LIMIT_S = {"environment": 400, "engine": 300, "train": 240, "memory": 300}
ON_CPU = 4
"""Factor on the time limits with --cpu."""


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--cpu", action="store_true", help="hide the GPUs, to test the script itself")
    parser.add_argument("--out", type=Path, default=Path("gpu-report.md"))
    parser.add_argument("--only", help=f"run only these checks, separated by commas: {', '.join(checks())}")
    parser.add_argument("--worker", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.worker:
        print(RESULT + json.dumps(WORKERS[options.worker]()), flush=True)
        return 0
    wanted = options.only.split(",") if options.only else list(checks())
    if unknown := [name for name in wanted if name not in checks()]:
        parser.error(f"--only: got {unknown[0]!r}; expected some of {', '.join(checks())}")
    environment = {**os.environ, "HF_HUB_OFFLINE": "1", "TOKENIZERS_PARALLELISM": "false", "PYTHONUNBUFFERED": "1"}
    environment["PYTHONPATH"] = os.pathsep.join(filter(None, [str(ROOT), os.environ.get("PYTHONPATH")]))
    if options.cpu:
        environment["CUDA_VISIBLE_DEVICES"] = ""
    done: list[dict[str, Any]] = []
    with tempfile.TemporaryDirectory(prefix="tersely-gpu-") as folder:
        for name in wanted:
            done.append(run_check(name, checks()[name], environment, Path(folder), ON_CPU if options.cpu else 1))
            print(f"{done[-1]['status']:<7}  {name:<18} {done[-1]['seconds']:>6.1f} s  {done[-1]['line']}", flush=True)
            options.out.write_text(report(done), encoding="utf-8")  # keep the results so far, however this ends
    failed = sum(check["status"] == "failed" for check in done)
    print(f"{failed} of {len(done)} checks failed; attach {options.out} to a bug report")
    return 1 if failed else 0


def checks() -> dict[str, list[str]]:
    """Name of a check -> arguments of its process."""
    this = str(Path(__file__).resolve())
    found = {"environment": ["-m", "tersely", "doctor", "--deep"]}
    found |= {name: [this, "--worker", name] for name in WORKERS if name != "memory"}
    found |= {f"train_{name}": training(name) for name in FAMILIES}
    found |= {
        f"train_{name}_vllm": training(name, engine="vllm", vllm_max_model_length=384) for name in ("alp", "hapo")
    }
    found["memory"] = [this, "--worker", "memory"]
    return found


def training(recipe: str, **changes: Any) -> list[str]:
    """Train a few steps of a shipped recipe: whole generation batches, and both stages if it has stages."""
    from tersely.configs.load import load_recipe

    shipped = load_recipe(f"testbed/{recipe}")
    updates = shipped.updates_per_batch * (shipped.trl.get("num_iterations") or 1)
    values: dict[str, Any] = {**SMALL, "max_steps": updates * math.ceil(STEPS / updates), **changes}
    if updates > 1:
        values["micro_batch"] = 2
    if changes.get("engine") == "vllm":
        values |= {"vllm_gpu_memory_utilization": 0.3, "vllm_enable_sleep_mode": "true"}
    words = [word for key, value in values.items() for word in (f"--{key}", str(value))]
    return ["-m", "tersely.launch.train", f"testbed/{recipe}", *words]


def run_check(
    name: str, arguments: list[str], environment: dict[str, str], folder: Path, patience: int = 1
) -> dict[str, Any]:
    """Run one check and judge it: {name, status, seconds, line, result, tail}."""
    began = time.monotonic()
    check: dict[str, Any] = {"name": name, "status": "failed", "result": {}}
    if "vllm" in name and find_spec("vllm") is None:
        return {**check, "status": "skipped", "seconds": 0.0, "line": "vLLM is not installed", "tail": ""}
    run_dir = folder / name
    words = [sys.executable, *arguments, *(["--run_dir", str(run_dir)] if name.startswith("train_") else [])]
    limit = patience * LIMIT_S[name.partition("_")[0]]
    process = subprocess.Popen(
        words, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, errors="replace", cwd=folder,
        start_new_session=True,
    )  # fmt: skip
    try:
        output, _ = process.communicate(timeout=limit)
        line = "" if process.returncode == 0 else f"exit status {process.returncode}"
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)  # the group that this check started
        output, _ = process.communicate()
        line = f"timed out after {limit} s"
    check |= {"seconds": time.monotonic() - began, "line": line, "tail": "\n".join(output.splitlines()[-60:])}
    if line:
        return check
    try:
        check["result"], problem = judged(name, output, run_dir)
    except (OSError, ValueError, KeyError, StopIteration, ZeroDivisionError) as error:
        check["result"], problem = {}, f"no result ({type(error).__name__}: {error})"
    skipped = check["result"].get("skipped")
    check["status"] = "skipped" if skipped else "failed" if problem else "ok"
    check["line"] = skipped or problem or ", ".join(f"{key} {_short(value)}" for key, value in check["result"].items())
    return check


def judged(name: str, output: str, run_dir: Path) -> tuple[dict[str, Any], str]:
    """(figures, error text or "")."""
    if name == "environment":
        return {"summary": output.strip().splitlines()[-1]}, ""
    if name.startswith("train_"):
        return _trained(name, run_dir)
    result = json.loads(next(line for line in output.splitlines() if line.startswith(RESULT))[len(RESULT) :])
    for key in ("gap", "gap_after_new_weights"):
        if result.get(key) is not None and not result[key] < GAP:
            return result, f"{key} is {result[key]:.3g} nats per token, the limit is {GAP}"
    ratio = result.get("measured_over_estimate")
    if ratio is not None and not MEMORY[0] <= ratio <= MEMORY[1]:
        return result, f"the peak is {ratio:.2f} of the estimate; {MEMORY[0]} to {MEMORY[1]} was expected"
    return result, ""


def _trained(name: str, run_dir: Path) -> tuple[dict[str, Any], str]:
    rows = [json.loads(line) for line in (run_dir / "metrics.jsonl").read_text().splitlines()]
    steps = [row for row in rows if row.get("step_time") is not None]
    result: dict[str, Any] = {"steps": len(steps), "seconds_per_step": sum(r["step_time"] for r in steps) / len(steps)}
    gaps = [row["mismatch/mean"] for row in rows if row.get("mismatch/mean") is not None]
    if gaps:
        result["gap"] = max(gaps)
    losses = [row["loss"] for row in rows if "loss" in row]
    if not losses or None in losses:
        return result, "the loss is not finite"
    if not (run_dir / "final" / "config.json").is_file():
        return result, "no final model was written"
    if name.endswith("_vllm") and not gaps:
        return result, "the run recorded no log-prob mismatch"
    if gaps and not max(gaps) < GAP:
        return result, f"the log-prob mismatch is {max(gaps):.3g} nats per token, the limit is {GAP}"
    return result, ""


def _short(value: Any) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def report(done: list[dict[str, Any]]) -> str:
    """Markdown: a table, then figures and the last lines of each process, without secrets."""
    from tersely.core.environment import environment
    from tersely.core.redact import secret_values, struck

    lines = ["# Tersely on this machine\n", "```json", json.dumps(environment(), indent=1), "```\n"]
    lines += ["| check | status | seconds | |", "|---|---|---|---|"]
    lines += [f"| {c['name']} | {c['status']} | {c['seconds']:.1f} | {c['line'].replace('|', '/')} |" for c in done]
    for check in done:
        shown = check["status"] == "failed" or check["name"] == "environment"
        lines += [f"\n## {check['name']}\n", "```json", json.dumps(check["result"]), "```"]
        lines += ["```text", check["tail"].replace("```", "'''"), "```"] if shown else []
    return struck("\n".join(lines) + "\n", secret_values({}))


# ---- checks, each in a separate process ----


def _model_and_tokenizer() -> tuple[Any, Any, str]:
    import torch
    from transformers import AutoModelForCausalLM

    from tersely.engines.models import load_tokenizer
    from tersely.testbed import model_path

    device = "cuda" if torch.cuda.is_available() else "cpu"
    model = AutoModelForCausalLM.from_pretrained(model_path(), dtype=torch.float32).to(device)
    return model, load_tokenizer("testbed"), str(model_path())


def _requests(tokenizer: Any) -> list[Any]:
    from tersely.engines.base import GenerationRequest

    def ids(i: int) -> tuple[int, ...]:
        chat = [{"role": "user", "content": f"{i % 9} + {i % 7} - {i % 5} = ?"}]
        return tuple(tokenizer.apply_chat_template(chat, add_generation_prompt=True, return_dict=True)["input_ids"])

    return [GenerationRequest(ids(i), 1000 + i, 64, logprobs=True) for i in range(64)]


def _gap(model: Any, drawn: list[Any], requests: list[Any]) -> float:
    """Mean absolute difference of the engine's log-probs and the model's."""
    import torch

    total, count = 0.0, 0
    for generation, request in zip(drawn, requests, strict=True):
        ids = torch.tensor([[*request.prompt_ids, *generation.token_ids]], device=model.device)
        with torch.no_grad():
            logps = model(ids).logits.float().log_softmax(-1)[0, len(request.prompt_ids) - 1 : -1]
        sampled = torch.tensor(generation.token_ids, device=model.device).unsqueeze(1)
        own = logps.gather(1, sampled).squeeze(1).cpu()
        total += (own - torch.tensor(generation.logprobs)).abs().sum().item()
        count += len(generation.token_ids)
    return total / max(1, count)


def _tried(make: Any, sync: bool = True) -> dict[str, Any]:
    """Start an engine, sample, change the weights, sample again."""
    import torch

    model, tokenizer, folder = _model_and_tokenizer()
    requests, began = _requests(tokenizer), time.perf_counter()
    engine = make(model, tokenizer, folder)
    result: dict[str, Any] = {"start_s": time.perf_counter() - began}
    try:
        engine.generate(requests[:4], temperature=1.0)
        began = time.perf_counter()
        drawn = engine.generate(requests, temperature=1.0)
        result["tokens_per_s"] = sum(len(g.token_ids) for g in drawn) / (time.perf_counter() - began)
        result["gap"] = _gap(model, drawn, requests)
        if sync:
            torch.manual_seed(0)
            with torch.no_grad():
                for parameter in model.parameters():
                    parameter.add_(0.02 * torch.randn_like(parameter))
            began = time.perf_counter()
            engine.sync_weights(model, 1)
            result["sync_s"] = time.perf_counter() - began
            result["gap_after_new_weights"] = _gap(model, engine.generate(requests, temperature=1.0), requests)
    finally:
        engine.close()
    return result


def engine_transformers() -> dict[str, Any]:
    from tersely.engines.transformers import TransformersEngine

    return _tried(lambda model, tokenizer, folder: TransformersEngine(model, tokenizer))


def engine_vllm() -> dict[str, Any]:
    from tersely.engines.vllm import VLLMEngine

    options = {"max_model_len": 256, "gpu_memory_utilization": 0.3, "enable_sleep_mode": True, "dtype": "float32"}
    return _tried(lambda model, tokenizer, folder: VLLMEngine(folder, tokenizer, **options))


def engine_vllm_server() -> dict[str, Any]:
    """On two GPUs, or a CPU, weights travel as well; NCCL does not work between two processes on one GPU."""
    import torch

    from tersely.engines.server.engine import ServerEngine
    from tersely.engines.server.launch import VLLMServer
    from tersely.testbed import model_path

    gpus = torch.cuda.device_count()
    folder = Path.cwd()
    if gpus > 1:
        os.environ["CUDA_VISIBLE_DEVICES"] = "1"  # of the server; this process has its devices already
    share = ("--gpu-memory-utilization", "0.3") if gpus else ()
    log, began = folder / "server.log", time.perf_counter()
    with VLLMServer(str(model_path()), log, max_model_len=256, dtype="float32", options=share) as server:
        started = {"start_s": time.perf_counter() - began}

        def make(model: Any, tokenizer: Any, _: str) -> Any:
            return ServerEngine(server.address, tokenizer, weights_dir=folder / "weights")

        return (
            _tried(make, sync=gpus != 1) | started | ({"weight_sync": "skipped: needs two GPUs"} if gpus == 1 else {})
        )


def memory() -> dict[str, Any]:
    """Three updates of a model with random weights; the peak of torch's allocator against the estimate."""
    import torch
    from transformers import AutoModelForCausalLM, Qwen2Config
    from trl.trainer.utils import add_fused_lm_head

    from tersely.launch.preflight.memory_estimate import Load, estimate
    from tersely.launch.preflight.model import shape_of

    if not torch.cuda.is_available():
        return {
            "skipped": "the peak is torch's on a GPU; tests/launch/preflight/test_memory_estimate.py checks activations"
        }
    config = Qwen2Config(
        hidden_size=1024, intermediate_size=4096, num_hidden_layers=16, num_attention_heads=16, num_key_value_heads=4,
        vocab_size=65536, max_position_embeddings=4096, tie_word_embeddings=False,
    )  # fmt: skip
    rows, tokens = 4, 2048
    expected = estimate(shape_of(config), Load(rows, rows, tokens, half=True, checkpointing=True))
    model = AutoModelForCausalLM.from_config(config, dtype=torch.float32).cuda().train()
    add_fused_lm_head(model)
    model.gradient_checkpointing_enable()
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-6)
    ids = torch.randint(0, config.vocab_size, (rows, tokens), device="cuda")
    torch.cuda.reset_peak_memory_stats()
    for _ in range(3):
        with torch.autocast("cuda", dtype=torch.bfloat16):
            logps = model(input_ids=ids, labels=ids, fused_lm_head=True).log_probs
        logps.mean().neg().backward()
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
    states_and_work = expected["peak"] - max(0, expected["cache"] - expected["activations"] - expected["head"])
    peak, gib = torch.cuda.max_memory_allocated(), 1 << 30
    ratio = peak / states_and_work
    return {"peak_gib": peak / gib, "estimate_gib": states_and_work / gib, "measured_over_estimate": ratio}


WORKERS = {
    "engine_transformers": engine_transformers,
    "engine_vllm": engine_vllm,
    "engine_vllm_server": engine_vllm_server,
    "memory": memory,
}


if __name__ == "__main__":
    sys.exit(main())
