"""Do two evaluations differ in how they were sampled? Comparing them would measure the settings, not the models."""

from __future__ import annotations

from typing import Any

from tersely.checks import SpecError
from tersely.eval.runs import RunRecords
from tersely.eval.settings import entry_of

OTHER = ("model", "samples", "budgets", "limit", "hash", "strategy", "engine")
"""Settings that may differ. A strategy is part of a run's name; the number of samples and problems changes no expectation."""

WORDS = ("instruction", "system_prompt", "plan_instruction", "prefill")


def settings_of(run: RunRecords, benchmark: str) -> dict[str, Any]:
    """The settings that an evaluation's card holds for a benchmark; empty where nobody recorded them."""
    settings = run.card.get("settings")
    found = settings.get(entry_of(benchmark, run.strategy)) if isinstance(settings, dict) else None
    if not isinstance(found, dict):
        return {}
    words = {key: found[key] or "" for key in WORDS if key in found}  # "no system prompt" has two spellings
    if "instruction" in found and found["instruction"] is None:
        words["instruction"] = _own_sentence(benchmark)
    return {**found, **words}


def _own_sentence(benchmark: str) -> str:
    """The closing sentence that a benchmark has without `--instruction`."""
    from tersely.eval.benchmarks import benchmark_names, find_benchmark
    from tersely.rl.data.load import own_instruction
    from tersely.rl.data.spec import INSTRUCTION

    if benchmark in benchmark_names():
        return own_instruction(find_benchmark(benchmark).source)
    return INSTRUCTION


def differences(a: RunRecords, b: RunRecords, benchmark: str, but: tuple[str, ...] = ()) -> list[str]:
    """`temperature: 1.0 for base, 0.6 for alp`, one per setting of a and b that differs; runs of several seeds by all of
    their evaluations, whose sampling seeds may differ. Settings that only one of them records are left out.
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
    return list(dict.fromkeys(found))


def check_same(runs: list[RunRecords], base: RunRecords, anyway: bool) -> dict[tuple[str, str], list[str]]:
    """(run, benchmark) -> differences from the base's settings. `SpecError` where there are some, unless `anyway`."""
    found = {
        (run.name, name): differences(base, run, name)
        for run in runs
        for name in sorted(run.benchmarks)
        if name in base.benchmarks
    }
    found = {key: said for key, said in found.items() if said}
    if found and not anyway:
        lines = [f"  {name}, {'; '.join(said)}" for (_, name), said in found.items()]
        raise SpecError(
            "the evaluations were sampled with different settings:\n"
            + "\n".join(lines)
            + "\nEvaluate both with the same settings, or pass --anyway: the page then lists the differences"
        )
    return found


def _named(key: str) -> str:
    return {
        "fingerprint": "version of the benchmark",
        "max_new_tokens": "cap (max_new_tokens)",
        "chat_template": "chat template",
    }.get(key, key)


def _short(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 80 else text[:79] + "\N{HORIZONTAL ELLIPSIS}"
