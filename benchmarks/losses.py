"""What the token-level methods cost: against TRL's own loss and update, in ratios within one run.

    python benchmarks/losses.py losses --rows 8 --tokens 4096 --record   forward + loss + backward of each policy
    python benchmarks/losses.py planned --record        the planned update against TRL's, lengths spread like a reasoner's
    python benchmarks/losses.py ktae --record           KTAE of a group of 16 x 8,192 tokens
    python benchmarks/losses.py temperature --record    vLLM's throughput, adaptive temperature against plain

The sides alternate, so drift of the machine hits all. Time is CPU time of the one thread that works; peak memory is the
high-water mark of the resident set above where it stood; both in a fresh fork for each measurement. `losses` and
`planned` call TRL's `_compute_loss` and ours on the same trainer, model and rows; `losses` has a vocabulary of 32,000.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import re
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from tersely.configs.recipe import Recipe

os.environ.setdefault("OMP_NUM_THREADS", "1")
RESULTS = Path(__file__).parent / "results" / "losses.json"
LOSSES = ("hapo", "sapo", "cispo", "high_entropy_mask", "kl_cov", "clip_cov")
KINDS = ("losses", "planned", "ktae", "temperature")
DAPO = {"name": "clip", "clip_low": 0.2, "clip_high": 0.28}


def make_trainer(folder: str, vocabulary: int | None, rows: int, **recipe: Any) -> Any:
    """Our trainer over the embedded model, or over a small one with this vocabulary; `rows` is its micro-batch."""
    from transformers import AutoModelForCausalLM, Qwen2Config

    from tersely.data import load_problems
    from tersely.engines.models import load_model
    from tersely.rewards import Verifier
    from tersely.rl.config import checked, grpo_config, objective_of
    from tersely.rl.trainer import TerselyTrainer

    values = {"model_name_or_path": "testbed", "group_size": 4, "prompts_per_step": rows // 4, "micro_batch": rows}
    values |= {"run_dir": folder, "max_steps": 2, "gradient_checkpointing": False, "save_strategy": "no", **recipe}
    run = checked(Recipe.of(values | {"loss": DAPO, "disable_tqdm": True}))
    objective = objective_of(run)
    args = grpo_config(run, objective, 1)
    model, tokenizer = load_model("testbed", args)
    if vocabulary:
        heads = {"num_hidden_layers": 1, "num_attention_heads": 2, "num_key_value_heads": 1}
        size = {"hidden_size": 64, "intermediate_size": 128, "max_position_embeddings": 16384, "vocab_size": vocabulary}
        model = AutoModelForCausalLM.from_config(Qwen2Config(**heads, **size, tie_word_embeddings=False))
    data = load_problems({"path": "testbed", "split": "train", "limit": 64}, seed=0)
    trainer = TerselyTrainer(
        run=run,
        objective=objective,
        verifier=Verifier(),
        model=model,
        args=args,
        train_dataset=data,
        processing_class=tokenizer,
    )
    trainer.model.train()
    trainer.state.max_steps, trainer.current_gradient_accumulation_steps = 2, args.gradient_accumulation_steps
    trainer.loss_type, trainer.epsilon_low, trainer.epsilon_high = "dapo", 0.2, 0.28
    return trainer


def generation_batch(lengths: list[int], silent: list[bool], vocabulary: int, prompt: int = 16) -> dict[str, Any]:
    """A batch as the trainer makes it; rows with `silent` have no advantage."""
    import torch

    g = torch.Generator().manual_seed(0)
    rows, width = len(lengths), max(lengths)
    mask = (torch.arange(width) < torch.tensor(lengths).unsqueeze(1)).long()
    advantage = torch.randn(rows, generator=g).masked_fill(torch.tensor(silent), 0.0)
    return {
        "prompt_ids": torch.randint(4, vocabulary, (rows, prompt), generator=g),
        "prompt_mask": torch.ones(rows, prompt, dtype=torch.long),
        "completion_ids": torch.randint(4, vocabulary, (rows, width), generator=g),
        "completion_mask": mask,
        "train_mask": mask.clone(),
        "advantages": advantage,
        "correct": torch.ones(rows),
        "row": torch.arange(rows),
        "num_items_in_batch": mask.sum(),
        "rows_in_batch": torch.tensor(rows),
        "old_per_token_logps": -9 - 0.1 * torch.rand(rows, width, generator=g),
    }


def measured(work: Callable[[], None]) -> tuple[float, float]:
    """CPU seconds of `work`, and MiB beyond what this process had, in a fork: allocators keep memory, a fork is fresh.

    One thread works, so CPU seconds are its cost, whatever else the machine does.
    """
    reader, writer = os.pipe()
    if os.fork() == 0:
        Path("/proc/self/clear_refs").write_text("5")
        before, began = _status("VmRSS"), time.process_time()
        work()
        os.write(writer, f"{time.process_time() - began} {_status('VmHWM') - before}".encode())
        os._exit(0)
    os.close(writer)
    with os.fdopen(reader) as pipe:
        seconds, peak = map(float, pipe.read().split())
    os.wait()
    return seconds, peak


def _status(field: str) -> float:
    return int(re.search(rf"{field}:\s+(\d+) kB", Path("/proc/self/status").read_text()).group(1)) / 1024


def compared(sides: dict[str, Callable[[], None]], base: str, rounds: int) -> dict[str, dict[str, float]]:
    """Medians of time and peak over the base's of the same round, the order reversed every other round."""
    found: dict[str, list[tuple[float, float]]] = {name: [] for name in sides}
    for i in range(rounds):
        for name in list(sides)[:: 1 - 2 * (i % 2)]:
            found[name].append(measured(sides[name]))
            print(f"round {i} {name}: {found[name][-1][0]:.2f} CPU s, {found[name][-1][1]:.0f} MiB", flush=True)
    table = {}
    for name, values in found.items():
        pairs = list(zip(values, found[base], strict=True))
        table[name] = {
            "time_ratio": statistics.median(own[0] / theirs[0] for own, theirs in pairs),
            "peak_ratio": statistics.median(own[1] / theirs[1] for own, theirs in pairs),
            "cpu_seconds": statistics.median(seconds for seconds, _ in values),
            "peak_mib": statistics.median(peak for _, peak in values),
        }
    return table


def losses(options: argparse.Namespace) -> dict[str, Any]:
    from trl import GRPOTrainer

    from tersely.core.build import build

    with tempfile.TemporaryDirectory() as folder:
        trainer = make_trainer(folder, 32_000, options.rows)
        batch = generation_batch([options.tokens] * options.rows, [False] * options.rows, 32_000)
        accumulated = trainer.current_gradient_accumulation_steps

        def side(loss_fn: Any) -> Callable[[], None]:
            def work() -> None:
                trainer.model.zero_grad()
                if loss_fn is None:
                    loss = GRPOTrainer._compute_loss(trainer, trainer.model, dict(batch))
                else:
                    object.__setattr__(trainer.objective, "loss", loss_fn)
                    loss = trainer.objective_loss(trainer.model, dict(batch), 0.0, accumulated)[0]
                loss.backward()

            return work

        ours = {name: side(build("loss", name)) for name in options.losses}
        table = compared({"TRL dapo": side(None), **ours}, "TRL dapo", options.rounds)
    return {
        "rows": options.rows,
        "tokens": options.tokens,
        "vocabulary": 32_000,
        "rounds": options.rounds,
        "table": table,
    }


def planned(options: argparse.Namespace) -> dict[str, Any]:
    import numpy as np
    import torch
    from trl import GRPOTrainer
    from trl.trainer.utils import shuffle_sequence_dict, split_tensor_dict

    from tersely.rl.update.padding import trimmed

    rows, micro_batch, median, cap = 64, 8, 128, 2048
    draw = np.random.default_rng(0).lognormal(np.log(median), np.log(4) / 1.645, rows)
    lengths = np.clip(draw, 1, cap).astype(int).tolist()
    silent = [(i // 4) % 3 == 0 for i in range(rows)]
    with tempfile.TemporaryDirectory() as folder:
        shape = {"prompts_per_step": rows // 4, "micro_batch": micro_batch, "max_completion_length": cap}
        trainer = make_trainer(folder, None, rows, **shape)
        batch = generation_batch(lengths, silent, trainer.model.config.vocab_size)
        accumulated = trainer.current_gradient_accumulation_steps

        made: list[Any] = []

        def theirs() -> None:
            trainer.model.zero_grad()
            for part in split_tensor_dict(shuffle_sequence_dict(dict(batch)), rows // micro_batch):
                loss = GRPOTrainer._compute_loss(trainer, trainer.model, part)
                (loss / trainer.current_gradient_accumulation_steps).backward()

        def ours() -> None:
            trainer.model.zero_grad()
            made.append(trainer.micro_batches.cut(dict(batch), 0))
            for part, idle in zip(made[-1].parts, made[-1].idle, strict=True):
                if not idle:
                    loss = trainer.objective_loss(trainer.model, trimmed(part), 0.0, accumulated)[0]
                    (loss / accumulated).backward()

        gradients = []
        for work in (ours, theirs):
            work()
            gradients.append(torch.cat([p.grad.flatten() for p in trainer.model.parameters()]))
        table = compared({"TRL": theirs, "planned": ours}, "TRL", options.rounds)
        saved = made[-1].metrics["update/tokens_saved"]
    return {
        "rows": rows,
        "micro_batch": micro_batch,
        "tokens_median_p95_max": [float(np.percentile(lengths, q)) for q in (50, 95, 100)],
        "groups_without_signal": sum(silent) / rows,
        "padded_tokens_saved": saved,
        "largest_gradient_difference": (gradients[0] - gradients[1]).abs().max().item(),
        "times_faster": 1 / table["planned"]["time_ratio"],
        "table": table,
    }


def ktae(options: argparse.Namespace) -> dict[str, Any]:
    import torch

    from tersely.core.build import build
    from tersely.core.types import Rollouts

    g, rows, width = torch.Generator().manual_seed(0), 16, 8192
    ids = (torch.rand(rows, width, generator=g) ** 4 * 32_000).long()
    correct = (torch.arange(rows) % 2).float()
    full = torch.full((rows,), width)
    rollouts = Rollouts(rows, ["q"] * rows, correct, full, torch.zeros(rows, dtype=torch.bool), width, token_ids=ids)
    advantage = build("advantage", "ktae")
    advantage(correct, rollouts)
    seconds = [measured(lambda: advantage(correct, rollouts))[0] for _ in range(options.rounds)]
    return {"rows": rows, "tokens": width, "distinct_ids": ids.unique().numel(), "seconds": statistics.median(seconds)}


def temperature(options: argparse.Namespace) -> dict[str, Any]:
    from tersely.core.build import build
    from tersely.engines.base import GenerationRequest
    from tersely.engines.model_folder import model_location
    from tersely.engines.models import load_tokenizer
    from tersely.engines.vllm import VLLMEngine

    engine = VLLMEngine(model_location("testbed"), load_tokenizer("testbed"), max_model_len=256)
    made = build("sampling", "hapo_temperature")
    made.load_state_dict({"current": {"pivot": -1.0, "spread": 2.0, "upper": 1.5, "lower": 12.0}})
    requests = [GenerationRequest(tuple(range(5, 21)), i, 200) for i in range(256)]
    speeds: dict[str, list[float]] = {"plain": [], "adaptive": []}
    for i in range(options.rounds + 1):
        for name, drawn_at in list({"plain": 1.0, "adaptive": made}.items())[:: 1 - 2 * (i % 2)]:
            began = time.process_time()
            tokens = sum(len(drawn.token_ids) for drawn in engine.generate(requests, temperature=drawn_at))
            if i:  # the first round warms up
                speeds[name].append(tokens / (time.process_time() - began))
    engine.close()
    ratios = [adaptive / plain for adaptive, plain in zip(speeds["adaptive"], speeds["plain"], strict=True)]
    return {
        **{f"{name}_tokens_per_cpu_second": statistics.median(values) for name, values in speeds.items()},
        "ratio": statistics.median(ratios),
        "ratios": ratios,
        "rounds": options.rounds,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", nargs="?", choices=KINDS, help="default: all four")
    parser.add_argument("--rows", type=int, default=8)
    parser.add_argument("--tokens", type=int, default=4096)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--losses", nargs="+", default=LOSSES)
    parser.add_argument("--record", action="store_true", help=f"write into {RESULTS}")
    options = parser.parse_args()
    for what in [options.what] if options.what else KINDS:
        result = {
            "command": f"python benchmarks/losses.py {' '.join(sys.argv[1:])}",
            "machine": f"{platform.processor() or platform.machine()}, {os.cpu_count()} cores, 1 thread",
            **globals()[what](options),
        }
        print(json.dumps({what: result}, indent=1))
        if options.record:
            everything = json.loads(RESULTS.read_text()) if RESULTS.exists() else {}
            RESULTS.write_text(json.dumps({**everything, what: result}, indent=1) + "\n")


if __name__ == "__main__":
    main()
