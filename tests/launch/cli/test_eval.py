import json

import pytest

from tersely.core.errors import ConfigError
from tersely.data.benchmarks import find_benchmark
from tersely.launch.cli.eval import main, parse_budgets, parser, strategies_of, summary_line


def test_list(capsys):
    assert main(["--list"]) == 0
    assert "math500                MATH-500 (n = 4)" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "missing model, --benchmarks, --out"),
        (["testbed", "--out", "x"], "missing --benchmarks"),
        (["no/model", "--out", "x", "--benchmarks", "math50"], "'math500'"),
    ],
)
def test_what_is_missing_is_named_before_anything_is_loaded(arguments, message):
    with pytest.raises(ConfigError, match=message):
        main(arguments)


def test_summary_line():
    facts = {"samples": 8, "accuracy": 0.8214, "tokens_mean": 61.28, "truncated": 0.004, "undecided": 0.0}
    facts["accuracy_ended"] = facts["accuracy"]
    assert summary_line("sums", facts) == (
        "sums: accuracy 82.1 %, 61.3 tokens, truncated 0.4 %, undecided 0.0 % (8 samples)"
    )
    assert "82.1 % (50.0 %" in summary_line("sums", facts | {"accuracy_ended": 0.5})
    assert "where" not in summary_line("sums", facts | {"accuracy": float("nan"), "accuracy_ended": float("nan")})


@pytest.mark.parametrize(
    "more, words",
    [
        (["--benchmarks", "nowhere.jsonl"], "no such file: nowhere.jsonl"),
        (["--budgets", "0,5"], "--budgets.* '0,5'"),
        (["--benchmarks", ","], "--benchmarks.*','"),
        (["--chat-template-kwargs", "{tokenize: true}"], "tokenize"),
        (["--strategy", "seal:vector=none.safetensors"], "seal.vector.*none.safetensors.*`tersely fit seal`"),
        (
            ["--strategy", "diff_adapt:probe=none.safetensors,budget=8"],
            "diff_adapt.probe.*none.safetensors.*`tersely fit diff_adapt`",
        ),
        (["--strategy", "prompting:of=hbpo", "--samples", "2"], "4 budgets.*--samples"),
        ([], "model: .*no-model.*`testbed`"),
    ],
)
def test_mistakes_are_found_before_the_model_is_looked_for(tmp_path, more, words):
    with pytest.raises(ConfigError, match=words):
        main([str(tmp_path / "no-model"), "--benchmarks", "testbed", "--out", str(tmp_path / "out"), *more])


def test_a_strategy_that_the_engine_cannot_do_is_refused_before_the_first_draws(tmp_path, monkeypatch):
    from tersely.eval import engines

    made = engines.make_evaluator("testbed")
    made.engine.name = "vllm"
    monkeypatch.setattr(engines, "make_evaluator", lambda *a, **k: made)
    with pytest.raises(ConfigError, match="strategy cntp.*transformers.*vllm"):
        main(f"testbed --benchmarks testbed --out {tmp_path} --strategy vanilla --strategy cntp".split())
    assert not list(tmp_path.iterdir()), "vanilla, which stands first, has drawn nothing"


@pytest.mark.parametrize(
    ("more", "words"),
    [
        (["--seed", "1"], r"testbed.*seed: 0.*1"),
        (["--temperature", "0.5"], "temperature: 1.0 there, 0.5 now"),
        (["--engine", "vllm"], "engine: 'transformers' there, 'vllm' now"),
        (["--name", "another"], "'first'.*'another'"),
    ],
)
def test_other_settings_of_the_last_benchmark_cost_no_model_and_no_sample(tmp_path, monkeypatch, more, words):
    from tersely.eval import engines

    sums = tmp_path / "sums.jsonl"
    sums.write_text(json.dumps({"problem": "1+1", "answer": "2"}) + "\n")
    start = ["testbed", "--out", str(tmp_path / "out"), "--limit", "1", "--samples", "1", "--temperature", "1"]
    assert main([*start, "--benchmarks", "testbed", "--name", "first"]) == 0
    with monkeypatch.context() as patch, pytest.raises(ConfigError, match=words):
        patch.setattr(engines, "make_evaluator", lambda *a, **k: pytest.fail("a model was loaded"))
        main([*start, "--benchmarks", f"{sums},testbed", "--name", "first", *more])
    with pytest.raises(ConfigError, match="folder"):
        main([str(tmp_path / "no-model"), *start[1:], "--benchmarks", "testbed", "--name", "first"])
    assert main([*start, "--benchmarks", f"{sums},testbed", "--name", "first", "--samples", "2"]) == 0, (
        "more of the same"
    )


def test_a_damaged_line_of_records_is_an_error_of_one_line(tmp_path, capsys, monkeypatch):
    from tersely.launch.cli.main import main as tersely

    monkeypatch.delenv("TERSELY_DEBUG", raising=False)
    arguments = ["eval", "testbed", "--benchmarks", "testbed", "--limit", "2", "--samples", "2", "--out", str(tmp_path)]
    assert tersely(arguments) == 0
    file = tmp_path / "records.jsonl"
    lines = file.read_text().splitlines(keepends=True)
    file.write_text("".join([lines[0], lines[1][:40] + "\n", *lines[2:]]))
    capsys.readouterr()
    assert tersely(arguments) == 2
    assert f"error: {file}:2: invalid JSON" in (said := capsys.readouterr().err) and "Remove the line" in said
    file.write_text("".join([lines[0], *lines[2:]]))
    assert tersely(arguments) == 0 and len(file.read_text().splitlines()) == 4
    assert {json.loads(x)["text"] for x in file.open()} == {json.loads(x)["text"] for x in lines}


def test_list_of_strategies(capsys):
    from tersely.eval.decoding.registry import STRATEGIES

    assert main(["--list-strategies"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == len(STRATEGIES) and lines[1].startswith("forced_answer        transformers, vllm, server")


def labels(*arguments):
    options = parser().parse_args(["m", "--benchmarks", "testbed", *arguments])
    return [chosen.label for chosen in strategies_of(options, find_benchmark("testbed"))]


def test_strategies_and_the_frontier():
    assert labels() == [None]
    assert labels("--strategy", "no_thinking", "--strategy", "vanilla") == ["no_thinking", None]
    forced = "forced_answer(budgets=[0, 28, 56, 112, 224])"
    text_level = [
        *("no_thinking", "reflection_ban", "think_less", "thought_terminator(deadline=112)"),
        "answer_convergence(chunk=56)",
    ]
    inside = ["moi", "soft_thinking", "cntp"]
    assert labels("--frontier") == [None, forced, *text_level, *inside]
    for engine in ("vllm", "http://host:8000"):
        assert labels("--frontier", "--engine", engine) == [None, forced, *text_level]
    with_value = labels("--frontier", "answer_prefix=boxed", "--strategy", "concise")
    assert (with_value[1], with_value[-1]) == (forced.replace(")", ", answer_prefix=boxed)"), "concise")
    assert "16384" in labels("--frontier", "--max-new-tokens", "32768")[1]
    with pytest.raises(ConfigError, match="'no_thinking'"):
        labels("--strategy", "no_thinkng")


def test_budgets():
    assert parse_budgets("64,128") == [64, 128] and parse_budgets(None) is None
    for text in ("128,64", "64,64", "0,3", "many", ""):
        with pytest.raises(ConfigError, match="--budgets.* increasing"):
            parse_budgets(text)


@pytest.mark.slow
def test_the_frontier_of_the_testbed_reaches_the_report(tmp_path, capsys):
    """The real model, verifier and command: one folder, five forced budgets from one trace, and a dashed front."""
    from tersely.eval.report.write import write_report

    arguments = ["testbed", "--benchmarks", "testbed", "--limit", "6", "--samples", "2", "--budgets", "32,64,256"]
    assert main([*arguments, "--frontier", "answer_prefix=boxed", "--out", str(tmp_path / "base")]) == 0
    said = capsys.readouterr().out
    assert "testbed: " in said and "forced_answer(budget=112, answer_prefix=boxed): accuracy" in said
    report = write_report([tmp_path / "base"], None, tmp_path / "report")
    data = json.loads(report.read_text())
    (curve,) = data["forced"]["testbed"]
    assert curve["budgets"] == [0, 28, 56, 112, 224] and curve["tokens_mean"] == sorted(curve["tokens_mean"])
    assert data["runs"][0]["benchmarks"]["testbed"]["budget_curve"]["budgets"] == [32, 64, 256]
    assert (
        len(data["free"]) == 14 and data["runs"][0]["benchmarks"]["testbed"]["first_correct"]["estimated_samples"] == 0
    )
    page = report.with_name("report.html").read_text()
    assert (
        "Forced answers" in page
        and "Without training: 13 decoding strategies" in page
        and "had a second opinion" in page
    )
