"""`tersely interop import|export`: per-sample files of lm-evaluation-harness and lighteval, in and out."""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence
from typing import Any

from tersely.core.errors import ConfigError
from tersely.core.paths import path_option, place_option
from tersely.launch.cli.parser import Parser

HARNESSES = ("lm-eval", "lighteval")


def main(argv: Sequence[str] | None = None) -> int:
    parser = Parser(prog="tersely interop", description=(__doc__ or "").partition(": ")[2])
    commands = parser.add_subparsers(dest="command", required=True)
    inward = commands.add_parser("import", help="their files -> OUT/records.jsonl")
    inward.add_argument("harness", choices=HARNESSES)
    inward.add_argument("files", nargs="+", type=path_option, help="samples_*.jsonl, or details_*.parquet")
    inward.add_argument("--out", type=path_option, required=True, help="a new run directory")
    inward.add_argument("--name", help="the run's name in reports (default: the folder's)")
    inward.add_argument(
        "--tokenizer", type=place_option, help="the evaluated model's, to count tokens where the harness stored none"
    )
    inward.add_argument("--metric", help="the score that counts (default: the first known one)")
    inward.add_argument("--filter", help="lm-eval: the filter that counts (default: the first of each file)")
    inward.add_argument("--grade", action="store_true", help="let our verifier decide what their score leaves open")
    outward = commands.add_parser("export", help="a run's records -> their per-sample files")
    outward.add_argument("harness", choices=HARNESSES)
    outward.add_argument("run", type=path_option, help="a run directory with records.jsonl")
    outward.add_argument("--out", type=path_option, required=True, help="where the files go")
    options = parser.parse_args(argv)
    try:
        return (take_in if options.command == "import" else give_out)(options)
    except ValueError as error:
        if isinstance(error, ConfigError):
            raise
        raise ConfigError(str(error)) from error


def take_in(options: argparse.Namespace) -> int:
    from tersely.eval.interop.harness_import import import_lighteval, import_lm_eval

    count = None
    if options.tokenizer:
        from tersely.engines.models import load_tokenizer

        tokenizer = load_tokenizer(options.tokenizer)
        count = lambda text: len(tokenizer.encode(text, add_special_tokens=False))  # noqa: E731
    verifier = _verifier() if options.grade else None
    grade = None if verifier is None else lambda gold, text: verifier.verify([gold], [text])[0].status
    common: dict[str, Any] = {"metric": options.metric, "grade": grade}
    name = options.name or options.out.resolve().name
    try:
        if options.harness == "lm-eval":
            path = import_lm_eval(options.files, options.out, name, count, filter=options.filter, **common)
        else:
            path = import_lighteval(options.files, options.out, name, count, **common)
    finally:
        if verifier is not None:
            verifier.close()
    card = path.with_name("run.json")
    if card.is_file():
        for file, used in json.loads(card.read_text(encoding="utf-8"))["imported"]["filters"].items():
            print(f"{file}: filter {used}; --filter takes another")
    print(f"records: {path}; next: tersely report {options.out}")
    return 0


def _verifier() -> Any:
    from tersely.rewards import Verifier

    return Verifier()


def give_out(options: argparse.Namespace) -> int:
    from tersely.eval.interop.harness_export import export_lighteval, export_lm_eval

    export = export_lm_eval if options.harness == "lm-eval" else export_lighteval
    for path in export(options.run, options.out):
        print(path)
    return 0
