"""`tersely interop import|export`: converts per-sample files of lm-evaluation-harness and lighteval."""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence
from typing import Any

from tersely.configs.scorer import ScorerSpec
from tersely.core.errors import ConfigError
from tersely.core.paths import path_option, place_option
from tersely.launch.cli.parser import Parser
from tersely.launch.cli.scorer_options import add_scorer_options, scorer_of

HARNESSES = ("lm-eval", "lighteval")


def main(argv: Sequence[str] | None = None) -> int:
    parser = Parser(prog="tersely interop", description=(__doc__ or "").partition(": ")[2])
    commands = parser.add_subparsers(dest="command", required=True)
    inward = commands.add_parser("import", help="per-sample files -> OUT/records.jsonl")
    inward.add_argument("harness", choices=HARNESSES)
    inward.add_argument("files", nargs="+", type=path_option, help="samples_*.jsonl or details_*.parquet")
    inward.add_argument("--out", type=path_option, required=True, help="new run directory")
    inward.add_argument("--name", help="name of the run in reports (default: the folder's name)")
    inward.add_argument(
        "--tokenizer",
        type=place_option,
        help="tokenizer of the evaluated model, to count tokens that the files do not store",
    )
    inward.add_argument("--metric", help="score to use (default: the first known one)")
    inward.add_argument("--filter", help="lm-eval: filter to use (default: the first one in each file)")
    inward.add_argument("--grade", action="store_true", help="grade all samples with the verifier")
    add_scorer_options(inward, "with --grade: use this scorer, which gets the columns of the problem")
    outward = commands.add_parser("export", help="records of a run -> per-sample files")
    outward.add_argument("harness", choices=HARNESSES)
    outward.add_argument("run", type=path_option, help="run directory with records.jsonl")
    outward.add_argument("--out", type=path_option, required=True, help="output folder")
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
    if options.scorer is not None and not options.grade:
        raise ConfigError(f"--scorer: got {options.scorer!r} without --grade. Add --grade")
    scorer = scorer_of(options)
    verifier = _verifier() if options.grade else None
    common: dict[str, Any] = {
        "metric": options.metric,
        "grade": None if verifier is None else grader(verifier, scorer, options.scorer),
    }
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
            print(f"{file}: using filter {used}; choose another one with --filter")
    print(f"records: {path}; next: tersely report {options.out}")
    return 0


def grader(verifier: Any, scorer: ScorerSpec | None, name: str | None) -> Any:
    """The function that grades a sample, see `Grade`. With no name, problems of reasoning-gym are graded by its scorer."""
    from tersely.rewards.verify.scorers.grade import payload_of

    def grade(gold: str, text: str, row: dict[str, Any]) -> str:
        spec = default_scorer(row) if name is None else scorer
        payloads = None if spec is None else [payload_of(spec, {**row, "answer": gold})]
        return str(verifier.verify([gold], [text], scorers=payloads)[0].status)

    return grade


def default_scorer(row: dict[str, Any]) -> ScorerSpec | None:
    """The scorer of a problem of reasoning-gym, whose metadata name its task; None for another problem."""
    metadata = row.get("metadata")
    if isinstance(metadata, str):
        try:
            metadata = json.loads(metadata)
        except ValueError:
            return None
    task = metadata.get("source_dataset") if isinstance(metadata, dict) else None
    return ScorerSpec.of_source(None, f"reasoning_gym:{task}", "interop") if task else None


def _verifier() -> Any:
    from tersely.rewards import Verifier

    return Verifier()


def give_out(options: argparse.Namespace) -> int:
    from tersely.eval.interop.harness_export import export_lighteval, export_lm_eval

    export = export_lm_eval if options.harness == "lm-eval" else export_lighteval
    for path in export(options.run, options.out):
        print(path)
    return 0
