"""Generates tables of the docs from the code: properties of reward terms, of losses, fields of the types.

python docs/gen_tables.py                                     prints the tables
python docs/gen_tables.py --write docs/methods-length.md      writes the tables between the page's markers
make docs                                                     writes those of all pages, and checks the pages
"""

from __future__ import annotations

import argparse
import ast
import inspect
import re
import textwrap
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

from tersely.core import protocols
from tersely.core.build import BASES
from tersely.core.metric_names import METRICS
from tersely.core.paths import path_option
from tersely.core.protocols import Reward, replaces
from tersely.core.verifier import AnswerVerifier

TERM_HEADER = ("term", "kind", "permutation", "prompts apart", "right >= wrong", "finite", "reads", "learns")
BATCHES, GROUP, PROMPTS, CAP = 60, 4, 3, 4096


def property_table(names: Sequence[str] | None = None) -> str:
    """Markdown, one row per reward term. The properties are checked here on random groups; reasons come from the terms."""
    from tersely.rewards import REWARDS

    rows = [_row(name) for name in names or sorted(REWARDS)]
    lines = [TERM_HEADER, ("---",) * len(TERM_HEADER), *rows]
    return "\n".join("| " + " | ".join(cells) + " |" for cells in lines) + "\n"


def _row(name: str) -> tuple[str, ...]:
    from tersely.core.build import build

    term = build("reward", name)
    batches = [random_rollouts(name, seed) for seed in range(BATCHES)]
    whole, reason = term.includes_outcome, term.violates_outcome_order
    ordered = all(_ordered(term, batch) for batch in batches)
    batch_wide = term.scope == "batch"
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


def random_rollouts(name: str, seed: int) -> Any:
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
        thinking_length=(length * torch.rand(rows, generator=draw)).long(),
        thinking_end=torch.randint(0, 20, (rows,), generator=draw),
        answer_start=torch.randint(20, 24, (rows,), generator=draw),
        step=torch.arange(24).div(4, rounding_mode="floor").expand(rows, 24),
        old_logp=-torch.rand((rows, 24), generator=draw),
        reflections=torch.randint(0, 120, (rows,), generator=draw),
        exit=torch.arange(rows) % GROUP,
        trace=torch.zeros(rows, dtype=torch.int64),
        prefix=torch.arange(rows) % GROUP,
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
    """Optional fields without which the term raises, and the memory records that it reads."""
    import dataclasses

    found = []
    optional = (
        "budget",
        "mode",
        "entropy",
        "token_ids",
        *("thinking_length", "thinking_end", "answer_start", "step", "old_logp", "reflections", "exit"),
        *(n for n in term.needs if n.startswith("ref")),
    )
    for field in dict.fromkeys(optional):
        try:
            term(dataclasses.replace(random_rollouts(name, 0), **{field: None}))
        except ValueError:
            found.append(field)
    return found + [f"memory.{field}" for field in term.memory_fields]


def _learns(term: Reward) -> str:
    if not replaces(term, "update"):
        return "-"
    return "controller" if replaces(term, "state_dict") else "memory"


def _yes(kept: bool) -> str:
    return "yes" if kept else "no"


# ---- losses and advantages ----

VARIANTS = ({"name": "clip", "importance": "sequence"}, {"name": "gspo", "form": "token"})
LOSS_HEADER = ("loss", "credit of one token", "when every ratio is 1", "needs")


def pairs_table() -> str:
    """Markdown, one row per loss, in its default form and in the forms that change the answer."""
    from tersely.algorithms import LOSSES

    specs: list[Any] = [*sorted(LOSSES), *VARIANTS]
    lines = [LOSS_HEADER, ("---",) * len(LOSS_HEADER), *sorted(_loss_row(spec) for spec in specs)]
    return "\n".join("| " + " | ".join(cells) + " |" for cells in lines) + "\n"


def advantages_table() -> str:
    """Markdown: which advantages give every token its own credit, and what each reads."""
    from tersely.algorithms import ADVANTAGES
    from tersely.algorithms.checks import is_token_level
    from tersely.core.build import build

    lines = [("advantage", "credit", "reads"), ("---",) * 3]
    for name in sorted(ADVANTAGES):
        advantage = build("advantage", name)
        credit = "per token" if is_token_level(advantage) else "per row"
        lines.append((f"`{name}`", credit, ", ".join(advantage.needs) or "-"))
    return "\n".join("| " + " | ".join(cells) + " |" for cells in lines) + "\n"


def _loss_row(spec: Any) -> tuple[str, ...]:
    from tersely.algorithms.checks import averages_credit, equals_clip_at_ratio_one, ignores_advantage
    from tersely.core.build import build

    loss_fn = build("loss", spec)
    name = (
        spec
        if isinstance(spec, str)
        else " ".join([spec["name"], *(f"{k}: {v}" for k, v in spec.items() if k != "name")])
    )
    flags = {
        "reference model": loss_fn.needs_ref_logp or any(one.model is None for one in loss_fn.teachers),
        "entropy with gradient": loss_fn.needs_live_entropy,
        "an engine's log-probs (vLLM)": loss_fn.needs_sampler_logp,
    }
    needs = [text for text, needed in flags.items() if needed]
    return (
        f"`{name}`",
        "not read" if ignores_advantage(loss_fn) else "averaged over the row" if averages_credit(loss_fn) else "kept",
        "plain policy gradient" if equals_clip_at_ratio_one(loss_fn) else "still acts",
        ", ".join(needs) or "-",
    )


# ---- fields of the types ----


@dataclass(frozen=True)
class FieldText:
    name: str
    kind: str
    """Shape, type and unit."""
    meaning: str
    when_none: str
    """Empty for a field that is always set."""


def field_texts(cls: type) -> list[FieldText]:
    """The documented fields of a dataclass. Raises `ValueError` for a field without a text of the form `kind: meaning.`"""
    texts, body = {}, _body(cls)
    for statement, following in zip(body, body[1:], strict=False):
        if isinstance(statement, ast.AnnAssign) and isinstance(statement.target, ast.Name):
            value = following.value if isinstance(following, ast.Expr) else None
            texts[statement.target.id] = value.value if isinstance(value, ast.Constant) else ""
    found = []
    for field in fields(cls):
        kind, colon, rest = " ".join(str(texts.get(field.name, "")).split()).partition(": ")
        meaning, _, when = rest.partition(" None ")
        optional = field.default is None
        if not colon or not meaning or optional != bool(when):
            raise ValueError(
                f"{cls.__name__}.{field.name}: got {texts.get(field.name)!r}; expected `kind: meaning."
                f"{' None where it is None.' if optional else ''}`"
            )
        found.append(FieldText(field.name, kind, meaning.strip(), when))
    return found


def fields_table(cls: type) -> str:
    """Markdown, one row per field."""
    rows = [("field", "shape, type, unit", "meaning", "`None`"), ("---",) * 4]
    rows += [(f"`{one.name}`", one.kind, one.meaning, one.when_none or "never") for one in field_texts(cls)]
    return _table(rows)


def rollouts_table() -> str:
    from tersely.core.types import Rollouts

    return fields_table(Rollouts)


def token_batch_table() -> str:
    from tersely.core.types import TokenBatch

    return fields_table(TokenBatch)


# ---- hooks of the components ----


def hooks_table() -> str:
    """Markdown, one table per base class of `core/protocols.py`, one row per hook."""
    slots = {base: f"`{slot}`" for slot, base in BASES.items()}
    shared = {
        protocols.Stateful: "every slot except `sft_loss`",
        protocols.Component: "every slot except `controller` and `sft_loss`",
    }
    verifier = {AnswerVerifier: "your own verifier"}
    return "\n".join(
        f"**{cls.__name__}** ({slot})\n\n" + _table([("hook", "default", "meaning"), ("---",) * 3, *_hooks(cls)])
        for cls, slot in {**shared, **slots, **verifier}.items()
    )


def _hooks(cls: type) -> Iterator[tuple[str, str, str]]:
    """(name with type or arguments, default, text) of each hook that a base class declares."""
    body = _body(cls)
    for statement, following in zip(body, [*body[1:], None], strict=True):
        if isinstance(statement, ast.AnnAssign) and isinstance(following, ast.Expr):
            default = f"`{ast.unparse(statement.value)}`" if statement.value else "required"
            text = ast.literal_eval(following.value)
            signature = f"{ast.unparse(statement.target)}: {ast.unparse(statement.annotation)}"
        elif isinstance(statement, ast.FunctionDef):
            text = str(ast.get_docstring(statement))
            if statement.decorator_list:
                assert statement.returns is not None
                signature, default = (
                    f"{statement.name}: {ast.unparse(statement.returns)}",
                    f"`{getattr(cls, statement.name)!r}`",
                )
            else:
                names = inspect.signature(getattr(cls, statement.name)).parameters.values()
                arguments = ["*" * (p.kind is p.VAR_POSITIONAL) + p.name for p in names if p.kind is not p.VAR_KEYWORD]
                signature, default = f"{statement.name}({', '.join(arguments[1:])})", _returned(statement)
        else:
            continue
        yield f"`{signature}`", default, " ".join(text.split())


def _body(cls: type) -> list[ast.stmt]:
    (found,) = ast.parse(textwrap.dedent(inspect.getsource(cls))).body
    assert isinstance(found, ast.ClassDef)
    return found.body


def _returned(function: ast.FunctionDef) -> str:
    """What a default method returns, as code."""
    last = function.body[-1]
    if isinstance(last, ast.Raise):
        return "required"
    return f"`{ast.unparse(last.value)}`" if isinstance(last, ast.Return) and last.value else "does nothing"


def _table(rows: Sequence[tuple[str, ...]]) -> str:
    return "".join("| " + " | ".join(re.sub(r"\|", r"\\|", cell) for cell in row) + " |\n" for row in rows)


# ---- metrics ----


def metrics_table() -> str:
    """Markdown, one row per metric of a training run."""
    rows = [("metric", "unit", "meaning", "logged by"), ("---",) * 4]
    rows += [(f"`{one.name}`", one.unit, one.meaning, one.logged) for one in METRICS.values()]
    return _table(rows)


def keys_table() -> str:
    """Markdown: the keys of a recipe that are not TRL's."""
    from dataclasses import MISSING

    from tersely.configs.overrides import DEFAULTS
    from tersely.configs.recipe import KEYS, Recipe
    from tersely.configs.schema import key_texts

    defaults = {
        field.name: DEFAULTS["dataset"] if field.name == "dataset" else field.default for field in fields(Recipe)
    }
    texts = key_texts()
    return _keys((key, ... if defaults[key] is MISSING else defaults[key], texts[key]) for key in KEYS)


def sections_table() -> str:
    """Markdown: the keys of the recipe's sections."""
    from tersely.configs.dataset import SourceSpec
    from tersely.configs.evaluation import EvaluationSpec
    from tersely.configs.guards import Guards
    from tersely.configs.peft import PeftSpec
    from tersely.configs.schema import section_keys
    from tersely.configs.verifier import VerifierSpec

    sections: dict[str, type] = {"dataset": SourceSpec, "verifier": VerifierSpec, "evaluation": EvaluationSpec}
    sections |= {"guards": Guards, "peft": PeftSpec}
    return _keys(row for name, cls in sections.items() for row in section_keys(cls, name))


def _keys(found: Iterable[tuple[str, Any, str]]) -> str:
    rows = [("key", "default", "meaning"), ("---",) * 3]
    for key, default, text in found:
        empty = default is ... or default in (None, (), [], {})
        shown = "-" if empty else f"`{str(default).lower() if isinstance(default, bool) else default}`"
        rows.append((f"`{key}`", shown, re.sub(r"\|", r"\\|", text)))
    return "".join("| " + " | ".join(row) + " |\n" for row in rows)


# ---- pages ----


def tables() -> dict[str, Callable[[], str]]:
    """Name in the markers of a page -> function that makes the table."""
    return {
        "properties": property_table,
        "losses": pairs_table,
        "advantages": advantages_table,
        "rollouts": rollouts_table,
        "token_batch": token_batch_table,
        "keys": keys_table,
        "sections": sections_table,
        "hooks": hooks_table,
        "metrics": metrics_table,
    }


def markers(name: str) -> tuple[str, str]:
    return f"<!-- {name}: begin -->", f"<!-- {name}: end -->"


def write(path: Path) -> bool:
    """Replace the text between the markers of a page; True if the page changed."""
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
    parser = argparse.ArgumentParser(
        prog="python docs/gen_tables.py", description="Generate the tables of the docs from the code."
    )
    parser.add_argument(
        "--write", type=path_option, nargs="+", metavar="PAGE", help="put the tables between the markers of these pages"
    )
    options = parser.parse_args(argv)
    if options.write is None:
        print("\n".join(make() for make in tables().values()), end="")
        return 0
    for page in options.write:
        print(f"{page}: {'updated' if write(page) else 'unchanged'}")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
