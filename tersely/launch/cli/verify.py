"""`tersely verify FILE`: verifies the answers in a file; prints a summary and the throughput.

Exit status: 0 all rows verified, 1 some lines could not be read (listed on stderr), 2 nothing to verify.
"""

from __future__ import annotations

import json
import math
import sys
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import nullcontext
from pathlib import Path
from typing import Any

from tersely.configs.scorer import ScorerSpec
from tersely.core.errors import ConfigError
from tersely.core.paths import path_option
from tersely.core.strict_json import strict_json
from tersely.launch.cli.parser import Parser, number, whole
from tersely.launch.cli.scorer_options import add_scorer_options, scorer_of
from tersely.rewards.verify.scorers.grade import payload_of

_SHOWN = 20


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command; returns the exit status."""
    from tersely.rewards.verify.audit import Audit
    from tersely.rewards.verify.scorers.grade import try_scorer
    from tersely.rewards.verify.verifier import Verifier

    options = _parser().parse_args(argv)
    for option in ("out", "audit_out"):
        path = getattr(options, option)
        if path is not None and path.exists() and path.samefile(options.file):
            raise ConfigError(
                f"--{option.replace('_', '-')}: got {path}, the file that is verified. Write to another file"
            )
    scorer = scorer_of(options)
    rows, bad = read_rows(options.file, options.gold, options.response, scorer)
    for line, reason in bad[:_SHOWN]:
        print(f"{options.file}:{line}: {reason}; skipped", file=sys.stderr)
    if len(bad) > _SHOWN:
        print(f"... and {len(bad) - _SHOWN} more lines", file=sys.stderr)
    if not rows:
        print(f"error: {options.file} has no row that can be verified", file=sys.stderr)
        return 2
    golds, responses = [row["gold"] for row in rows], [row["response"] for row in rows]
    payloads = None if scorer is None else [row["scorer"] for row in rows]
    if scorer is not None and (fault := try_scorer(scorer, rows[0]["row"], golds[0])) and golds[0]:
        print(f"warning: {options.file}:{rows[0]['line']}: {options.gold}: {fault}", file=sys.stderr)
    with Verifier(
        workers=options.workers, timeout=options.timeout, memory_mb=options.memory_mb, contract=options.contract
    ) as verifier:
        began = time.perf_counter()
        with _progress(len(rows), options.quiet) as advance:
            verdicts = verifier.verify(golds, responses, progress=advance, scorers=payloads)
        seconds = time.perf_counter() - began
        stats = verifier.stats()
    if options.out is not None:
        _write(options.out, rows, verdicts)
    audit = None
    if options.audit:
        audit = Audit(share=options.audit, path=options.audit_out)
        audit.look(golds, verdicts)
    summary = summarise(rows, verdicts, seconds, stats, len(bad), audit)
    print(json.dumps(summary, indent=1) if options.json else _text(summary))
    return 1 if bad else 0


def _parser() -> Parser:
    parser = Parser(
        prog="tersely verify",
        description="Verify the answers in a file: JSON lines, JSON, CSV, TSV or parquet, also compressed.",
    )
    parser.add_argument(
        "file",
        type=path_option,
        help='input file, one object or row per answer, e.g. {"answer": "18", "response": "... 18."}',
    )
    parser.add_argument("--gold", default="answer", help="field of the reference answer (default: %(default)s)")
    parser.add_argument("--response", default="response", help="field of the model's text (default: %(default)s)")
    parser.add_argument(
        "--contract",
        choices=("boxed", "answer", "lenient"),
        default="answer",
        help="what counts as an answer (default: %(default)s)",
    )
    add_scorer_options(parser, "grade with this scorer, which gets the other fields of the row")
    parser.add_argument("--out", type=path_option, help="write the verdicts to this file, one JSON object per line")
    parser.add_argument(
        "--audit",
        type=number(at_least=0, at_most=1),
        default=0.0,
        metavar="SHARE",
        help="share of verdicts that a second grader checks, 0 to 1",
    )
    parser.add_argument("--audit-out", type=path_option, help="write the disagreements to this file")
    parser.add_argument(
        "--workers", type=whole(1, 4096), help="worker processes (default: the usable cores, at most 8)"
    )
    parser.add_argument(
        "--timeout",
        type=number(above=0, at_most=10**6),
        default=5.0,
        help="time limit per answer in seconds (default: %(default)s)",
    )
    parser.add_argument(
        "--memory-mb",
        type=whole(64, 10**7),
        default=1024,
        help="address space limit per worker in MB (default: %(default)s)",
    )
    parser.add_argument("--json", action="store_true", help="print the summary as JSON")
    parser.add_argument("--quiet", action="store_true", help="hide the progress bar")
    return parser


def read_rows(
    path: Path, gold: str, response: str, scorer: ScorerSpec | None = None
) -> tuple[list[dict[str, Any]], list[tuple[int, str]]]:
    """Read (rows with line, gold and response; unreadable lines with number and reason). Skips blank lines.

    With a scorer, rows also have what it gets, and the reference answer may be null or missing.
    """
    rows: list[dict[str, Any]] = []
    bad: list[tuple[int, str]] = []
    for place, record in _records(path):
        fault = str(record) if isinstance(record, ValueError) else _fault(record, gold, response, scorer is not None)
        if fault:
            bad.append((place, fault))
        elif scorer is not None:
            given = {**{name: value for name, value in record.items() if name != response}, "answer": record.get(gold)}
            answer = "" if given["answer"] is None else str(given["answer"])
            payload = payload_of(scorer, given)
            rows.append({"line": place, "gold": answer, "response": record[response], "row": given, "scorer": payload})
        else:
            rows.append({"line": place, "gold": str(record[gold]), "response": record[response]})
    return rows, bad


def _records(path: Path) -> Iterator[tuple[int, Any]]:
    """Yield (line or row number, row), read as training data is; for a line that is not JSON, the row is a `ValueError`.

    Raises `ConfigError` for a file of another format that cannot be read.
    """
    from tersely.configs.dataset import file_kind
    from tersely.data.files import read_file, text_of

    if file_kind(path) in (None, ".jsonl", ".ndjson"):
        with text_of(path, errors="surrogateescape") as lines:
            for place, line in enumerate(lines, start=1):
                if line.strip():
                    yield place, _json(line)
        return
    try:
        for place, row in enumerate(read_file(path, "verify"), start=1):
            words = str(getattr(row, "place", "")).split()
            yield (int(words[1]) if words[:1] == ["line"] else place), row
    except ConfigError:
        raise
    except (ValueError, EOFError) as error:
        raise ConfigError(f"{path}: cannot be read ({error}). The file may be truncated; copy it again") from error


def _json(line: str) -> Any:
    try:
        return strict_json(line)
    except ValueError as error:
        return ValueError(f"invalid JSON ({error.args[0] if error.args else error})")


def _fault(record: Any, gold: str, response: str, scored: bool = False) -> str | None:
    if not isinstance(record, dict):
        return "expected a JSON object"
    for name in (response,) if scored else (gold, response):
        if name not in record:
            return f"no field {name!r}; the fields are {', '.join(map(repr, list(record)[:6])) or 'none'}"
    if not scored and (
        isinstance(record[gold], bool)
        or not isinstance(record[gold], str | int | float)
        or not str(record[gold]).strip()
        or (isinstance(record[gold], float) and not math.isfinite(record[gold]))
    ):
        return f"{gold}: got {record[gold]!r:.40}; expected an answer"
    return None if isinstance(record[response], str) else f"{response}: got {record[response]!r:.40}; expected text"


def summarise(rows: list, verdicts: list, seconds: float, stats: dict, bad: int, audit: Any) -> dict[str, Any]:
    """Counts, shares and throughput. Accuracy is over decided rows: undecided rows do not count as incorrect."""
    status = Counter(verdict.status for verdict in verdicts)
    decided = len(rows) - status["undecided"]
    summary: dict[str, Any] = {
        "rows": len(rows),
        "bad lines": bad,
        **{name: status[name] for name in ("correct", "incorrect", "no_answer", "undecided")},
        "accuracy": status["correct"] / decided if decided else None,
        "seconds": round(seconds, 6),
        "rows per second": round(len(rows) / seconds, 1) if seconds else None,
        "paths": dict(Counter(verdict.path for verdict in verdicts).most_common()),
        "cache hit rate": round(stats["cache/hit_rate"], 4),
        "worker restarts": stats["restarts"],
    }
    return summary if audit is None else {**summary, "audit": audit.counts()}


def _text(summary: dict[str, Any]) -> str:
    lines = []
    for name, value in summary.items():
        if isinstance(value, dict):
            value = "  ".join(f"{key} {count:g}" for key, count in value.items())
        elif isinstance(value, float):
            value = f"{value:.4g}" if name != "accuracy" else f"{value:.4f}"
        lines.append(f"{name:<16} {value}")
    return "\n".join(lines)


def _write(path: Path, rows: list[dict[str, Any]], verdicts: list) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w", encoding="utf-8") as file:
        for row, verdict in zip(rows, verdicts, strict=True):
            record = {"line": row["line"], "status": verdict.status, "answer": verdict.answer, "path": verdict.path}
            file.write(json.dumps({**record, "gold": row["gold"], "seconds": round(verdict.seconds, 6)}) + "\n")


def _progress(total: int, quiet: bool) -> Any:
    """Context manager of a progress bar; yields a function that takes the number of rows just verified."""
    if quiet or not sys.stderr.isatty():
        return nullcontext(None)
    from tqdm import tqdm

    class _Bar:
        def __enter__(self):
            self.bar = tqdm(total=total, unit="row", smoothing=0.05)
            return self.bar.update

        def __exit__(self, *_: object) -> None:
            self.bar.close()

    return _Bar()


if __name__ == "__main__":
    sys.exit(main())
