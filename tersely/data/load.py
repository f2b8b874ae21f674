"""`load_problems`: loads a dataset spec; the problems have stable ids, no duplicates, and parseable reference answers."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from tersely.configs.dataset import INSTRUCTION, SourceSpec, parse_sources
from tersely.configs.scorer import ScorerSpec
from tersely.core.errors import ConfigError
from tersely.core.logging import get_logger, is_main_process
from tersely.data.columns import coded, require_columns, scorer_row, standard_values, values_of
from tersely.data.filters import DROPS, check_conditions, check_drops, matches
from tersely.data.ids import fingerprint, normalise, prompt_id
from tersely.data.load_report import DataCard, DataError, SourceCard
from tersely.data.mixing import draw, interleave
from tersely.data.reference_answers import gold_fault, text_only
from tersely.data.rows import MISSING, Reader, column, lookup
from tersely.data.sources import read_rows
from tersely.rewards.verify.scorers.grade import load_scorer, payload_of, try_scorer

logger = get_logger(__name__)

TRIED = 16
"""Reference answers of a source that its scorer grades before the run."""

if TYPE_CHECKING:
    import datasets


@dataclass(frozen=True)
class Loaded:
    """One usable problem and its source."""

    problem: str
    answer: str
    level: str | None
    prompt_id: str
    source: SourceSpec
    row: int
    columns: str = ""
    """JSON of the columns that a component needs."""
    scorer: str = ""
    """What the source's scorer gets, see `payload_of`."""
    family: str | None = None
    """The row's `family`, a group of problems for reports; None without that column."""


def load_problems(
    spec: Any,
    *,
    seed: int,
    instruction: str | None = None,
    system_prompt: str | None = None,
) -> datasets.Dataset:
    """Load the problems of a dataset spec; prints one line per source about rows read, kept and dropped.

    spec: a name, a mapping or a list of mappings (`SourceSpec`'s fields). seed: the run's, for subsets and mixes.
    instruction: replaces the sources' instructions; "" for none. system_prompt: a first message, None for none.
    Columns: prompt (list of {role, content}), problem, answer, prompt_id, source, level (text or null); family if a row has it.
    Raises `ConfigError` for an invalid spec, `DataError` (a `ConfigError`) for data that does not match it.
    """
    data, card = load_problems_with_card(spec, seed=seed, instruction=instruction, system_prompt=system_prompt)
    if is_main_process():
        logger.info(card.text())
    return data


def load_problems_with_card(
    spec: Any,
    *,
    seed: int,
    instruction: str | None = None,
    system_prompt: str | None = None,
    kind: str = "datasets",
    columns: Sequence[str] = (),
) -> tuple[datasets.Dataset, DataCard]:
    """Like `load_problems`, without printing; returns the load report too. `kind` "benchmarks" reads benchmark entries.

    columns: names of source columns to keep, see columns.py; the dataset then has a column `columns`.
    """
    sources = parse_sources(spec, kind)
    for source in sources:
        check_conditions(source.filter, f"dataset {source.label}")
        check_drops(source.drop, f"dataset {source.label}")
    cards = [SourceCard(source.label) for source in sources]
    seen: dict[str, str] = {}
    kept = [_load_source(source, card, seen, seed, columns) for source, card in zip(sources, cards, strict=True)]
    for rows, source, card in zip(kept, sources, cards, strict=True):
        _check_outcome(rows, source, card)
    problems = _mix(kept, sources, seed)
    for card, source in zip(cards, sources, strict=True):
        card.used = sum(problem.source is source for problem in problems)
    mark = fingerprint(problem.prompt_id + problem.columns + problem.scorer for problem in problems)
    whole = DataCard(cards, len(problems), mark, instruction, system_prompt)
    return _as_dataset(problems, instruction, system_prompt), whole


def _load_source(
    source: SourceSpec, card: SourceCard, seen: dict[str, str], run_seed: int, columns: Sequence[str] = ()
) -> list[Loaded]:
    seed = run_seed if source.seed is None else source.seed
    reader = Reader(source)
    scoring = source.scoring
    if scoring is not None:
        load_scorer(scoring.name)
        card.scorer = {"name": scoring.name, "threshold": scoring.threshold}
    kept: list[Loaded] = []
    found: set[str] = set()
    there: set[str] = set()
    for index, row in enumerate(read_rows(source, seed, columns)):
        card.read += 1
        where = f"dataset {source.label}, row {index}"
        if place := getattr(row, "place", ""):
            where += f" ({place})"
        if not _wanted(source, row, where):
            card.drop("filtered out", where)
            continue
        try:
            read = False
            problem, answer, level = reader.read(row, where)
            read = True
            reason = next((name for name in source.drop if DROPS[name](problem, answer, row)), None)
            fault = None if problem else "the problem is empty"
        except DataError:
            raise
        except ValueError as error:
            problem, answer, level, reason, fault = "", "", None, None, str(error)
        if reason:
            card.drop(reason, f"{where}: {problem[:80]!r}")
            continue
        text = normalise(problem)
        if not fault and text in seen and not source.keep_duplicates:
            card.drop("duplicates", f"{where}: {problem[:80]!r}")
            _note_conflict(card, seen[text], answer, where)
            continue
        payload = ""
        if scoring is None:
            fault = fault or gold_fault(answer)
        elif not fault:
            given = scorer_row(scoring, row, {**standard_values(source, problem, answer, level)})
            payload = payload_of(scoring, given)
            if len(kept) < TRIED and answer:
                fault = _tried(scoring, given, answer, where)
        if fault:
            _bad_row(source, card, where, problem, answer if read else None, fault)
            continue
        seen[text] = answer
        identity = prompt_id(problem, answer, source.identity)
        text = ""
        if columns:
            values = values_of(columns, row, standard_values(source, problem, answer, level))
            text, found, there = coded(columns, values), found | set(values), there | {str(key) for key in row}
        family = lookup(row, "family")
        named = None if family is MISSING or family is None else str(family)
        kept.append(Loaded(problem, answer, level, identity, source, index, text, payload, named))
    if kept:
        require_columns(columns, found, there, source)
    card.kept = len(kept)
    hard = [item for item in kept if not item.scorer and text_only(item.answer)]
    if hard:
        card.notes.append(
            f"{len(hard)} reference answers are compared only as text, for example {hard[0].answer[:60]!r}"
        )
    if source.limit is not None and len(kept) > source.limit:
        whole, kept = kept, draw(kept, source.limit, seed, source.label)
        if not source.keep_duplicates:
            used = {item.row for item in kept}
            for item in whole:  # a later source may have rows that are not used from this one
                if item.row not in used:
                    del seen[normalise(item.problem)]
        card.dropped["over the limit"] += card.kept - len(kept)
        card.kept = len(kept)
    return kept


def _tried(scoring: ScorerSpec, given: dict[str, Any], answer: str, where: str) -> str | None:
    """Reason why the scorer rejects the reference answer, or None; raises `DataError` if the scorer fails on it."""
    try:
        return try_scorer(scoring, given, answer)
    except ConfigError as error:
        raise DataError(f"{where}: {error}") from error


def _wanted(source: SourceSpec, row: Any, where: str) -> bool:
    """True if the row meets every condition."""
    for path, test in source.filter.items():
        try:
            if not matches(column(row, path, path, where), test):
                return False
        except DataError:
            raise
        except ValueError as error:
            raise DataError(f"{where}: filter on {path}: {error}") from error
    return True


def _note_conflict(card: SourceCard, first: str, second: str, where: str) -> None:
    if normalise(first) != normalise(second):
        card.examples.setdefault("duplicates with another answer", f"{where}: {second[:40]!r} against {first[:40]!r}")
        note = "some duplicates have different answers; the first one is kept, see the report's examples"
        if note not in card.notes:
            card.notes.append(note)


def _bad_row(source: SourceSpec, card: SourceCard, where: str, problem: str, answer: str | None, fault: str) -> None:
    message = f"{where}: {fault}"
    if answer is not None and problem:
        message = f"{where}: answer: got {answer[:80]!r}; {fault}. Problem: {problem[:80]!r}"
    if source.bad_golds == "error":
        raise DataError(f"{message}. Fix the row, or set `bad_golds: drop` to drop and count such rows")
    card.drop("bad golds", message)


def _check_outcome(rows: list[Loaded], source: SourceSpec, card: SourceCard) -> None:
    where = f"dataset {source.label} (split {source.split})"
    if card.read == 0:
        raise DataError(f"{where}: the split is empty. Check `split`, `config` and the file")
    bad = card.dropped["bad golds"]
    if bad > source.max_bad_golds * card.read:
        raise DataError(
            f"{where}: {bad} of {card.read} reference answers cannot be used; max_bad_golds is {source.max_bad_golds:g}; "
            f"the first: {card.examples['bad golds']}"
        )
    if not rows:
        raise DataError(f"{where}: all {card.read} rows were dropped: {card.line()}")
    if source.expect_rows and card.read not in source.expect_rows:
        message = f"got {card.read} rows; expected {' or '.join(map(str, source.expect_rows))}, as in known versions"
        if source.exact_rows:
            raise DataError(f"{where}: {message}. Pin `revision`, or set `expect_rows: []` to accept any number")
        card.notes.append(message)


def _mix(kept: list[list[Loaded]], sources: list[SourceSpec], seed: int) -> list[Loaded]:
    if all(source.weight is None for source in sources):
        return [problem for rows in kept for problem in rows]
    weights = [1.0 if source.weight is None else source.weight for source in sources]
    return [problem for _, problem in interleave(kept, weights, seed)]


def chat(problem: str, instruction: str, system_prompt: str | None) -> list[dict[str, str]]:
    """The chat of one problem: an optional system message, then the problem and the instruction on a separate line."""
    content = f"{problem}\n{instruction}" if instruction else problem
    system = [{"role": "system", "content": system_prompt}] if system_prompt else []
    return [*system, {"role": "user", "content": content}]


def own_instruction(source: SourceSpec) -> str:
    """The instruction of a source if the run sets none."""
    if source.instruction is not None:
        return source.instruction
    return "" if source.path == "testbed" else INSTRUCTION


def _as_dataset(problems: Sequence[Loaded], instruction: str | None, system_prompt: str | None) -> datasets.Dataset:
    import datasets

    text = datasets.Value("string")
    features = datasets.Features(
        {
            "prompt": [{"role": text, "content": text}],
            **dict.fromkeys(("problem", "answer", "prompt_id", "source", "level"), text),
        }
    )
    carried = any(item.columns for item in problems)
    scored = any(item.scorer for item in problems)
    grouped = any(item.family for item in problems)
    if carried:
        features["columns"] = text
    if scored:
        features["scorer"] = text
    if grouped:
        features["family"] = text
    rows = [
        {
            "prompt": chat(
                item.problem, own_instruction(item.source) if instruction is None else instruction, system_prompt
            ),
            "problem": item.problem,
            "answer": item.answer,
            "prompt_id": item.prompt_id,
            "source": item.source.label,
            "level": item.level,
            **({"columns": item.columns} if carried else {}),
            **({"scorer": item.scorer or None} if scored else {}),
            **({"family": item.family} if grouped else {}),
        }
        for item in problems
    ]
    return datasets.Dataset.from_list(rows, features=features)
