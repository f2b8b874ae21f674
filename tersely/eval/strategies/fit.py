"""`tersely fit seal|diff_adapt MODEL RUN --out FILE`: what two decoding strategies need from traces of the model itself.

RUN is an evaluated run (records.jsonl) of the same model, on problems that nothing is later measured on.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tersely.checks import SpecError
from tersely.launch.options import Parser, whole
from tersely.places import path_option, place_option


@dataclass(frozen=True)
class Trace:
    """One recorded sample with its prompt, as ids."""

    prompt_id: str
    prompt_ids: tuple[int, ...]
    text: str
    correct: float | None
    """0 where a correct answer stands in a truncated sample, as in training."""


def main(argv: Sequence[str] | None = None) -> int:
    parser = Parser(prog="tersely fit", description=(__doc__ or "").splitlines()[0])
    parser.add_argument("strategy", choices=("seal", "diff_adapt"))
    parser.add_argument("model", type=place_option, help="hub id, folder, or `testbed`")
    parser.add_argument("run", type=path_option, help="evaluated run of this model, a directory with records.jsonl")
    parser.add_argument(
        "--benchmark",
        type=place_option,
        help="ready-made name or file that the run was evaluated on (default: as recorded)",
    )
    parser.add_argument("--out", type=path_option, required=True, help="file to write, .safetensors")
    parser.add_argument(
        "--layer", type=whole(0), help="seal: whose output is read and steered (default: about 0.7 of the depth)"
    )
    parser.add_argument("--border", default="\n\n", help="seal: what ends a thought (default: an empty line)")
    options = parser.parse_args(argv)
    from tersely.eval.engines import transformers_evaluator

    evaluator = transformers_evaluator(options.model, verifier=object())
    traces = list(read_traces(evaluator, options.run, options.benchmark))
    if not traces:
        raise SpecError(f"{options.run} holds no plain sample; evaluate the model there without a strategy first")
    if options.strategy == "seal":
        from tersely.eval.strategies.fit_seal import fit_seal

        border = options.border.replace("\\n", "\n")
        facts = fit_seal(evaluator.engine, traces, options.out, layer=options.layer, border=border)
    else:
        from tersely.eval.strategies.fit_probe import fit_probe

        facts = fit_probe(evaluator.engine, traces, options.out)
    print(f"{options.out}: " + ", ".join(f"{key} {value}" for key, value in facts.items()))
    return 0


def read_traces(evaluator: Any, run: Path, benchmark: str | None) -> Iterator[Trace]:
    """The plain samples of a run, with their prompts made again from the benchmark as it was evaluated."""
    from tersely.eval.benchmarks import load_benchmark
    from tersely.eval.records import RecordReader
    from tersely.eval.runs import find_records, strategy_label
    from tersely.eval.settings import read_card

    path = find_records(run)
    told = read_card(path.parent).get("settings", {})
    prompts: dict[str, dict[str, tuple[int, ...]]] = {}
    for _, record in RecordReader(path):
        if strategy_label(record.get("strategy")) is not None:
            continue
        name = record["benchmark"]
        if name not in prompts:
            how = {key: told.get(name, {}).get(key) for key in ("limit", "instruction", "system_prompt")}
            _, data, _ = load_benchmark(benchmark or name, **how)
            prompts[name] = {row["prompt_id"]: evaluator.render(row["prompt"]) for row in data}
        if record["problem_id"] in prompts[name]:
            prompt, correct = prompts[name][record["problem_id"]], record["correct"]
            ended = 0 if correct and record.get("truncated") else correct
            yield Trace(record["problem_id"], prompt, record["text"], ended)
