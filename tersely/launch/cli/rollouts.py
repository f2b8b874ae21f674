"""`tersely rollouts MODEL DATA`: sample a model on training problems, verify, and keep the samples for a cold start.

All samples go to the folder `OUT.samples` in the format of `tersely eval`, batch by batch; another start continues there.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from tersely.core.errors import ConfigError, nearest
from tersely.core.files import replace
from tersely.core.paths import path_option, place_option
from tersely.eval.analysis.read import good_trace
from tersely.eval.records import FILE, RecordReader
from tersely.launch.cli.model_options import add_engine_options, add_prompt_options, prompting_of
from tersely.launch.cli.parser import Parser, number, require_jsonl, whole

KEEP = ("correct", "all")


def parser() -> Parser:
    p = Parser(
        prog="tersely rollouts",
        description="Sample a model on the problems of a dataset, verify every answer, and write the kept samples to OUT, "
        "one JSON object per line as in records.jsonl. A cold start reads the file as its `traces`. Another start with the "
        "same --out resumes.",
    )
    p.add_argument("model", type=place_option, help="hub id, model folder (also a run's `final`), or `testbed`")
    p.add_argument(
        "data",
        help="dataset: a name of `tersely datasets`, a file (.jsonl, .csv, ...), a hub id or reasoning_gym:TASK",
    )
    p.add_argument("--out", type=path_option, required=True, help="file of the kept samples, ending in .jsonl")
    p.add_argument("--samples", type=whole(1), default=4, help="samples per problem (default: %(default)s)")
    p.add_argument(
        "--keep",
        choices=KEEP,
        default="correct",
        help="correct: samples that are correct and ended by themselves (default); all: every sample",
    )
    p.add_argument("--limit", type=whole(1), help="problems, a fixed random subset (default: all)")
    p.add_argument(
        "--max-new-tokens", type=whole(1), default=32768, help="maximum tokens per sample (default: %(default)s)"
    )
    p.add_argument(
        "--temperature", type=number(above=0), default=1.0, help="sampling temperature (default: %(default)s)"
    )
    p.add_argument("--top-p", type=number(above=0, at_most=1), default=1.0, help="nucleus sampling; 1 disables it")
    p.add_argument("--top-k", type=whole(0), default=0, help="top-k sampling; 0 disables it")
    p.add_argument("--seed", type=whole(0), default=0, help="random seed (default: %(default)s)")
    add_prompt_options(p)
    add_engine_options(p)
    return p


def main(argv: Sequence[str] | None = None) -> int:
    options = parser().parse_args(argv)
    from tersely.data.benchmarks import Benchmark, Sampling
    from tersely.eval.engines import faster_engine, trained_model
    from tersely.eval.evaluator import summary
    from tersely.launch.cli.eval import evaluator_of, refuse_early, refuse_other_settings, strategies_of, summary_line

    out: Path = options.out
    require_jsonl("--out", out)
    sampling = Sampling(options.samples, options.temperature, options.top_p, options.top_k, options.max_new_tokens)
    source = source_of(options.data)
    data = Benchmark(source.label, source.label, source, sampling)
    # what the functions of `tersely eval` read
    options.out, options.name = out.with_name(f"{out.name}.samples"), out.stem
    options.sampling, options.strategy, options.frontier = "benchmark", None, None
    refuse_early(options, [data])
    options.model = trained_model(options.model)
    plans = {data.name: strategies_of(options, data)}
    prompting = prompting_of(options)
    refuse_other_settings(options, [data], plans, prompting)
    if hint := faster_engine(options.engine):
        print(hint, flush=True)
    evaluator = evaluator_of(options, [data], plans, prompting)
    try:
        evaluator.run(
            data,
            options.out,
            run=options.name,
            seed=options.seed,
            limit=options.limit,
            instruction=options.instruction,
            system_prompt=options.system_prompt,
        )
    finally:
        evaluator.engine.close()
        evaluator.verifier.close()
    records = options.out / FILE
    print(summary_line(data.name, summary(records, data.name)), flush=True)
    counts: Counter[str] = Counter()
    replace(out, "".join(_kept(records, data.name, options.keep, counts)))
    print(f"{out}: {counts['kept']} of {counts['read']} samples, of {counts['problems']} problems")
    return 0


def source_of(data: str) -> Any:
    """The dataset that an argument names. Raises `ConfigError` with the nearest name."""
    from tersely.configs.dataset import entry_names, parse_sources

    try:
        (source,) = parse_sources(data)
    except ConfigError as error:
        raise ConfigError(f"DATA: got {data!r}; {nearest(data, entry_names())}, a file, or a hub id") from error
    return source


def _kept(path: Path, data: str, keep: str, counts: Counter[str]) -> Iterator[str]:
    """The lines to write; counts what was read and kept."""
    problems = set()
    for _, record in RecordReader(path):
        if record["benchmark"] != data:
            continue
        counts["read"] += 1
        if keep == "all" or good_trace(record):
            counts["kept"] += 1
            problems.add(record["problem_id"])
            yield json.dumps(record) + "\n"
    counts["problems"] = len(problems)
