"""Generates tables of the docs from the code: properties of reward terms, of losses, fields of the types.

python -m tersely.launch.tables                               prints the tables
python -m tersely.launch.tables --write docs/methods-length.md    writes the tables between the page's markers
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from tersely.core.paths import path_option

HEADER = ("term", "kind", "permutation", "prompts apart", "right >= wrong", "finite", "reads", "learns")
BATCHES, GROUP, PROMPTS, CAP = 60, 4, 3, 4096


def property_table(names: Sequence[str] | None = None) -> str:
    """Markdown, one row a reward term. The checks run here, on seeded random groups; reasons are the terms' own words."""
    from tersely.rewards import REWARDS

    rows = [_row(name) for name in names or sorted(REWARDS)]
    lines = [HEADER, ("---",) * len(HEADER), *rows]
    return "\n".join("| " + " | ".join(cells) + " |" for cells in lines) + "\n"


def _row(name: str) -> tuple[str, ...]:
    from tersely.core.build import build

    term = build("reward", name)
    batches = [_batch(name, seed) for seed in range(BATCHES)]
    whole, reason = term.includes_outcome, getattr(term, "violates_outcome_order", "")
    ordered = all(_ordered(term, batch) for batch in batches)
    batch_wide = getattr(term, "scope", "group") == "batch"
    return (
        f"`{name}`",
        "whole" if whole else "additive",
        _yes(all(_permutes(term, batch) for batch in batches)),
        "no: reads the whole batch" if batch_wide else _yes(all(_apart(term, batch) for batch in batches)),
        f"no: {reason}" if reason else _yes(ordered),
        _yes(all(_finite(term, batch) for batch in batches)),
        ", ".join(_reads(name, term)) or "-",
        _learns(term),
    )


def _batch(name: str, seed: int) -> Any:
    """Three groups of four with undecided and truncated rows, ties, budgets, modes and a memory."""
    import torch

    from tersely.core.memory import PromptMemory
    from tersely.core.types import Rollouts

    draw, rows = torch.Generator().manual_seed(seed), GROUP * PROMPTS

    def pick(values: Sequence[Any]) -> list[Any]:
        return [values[i] for i in torch.randint(0, len(values), (rows,), generator=draw).tolist()]

    length = torch.randint(1, CAP + 1, (rows,), generator=draw)
    length[torch.rand(rows, generator=draw) < 0.3] = pick([1, 900, CAP])[0]
    records = {"target": 900.0, "shortest": 700.0, "budget_max": 1000.0, "reference_accuracy": 0.5}
    return Rollouts(
        group_size=GROUP,
        prompt_id=[f"q{i // GROUP}" for i in range(rows)],
        correct=torch.tensor(pick([0.0, 1.0, 1.0, torch.nan])),
        length=length,
        truncated=length == CAP,
        max_length=CAP,
        progress=0.3,
        budget=torch.tensor(pick([512.0, 2048.0, 4096.0])),
        mode=pick(["short", "think"] if name == "thinkless" else ["think", "no_think"]),
        token_ids=torch.randint(0, 50, (rows, 24), generator=draw),
        entropy=torch.rand((rows, 24), generator=draw),
        reference_score=torch.rand(rows, generator=draw),
        reference_base=torch.rand(rows, generator=draw),
        reference_logp=-3 * torch.rand(rows, generator=draw),
        reference_tokens=torch.randint(1, 8, (rows,), generator=draw),
        repeated=torch.rand(rows, generator=draw) < 0.2,
        memory=PromptMemory({"q0": records}),
    )


def _same(one: Any, other: Any) -> bool:
    import torch

    return torch.allclose(one, other, atol=1e-6, rtol=1e-6, equal_nan=True)


def _permutes(term: Any, batch: Any) -> bool:
    order = [p * GROUP + j for p in range(PROMPTS) for j in reversed(range(GROUP))]
    return _same(term(batch.at(order)), term(batch)[order])


def _apart(term: Any, batch: Any) -> bool:
    parts = [list(range(p * GROUP, (p + 1) * GROUP)) for p in range(PROMPTS)]
    together = term(batch)
    return all(_same(term(batch.at(rows)), together[rows]) for rows in parts)


def _ordered(term: Any, batch: Any) -> bool:
    """Among decided, well-formed rows; an additive term is added to the outcome."""
    import torch

    value = term(batch) + (0.0 if term.includes_outcome else 1.0) * batch.correct
    groups, right = value.view(-1, GROUP), (batch.correct == 1).view(-1, GROUP)
    worst = torch.where(right, groups, torch.inf).amin(1)
    best = torch.where((batch.correct == 0).view(-1, GROUP), groups, -torch.inf).amax(1)
    return bool((worst >= best - 1e-6).all())


def _finite(term: Any, batch: Any) -> bool:
    """Finite on decided rows and nan on the others, also with one verdict and one length for all."""
    import dataclasses

    import torch

    homogeneous = [
        dataclasses.replace(
            batch, correct=torch.full_like(batch.correct, verdict), length=torch.full_like(batch.length, 9)
        )
        for verdict in (0.0, 1.0, torch.nan)
    ]
    for data in (batch, *homogeneous):
        value = term(data)
        if not (torch.equal(value.isnan(), data.correct.isnan()) and value[data.decided].isfinite().all()):
            return False
    return True


def _reads(name: str, term: Any) -> list[str]:
    """Optional fields without which the term refuses to work, and the memory records it reads."""
    import dataclasses

    found = []
    optional = (
        "budget",
        "mode",
        "entropy",
        "token_ids",
        *(n for n in getattr(term, "needs", ()) if n.startswith("ref")),
    )
    for field in dict.fromkeys(optional):
        try:
            term(dataclasses.replace(_batch(name, 0), **{field: None}))
        except ValueError:
            found.append(field)
    return found + [f"memory.{field}" for field in getattr(term, "memory_fields", ())]


def _learns(term: Any) -> str:
    if not hasattr(term, "update"):
        return "-"
    return "controller" if hasattr(term, "state_dict") else "memory"


def _yes(kept: bool) -> str:
    return "yes" if kept else "no"


def tables() -> dict[str, Callable[[], str]]:
    """Name in the markers of a page -> what makes the table."""
    from tersely.launch.tables_fields import rollouts_table, token_batch_table
    from tersely.launch.tables_pairs import advantages_table, pairs_table

    return {
        "properties": property_table,
        "policies": pairs_table,
        "advantages": advantages_table,
        "rollouts": rollouts_table,
        "token_batch": token_batch_table,
    }


def markers(name: str) -> tuple[str, str]:
    return f"<!-- {name}: begin -->", f"<!-- {name}: end -->"


def write(path: Path) -> bool:
    """Replace what stands between the markers of a page; True where that changed it."""
    text = updated = path.read_text()
    found = False
    for name, make in tables().items():
        start, end = markers(name)
        if start in text and end in text:
            found = True
            head, _, rest = updated.partition(start)
            updated = f"{head}{start}\n{make()}{end}{rest.partition(end)[2]}"
    if not found:
        names = ", ".join(tables())
        raise ValueError(
            f"{path} has no lines {markers('NAME')[0]!r} and {markers('NAME')[1]!r}; NAME is one of {names}"
        )
    path.write_text(updated)
    return updated != text


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m tersely.launch.tables", description="Which component keeps what.")
    parser.add_argument(
        "--write", type=path_option, metavar="PAGE", help="put the tables between the markers of this page"
    )
    options = parser.parse_args(argv)
    if options.write is None:
        print("\n".join(make() for make in tables().values()), end="")
        return 0
    print(f"{options.write}: {'updated' if write(options.write) else 'as it was'}")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
