"""Finds differences between the settings of two evaluations, which would make a comparison of the models invalid."""

from __future__ import annotations

from typing import Any

from tersely.core.errors import ConfigError
from tersely.eval.run_arrays import RunRecords
from tersely.eval.run_card import entry_of

OTHER = ("model", "samples", "budgets", "limit", "hash", "strategy", "engine")
"""Settings that may differ: a strategy is part of a run's name, and sample counts do not change the expectation."""

WORDS = ("instruction", "system_prompt", "prompting_instruction", "prefill")


def settings_of(run: RunRecords, benchmark: str) -> dict[str, Any]:
    """Settings of a benchmark from an evaluation's card; empty if not recorded."""
    settings = run.card.get("settings")
    found = settings.get(entry_of(benchmark, run.strategy)) if isinstance(settings, dict) else None
    if not isinstance(found, dict):
        return {}
    words = {key: found[key] or "" for key in WORDS if key in found}  # "no system prompt" has two spellings
    if "instruction" in found and found["instruction"] is None:
        words["instruction"] = _own_sentence(benchmark)
    return {**found, **words}


def _own_sentence(benchmark: str) -> str:
    """The instruction of a benchmark without `--instruction`."""
    from tersely.configs.dataset import INSTRUCTION
    from tersely.data.benchmarks import benchmark_names, find_benchmark
    from tersely.data.load import own_instruction

    if benchmark in benchmark_names():
        return own_instruction(find_benchmark(benchmark).source)
    return INSTRUCTION


def differences(a: RunRecords, b: RunRecords, benchmark: str, but: tuple[str, ...] = ()) -> list[str]:
    """`temperature: 1.0 for base, 0.6 for alp`, one per setting that differs between a and b.

    Runs with several seeds are compared by all their evaluations, whose sampling seeds may differ. Settings that only one
    run records are ignored.
    """
    found = []
    if a.members or b.members:
        but = (*but, "seed")
    for one in a.members or [a]:
        for other in b.members or [b]:
            x, y = settings_of(one, benchmark), settings_of(other, benchmark)
            skip = (*OTHER, *but, *(("fingerprint",) if x.get("limit") != y.get("limit") else ()))
            found += [
                f"{_named(key)}: {_short(x[key])} for {one.name}, {_short(y[key])} for {other.name}"
                for key in x
                if key in y and key not in skip and x[key] != y[key]
            ]
            if "fingerprint" in skip and (changed := _other_content(one, other, benchmark)):
                found.append(f"version of the benchmark: {changed}")
    return list(dict.fromkeys(found))


def _other_content(a: RunRecords, b: RunRecords, benchmark: str) -> str:
    """Compare the common problems, because fingerprints also differ if one run has fewer problems."""
    x, y = (run.benchmarks[benchmark].contents if benchmark in run.benchmarks else {} for run in (a, b))
    shared = x.keys() & y.keys()
    changed = sum(x[problem] != y[problem] for problem in shared)
    return f"{changed} of {len(shared)} common problems have a different text or answer" if changed else ""


def unrecorded(run: RunRecords, base: RunRecords, benchmark: str) -> list[str]:
    """Names of the runs among `run` and `base` whose run.json has no settings of this benchmark."""
    sides = {"run": run, "base": base}
    return [side for side, of in sides.items() if not all(settings_of(one, benchmark) for one in of.members or [of])]


def check_same(runs: list[RunRecords], base: RunRecords, anyway: bool) -> dict[tuple[str, str], list[str]]:
    """(run, benchmark) -> differences from the base's settings. Raises `ConfigError` if there are any, unless `anyway`."""
    found = {
        (run.name, name): differences(base, run, name)
        for run in runs
        for name in sorted(run.benchmarks)
        if name in base.benchmarks
    }
    found = {key: changes for key, changes in found.items() if changes}
    if found and not anyway:
        lines = [f"  {name}, {'; '.join(changes)}" for (_, name), changes in found.items()]
        raise ConfigError(
            "the evaluations were sampled with different settings:\n"
            + "\n".join(lines)
            + "\nEvaluate both with the same settings, or pass --anyway, which lists the differences"
        )
    return found


def _named(key: str) -> str:
    return {
        "fingerprint": "version of the benchmark",
        "max_new_tokens": "cap (max_new_tokens)",
        "context": "context that ends before the cap (--max-model-len)",
        "chat_template": "chat template",
    }.get(key, key)


def _short(value: Any) -> str:
    text = "none" if value is None else repr(value)
    return text if len(text) <= 80 else text[:79] + "\N{HORIZONTAL ELLIPSIS}"
