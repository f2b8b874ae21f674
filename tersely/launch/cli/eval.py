"""`tersely eval MODEL`: options, checks, and the loop over benchmarks and strategies."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from tersely.core.errors import ConfigError
from tersely.core.paths import path_option, place_option
from tersely.engines.chat import variable_warnings
from tersely.engines.registry import capabilities_of, evaluation_engines
from tersely.eval.trained_prompt import asked
from tersely.launch.cli.model_options import add_engine_options, add_prompt_options, prompting_of
from tersely.launch.cli.parser import Parser, number, whole


def parser() -> Parser:
    """Argument parser of the command. An option with default None uses the benchmark's setting."""
    p = Parser(
        prog="tersely eval",
        description="Sample a model on benchmarks and verify every answer. Appends to OUT/records.jsonl; another start "
        "with the same --out resumes the evaluation.",
    )
    p.add_argument(
        "model",
        nargs="?",
        type=place_option,
        help="hub id, model folder (also a run directory's `final`), or `testbed`",
    )
    p.add_argument("--list", action="store_true", help="list the shipped benchmarks and exit")
    p.add_argument("--list-strategies", action="store_true", help="list the decoding strategies and exit")
    p.add_argument(
        "--benchmarks",
        help="comma-separated names of shipped benchmarks, data files (.jsonl, .csv, ...) or benchmark .yaml files",
    )
    p.add_argument("--out", type=path_option, help="run directory")
    p.add_argument("--name", help="name of the run in reports (default: the folder's name)")
    p.add_argument("--samples", type=whole(1), help="samples per problem")
    p.add_argument("--limit", type=whole(1), help="problems per benchmark, a fixed random subset")
    p.add_argument("--max-new-tokens", type=whole(1), help="maximum tokens per sample")
    p.add_argument("--temperature", type=number(at_least=0), help="sampling temperature; 0 is greedy decoding")
    p.add_argument("--top-p", type=number(above=0, at_most=1), help="nucleus sampling; 1 disables it")
    p.add_argument("--top-k", type=whole(0), help="top-k sampling; 0 disables it")
    p.add_argument("--seed", type=whole(0), default=0, help="random seed (default: %(default)s)")
    p.add_argument(
        "--sampling",
        choices=("benchmark", "model"),
        default="benchmark",
        help="source of temperature, top-p and top-k: the benchmark (default) or the model's generation config",
    )
    p.add_argument(
        "--strategy",
        action="append",
        metavar="NAME[:KEY=VALUE,...]",
        help="decoding strategy, for example forced_answer:budget=512; can be repeated (default: vanilla)",
    )
    p.add_argument(
        "--frontier",
        nargs="?",
        const="",
        metavar="KEY=VALUE,...",
        help="run vanilla and the training-free baselines that the engine can run: forced answers at several budgets, no "
        "thinking, banned reflection, early stopping, mixed inputs, branches. VALUE: parameters of forced_answer",
    )
    p.add_argument("--budgets", help="comma-separated token budgets; reports the accuracy of the same rollouts at each")
    add_prompt_options(p)
    add_engine_options(p)
    return p


def main(argv: Sequence[str] | None = None) -> int:
    """Evaluate on each benchmark and print one line per result."""
    options = parser().parse_args(argv)
    from tersely.data.benchmarks import benchmark_names, find_benchmark

    if options.list:
        for benchmark in map(find_benchmark, benchmark_names()):
            print(f"{benchmark.name:<22} {benchmark.title} (n = {benchmark.sampling.samples})")
            for line in benchmark.source.pitfalls:
                print(f"{'':<22} pitfall: {line}")
        return 0
    if options.list_strategies:
        print_strategies()
        return 0
    missing = [name for name in ("model", "benchmarks", "out") if not getattr(options, name)]
    if missing:
        raise ConfigError(f"tersely eval: missing {', '.join('--' * (name != 'model') + name for name in missing)}")
    names = [name.strip() for name in options.benchmarks.split(",") if name.strip()]
    if not names:
        raise ConfigError(
            f"--benchmarks: got {options.benchmarks!r}; expected a name. `tersely eval --list` lists them"
        )
    benchmarks = [find_benchmark(name) for name in names]  # before the model is loaded, so that a typo costs nothing
    refuse_early(options, benchmarks)
    plans = {benchmark.name: strategies_of(options, benchmark) for benchmark in benchmarks}
    refuse_unfitted([chosen for chosens in plans.values() for chosen in chosens])
    for benchmark in benchmarks:
        samples = options.samples or benchmark.sampling.samples
        for chosen in plans[benchmark.name]:
            chosen.strategy.require_samples(samples)
    budgets = parse_budgets(options.budgets)
    from tersely.eval.engines import faster_engine, trained_model

    options.model = trained_model(options.model)
    if hint := faster_engine(options.engine):
        print(hint, flush=True)
    prompting = prompting_of(options)
    refuse_other_settings(options, benchmarks, plans, prompting)
    from tersely.eval.decoding.spec import check

    evaluator = evaluator_of(options, benchmarks, plans, prompting)
    for finding in variable_warnings(evaluator.tokenizer, prompting.chat_template_kwargs):
        print(f"warning: {finding.line}", flush=True)
    try:
        for chosen in (chosen for chosens in plans.values() for chosen in chosens):
            check(chosen, evaluator.tokenizer, evaluator.engine)  # before hours of sampling
        for benchmark in benchmarks:
            for chosen in plans[benchmark.name]:
                evaluate_one(evaluator, benchmark, chosen, budgets, options)
    finally:
        evaluator.engine.close()
        evaluator.verifier.close()
    print(f"records: {options.out / 'records.jsonl'}; next: tersely report {options.out}")
    return 0


def sampling_overrides(options: argparse.Namespace) -> dict[str, Any]:
    """Sampling settings from the command line."""
    keys = ("samples", "temperature", "top_p", "top_k", "max_new_tokens")
    return {key: getattr(options, key) for key in keys if getattr(options, key) is not None}


def evaluator_of(
    options: argparse.Namespace, benchmarks: Sequence[Any], plans: Mapping[str, list[Any]], prompting: Any
) -> Any:
    """The evaluator of the model and the engine that the options choose."""
    from tersely.eval.engines import make_evaluator

    return make_evaluator(
        options.model,
        options.engine,
        batch=options.batch_size,
        dtype=options.dtype,
        max_model_len=options.max_model_len or longest_sequence(options, benchmarks, plans, prompting),
        gpu_memory_utilization=options.gpu_memory_utilization,
        tokenizer=options.tokenizer,
        seed=options.seed,
        prompting=prompting,
        system_prompt=options.system_prompt,
    )


def longest_sequence(
    options: argparse.Namespace, benchmarks: Sequence[Any], plans: Mapping[str, list[Any]], prompting: Any
) -> int | None:
    """What an engine that reserves memory for it must hold; None for other engines."""
    from tersely.eval.engines import engine_kind, require_place

    if not capabilities_of(engine_kind(options.engine)).own_copy:
        return None
    from tersely.engines.models import load_tokenizer
    from tersely.eval.context import needed_context

    if not options.tokenizer:
        require_place(options.model)
    how = {key: getattr(options, key) for key in ("limit", "instruction", "system_prompt")}
    tokenizer = load_tokenizer(options.tokenizer or options.model, needs_pad=False)
    return needed_context(tokenizer, benchmarks, plans, options.max_new_tokens, prompting, **how)


def refuse_early(options: argparse.Namespace, benchmarks: Sequence[Any]) -> None:
    """Check options that need no model: number ranges and missing files."""
    from tersely.configs.dataset import file_kind
    from tersely.data.sources import read_rows

    for benchmark in benchmarks:
        replace(benchmark.sampling, **sampling_overrides(options))
        source = replace(benchmark.source, limit=options.limit) if options.limit is not None else benchmark.source
        if file_kind(str(source.path)):
            next(iter(read_rows(source, 0)), None)


def refuse_unfitted(strategies: Sequence[Any]) -> None:
    """Raise `ConfigError` for a strategy whose fitted file is missing, before a model is loaded."""
    from tersely.core.paths import beside
    from tersely.eval.decoding.spec import FILES

    for chosen in strategies:
        for key in FILES:
            path = chosen.parameters.get(key)
            if path and not Path(path).is_file():
                hint = "; ".join(filter(None, (beside(path), f"create one with `tersely fit {chosen.name}`")))
                raise ConfigError(f"{chosen.name}.{key}: got {path!r}; no such file. {hint}")


def refuse_other_settings(
    options: argparse.Namespace, benchmarks: Sequence[Any], plans: Mapping[str, list[Any]], prompting: Any
) -> None:
    """Raise `ConfigError` if records of any benchmark exist with other settings, as far as known without the model.

    All benchmarks are checked before the first one is sampled.
    """
    from tersely.eval.engines import engine_kind, identity, require_place
    from tersely.eval.run_card import read_card, refuse_changed

    card = read_card(options.out)
    if not card:
        return
    kind = engine_kind(options.engine)
    served = capabilities_of(kind).servers
    if not served:
        require_place(options.model)  # a missing model must not be reported as a different model
    settings = {
        "model": options.model if served else identity(options.model),
        "engine": kind,
        "seed": options.seed,
        "limit": options.limit,
    }
    run = options.name or options.out.resolve().name
    for benchmark in benchmarks:
        sampling = {
            **(asdict(benchmark.sampling) if options.sampling == "benchmark" else {}),
            **sampling_overrides(options),
        }
        sentence, system = asked(prompting, benchmark, options.instruction, options.system_prompt)
        phrased = {"instruction": sentence, "system_prompt": system}
        for chosen in plans[benchmark.name]:
            for variant in chosen.variants():
                known = {**settings, **phrased, **sampling, "strategy": variant.settings}
                refuse_changed(card, options.out, run, benchmark.name, known, variant.label)


def strategies_of(options: argparse.Namespace, benchmark: Any) -> list[Any]:
    """Strategies of a benchmark, in order; `--frontier` depends on the benchmark's token cap."""
    from tersely.eval.decoding.spec import parse
    from tersely.eval.report.frontier import free_strategies

    texts = list(options.strategy or [])
    if options.frontier is not None:
        cap = options.max_new_tokens or benchmark.sampling.max_new_tokens
        texts = ["vanilla", *free_strategies(cap, options.engine, options.frontier), *texts]
    return [parse(text) for text in texts or ["vanilla"]]


def parse_budgets(text: str | None) -> list[int] | None:
    """Parse `64,128,256`: strictly increasing token budgets."""
    if text is None:
        return None
    try:
        budgets = [int(part) for part in text.split(",")]
    except ValueError:
        budgets = []
    if not budgets or min(budgets) < 1 or sorted(set(budgets)) != budgets:
        raise ConfigError(f"--budgets: got {text!r}; expected increasing whole numbers of tokens such as 512,1024,2048")
    return budgets


def evaluate_one(evaluator: Any, benchmark: Any, chosen: Any, budgets: list[int] | None, options: Any) -> None:
    """Evaluate one benchmark with one strategy; print one line per variant."""
    from tersely.eval.evaluator import budget_summary, summary

    sampling = (dict(evaluator.maker_sampling) if options.sampling == "model" else {}) | sampling_overrides(options)
    evaluator.run(
        benchmark,
        options.out,
        run=options.name,
        seed=options.seed,
        limit=options.limit,
        instruction=options.instruction,
        system_prompt=options.system_prompt,
        strategy=chosen,
        budgets=budgets,
        **sampling,
    )
    path = options.out / "records.jsonl"
    for variant in chosen.variants():
        name = benchmark.name + (f", {variant.label}" if variant.label else "")
        print(summary_line(name, summary(path, benchmark.name, variant.label)), flush=True)
        if budgets and variant.label is None:
            curve, area = budget_summary(path, benchmark.name, None, budgets)
            points = ", ".join(f"{100 * a:.1f} % at {b}" for a, b in zip(curve, budgets, strict=True))
            print(f"{name}: correct within the budget {points}; area {area:.3f}", flush=True)


def print_strategies() -> None:
    from tersely.eval.decoding.registry import STRATEGIES

    for name, kind in STRATEGIES.items():
        module = sys.modules[kind.__module__].__doc__ or ""
        print(f"{name:<20} {', '.join(evaluation_engines(kind.needs)):<28} {module.splitlines()[0]}")


def summary_line(name: str, facts: dict[str, float]) -> str:
    """`testbed: accuracy 82.1 % (81.9 % where only completions that ended count), 61.3 tokens, truncated 0.4 %, ...`.

    Prints both accuracies when they differ.
    """
    both = f" ({100 * facts['accuracy_ended']:.1f} % where only completions that ended count)"
    both = both if facts["accuracy_ended"] < facts["accuracy"] else ""
    return (
        f"{name}: accuracy {100 * facts['accuracy']:.1f} %{both}, {facts['tokens_mean']:.1f} tokens, truncated "
        f"{100 * facts['truncated']:.1f} %, undecided {100 * facts['undecided']:.1f} % ({facts['samples']:.0f} samples)"
    )
