"""Our vLLM engine against bare `vllm.LLM.generate` in one process: what the layer, the seeds and the log-probs cost.

The three alternate on the same engine and the same prompts, so that drift of the machine hits all alike. With equal
sampling the layer and the bare call draw the same tokens, which is checked.

    python benchmarks/engine.py --rounds 9 --record
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import statistics
import time
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")

RESULTS = Path(__file__).parent / "results" / "engine.json"


def prompts(tokenizer, count: int) -> list[tuple[int, ...]]:
    from tersely.data import load_problems

    rows = load_problems({"path": "testbed", "split": "train", "limit": count}, seed=0)
    texts = [tokenizer.apply_chat_template(r["prompt"], tokenize=False, add_generation_prompt=True) for r in rows]
    return [tuple(tokenizer.encode(text, add_special_tokens=False)) for text in texts]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--requests", type=int, default=256)
    parser.add_argument("--tokens", type=int, default=128, help="cap of a completion")
    parser.add_argument("--record", action="store_true", help=f"write {RESULTS}")
    options = parser.parse_args()

    from tersely.engines.base import GenerationRequest
    from tersely.engines.model_folder import model_location
    from tersely.engines.models import load_model, load_tokenizer
    from tersely.engines.vllm import VLLMEngine

    location = model_location("testbed")
    tokenizer = load_tokenizer("testbed")
    began = time.perf_counter()
    engine = VLLMEngine(location, tokenizer, max_model_len=512)
    start_s = time.perf_counter() - began
    from vllm import SamplingParams

    ids = prompts(tokenizer, options.requests)
    requests = [GenerationRequest(one, 1000 + i, options.tokens) for i, one in enumerate(ids)]
    texts = [{"prompt_token_ids": list(one)} for one in ids]
    same = [
        SamplingParams(seed=r.seed, logprobs=0, max_tokens=r.max_new_tokens, detokenize=False, flat_logprobs=True)
        for r in requests
    ]
    plain = SamplingParams(max_tokens=options.tokens, detokenize=False)
    seconds: dict[str, list[float]] = {"ours": [], "bare": [], "bare_unseeded": []}
    tokens: dict[str, int] = {}
    for round_ in range(options.rounds + 1):  # the first warms up
        drawn = {}
        for name, generate in (
            ("ours", lambda: engine.generate(requests)),
            ("bare", lambda: engine.llm.generate(texts, sampling_params=same, use_tqdm=False)),
            ("bare_unseeded", lambda: engine.llm.generate(texts, sampling_params=plain, use_tqdm=False)),
        ):
            began = time.perf_counter()
            answers = generate()
            if round_:
                seconds[name].append(time.perf_counter() - began)
            drawn[name] = [tuple(a.token_ids if name == "ours" else a.outputs[0].token_ids) for a in answers]
            tokens[name] = sum(map(len, drawn[name]))
        assert drawn["ours"] == drawn["bare"]
    sync = sync_seconds(engine, load_model, options.rounds)
    ratios = [a / b for a, b in zip(seconds["ours"], seconds["bare"], strict=True)]
    unseeded = tokens["bare_unseeded"] / statistics.median(seconds["bare_unseeded"])
    ours = tokens["ours"] / statistics.median(seconds["ours"])
    result = {
        "command": f"python benchmarks/engine.py --rounds {options.rounds} --requests {options.requests} --record",
        "machine": f"{platform.processor() or platform.machine()}, {os.cpu_count()} cores, 1 thread",
        "time_ratio_to_bare_median": statistics.median(ratios),
        "time_ratio_to_bare_quartiles": statistics.quantiles(ratios, n=4),
        "tokens_per_second": ours,
        "tokens_per_second_bare_unseeded_without_logprobs": unseeded,
        "sync_seconds_median": statistics.median(sync),
        "engine_start_seconds": start_s,
        "tokens_a_round": tokens["ours"],
        "rounds": options.rounds,
    }
    print(json.dumps(result, indent=1))
    if options.record:
        RESULTS.parent.mkdir(exist_ok=True)
        RESULTS.write_text(json.dumps(result, indent=1) + "\n")
    engine.close()


def sync_seconds(engine, load_model, rounds: int) -> list[float]:
    """Seconds of one exchange of all weights."""
    from trl import GRPOConfig

    model, _ = load_model("testbed", GRPOConfig(output_dir="runs/none", use_cpu=True, bf16=False, report_to="none"))
    seconds = []
    for version in range(rounds):
        began = time.perf_counter()
        engine.sync_weights(model, version)
        seconds.append(time.perf_counter() - began)
    return seconds


if __name__ == "__main__":
    main()
