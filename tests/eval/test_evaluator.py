"""Sampling into records: reproducible by coordinates, resumable after any kill, never two evaluations in one file."""

import json
import os
import signal
import subprocess
import sys
import textwrap
import time
from pathlib import Path

import pytest
from support import tiny

from tersely.core.errors import ConfigError
from tersely.eval import engines
from tersely.eval import evaluator as generate
from tersely.eval.records import RecordReader

CAP = 24


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tiny.save_tiny_model(tmp_path_factory.mktemp("model"))


@pytest.fixture(scope="module")
def sums(tmp_path_factory):
    path = tmp_path_factory.mktemp("data") / "sums.jsonl"
    rows = [{"problem": f"{n}+{n}=" + "?" * (n % 3), "answer": str(2 * n), "level": n % 2} for n in range(6)]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return str(path)


def run(folder, sums, out, samples=2, **more):
    settings = {"instruction": "", "temperature": 1.0, "top_p": 1.0, "max_new_tokens": CAP, "batch": 5, **more}
    return engines.evaluate(str(folder), None, sums, samples, out=out, verifier=tiny.HashVerifier(), **settings)


def records(out):
    found = {(r["problem_id"], r["sample"]): r for _, r in RecordReader(out / "records.jsonl")}
    return {key: found[key] for key in sorted(found)}


def test_records_hold_what_happened(folder, sums, tmp_path):
    facts = run(folder, sums, tmp_path)
    found = records(tmp_path)
    assert len(found) == facts["samples"] == 12
    for record in found.values():
        assert record["run"] == tmp_path.name and record["benchmark"] == "sums"
        assert 1 <= record["tokens"] <= CAP and record["thinking_tokens"] <= record["tokens"]
        assert record["truncated"] == (record["finish"] == "length")
        assert record["truncated"] <= (record["tokens"] == CAP)
        assert record["level"] in ("0", "1")
    assert len({record["text"] for record in found.values()}) > 6, "samples of a problem differ"
    card = json.loads((tmp_path / "run.json").read_text())
    assert card["settings"]["sums"]["max_new_tokens"] == CAP and card["environment"]["versions"]["torch"]


def test_the_verifier_sees_each_sample_with_its_problem(folder, sums, tmp_path):
    class Seeing(tiny.HashVerifier):
        seen = []

        def verify_rows(self, rows, texts):
            self.seen += ((row["answer"], text, row["problem"]) for row, text in zip(rows, texts, strict=True))
            return self.verify([row["answer"] for row in rows], texts)

    settings = {"instruction": "", "max_new_tokens": CAP, "batch": 5}
    engines.evaluate(str(folder), None, sums, 2, out=tmp_path, verifier=Seeing(), **settings)
    of_records = [(r["gold"], r["text"], r["problem"]) for r in records(tmp_path).values()]
    assert sorted(Seeing.seen) == sorted(of_records) and len(of_records) == 12


def test_a_sample_does_not_depend_on_the_batch_or_the_other_samples(folder, sums, tmp_path):
    run(folder, sums, tmp_path / "a", batch=12)
    run(folder, sums, tmp_path / "b", batch=1)
    run(folder, sums, tmp_path / "c", samples=1)
    a, b, c = (records(tmp_path / name) for name in "abc")
    assert {k: r["text"] for k, r in a.items()} == {k: r["text"] for k, r in b.items()}
    assert all(a[key]["text"] == record["text"] for key, record in c.items())
    run(folder, sums, tmp_path / "d", seed=1)
    assert {k: r["text"] for k, r in records(tmp_path / "d").items()} != {k: r["text"] for k, r in a.items()}


def test_greedy_samples_are_equal(folder, sums, tmp_path):
    run(folder, sums, tmp_path, temperature=0.0)
    found = records(tmp_path)
    assert all(found[identity, 0]["text"] == found[identity, 1]["text"] for identity, _ in found)


def test_a_cut_file_goes_on_and_ends_the_same(folder, sums, tmp_path, monkeypatch):
    run(folder, sums, tmp_path / "whole")
    run(folder, sums, tmp_path / "cut")
    file = tmp_path / "cut" / "records.jsonl"
    lines = file.read_bytes().splitlines(keepends=True)
    file.write_bytes(b"".join(lines[:7]) + lines[7][:40])
    drawn = []
    original = generate.Evaluator._draw
    monkeypatch.setattr(
        generate.Evaluator, "_draw", lambda self, tasks, *a: drawn.extend(tasks) or original(self, tasks, *a)
    )
    run(folder, sums, tmp_path / "cut")
    assert len(drawn) == 5, "only what is missing is drawn"
    whole, cut = records(tmp_path / "whole"), records(tmp_path / "cut")
    assert [r["text"] for r in whole.values()] == [r["text"] for r in cut.values()]
    assert len(file.read_bytes().splitlines()) == 12
    drawn.clear()
    run(folder, sums, tmp_path / "cut")
    assert drawn == []


def test_more_samples_and_more_problems_extend_a_run(folder, sums, tmp_path):
    run(folder, sums, tmp_path, samples=1, limit=3)
    first = records(tmp_path)
    run(folder, sums, tmp_path, samples=2)
    both = records(tmp_path)
    assert len(first) == 3 and len(both) == 12
    assert all(both[key]["text"] == record["text"] for key, record in first.items())


@pytest.mark.parametrize("change", [{"temperature": 0.7}, {"seed": 3}, {"max_new_tokens": 9}, {"instruction": "Now."}])
def test_other_settings_in_the_same_folder_are_refused(folder, sums, tmp_path, change):
    run(folder, sums, tmp_path)
    key = next(iter(change))
    with pytest.raises(ConfigError, match=rf"--out: .*{key}: "):
        run(folder, sums, tmp_path, **change)
    with pytest.raises(ConfigError, match="run"):
        run(folder, sums, tmp_path, name="another")


def test_other_weights_under_the_same_path_are_another_model(sums, tmp_path):
    model = tiny.save_tiny_model(tmp_path / "model")
    run(model, sums, tmp_path / "out")
    tiny.save_tiny_model(model, seed=1)
    with pytest.raises(ConfigError, match="model: "):
        run(model, sums, tmp_path / "out")


def test_changed_problems_are_refused(folder, tmp_path):
    path = tmp_path / "sums.jsonl"
    path.write_text('{"problem": "1+1=", "answer": "2"}\n')
    run(folder, str(path), tmp_path / "out")
    path.write_text('{"problem": "1+1=", "answer": "3"}\n')
    with pytest.raises(ConfigError, match="fingerprint"):
        run(folder, str(path), tmp_path / "out")


def test_the_cap_shrinks_to_the_context_and_a_full_context_is_an_error(folder, tmp_path, capsys):
    path = tmp_path / "long.jsonl"
    path.write_text(json.dumps({"problem": "1" * 200, "answer": "2"}) + "\n")
    run(folder, str(path), tmp_path / "out", max_new_tokens=4000)
    assert all(record["tokens"] < 56 for record in records(tmp_path / "out").values())
    assert "1 of 1 prompts" in capsys.readouterr().out
    run(folder, str(path), tmp_path / "fits", max_new_tokens=8)
    for name, context in (("out", 256), ("fits", None)):
        (settings,) = json.loads((tmp_path / name / "run.json").read_text())["settings"].values()
        assert settings["context"] == context, "the reader of a comparison must know what ended the answers"
    path.write_text(json.dumps({"problem": "1" * 300, "answer": "2"}) + "\n")
    with pytest.raises(ConfigError, match="room"):
        run(folder, str(path), tmp_path / "more")


def by_strategy(out):
    from tersely.eval.run_arrays import strategy_label

    found = {}
    for _, record in RecordReader(out / "records.jsonl"):
        found.setdefault(strategy_label(record["strategy"]), []).append(record)
    return found


def test_strategies_go_into_one_folder_side_by_side(folder, sums, tmp_path):
    run(folder, sums, tmp_path)
    facts = run(folder, sums, tmp_path, strategy="forced_answer:budgets=[0, 6],answer_tokens=4")
    run(folder, sums, tmp_path, strategy="answer_convergence:chunk=5,agree=1,probe_tokens=3")
    found = by_strategy(tmp_path)
    forced = "forced_answer(budget=6, answer_tokens=4)"
    assert {label: len(rows) for label, rows in found.items()} == dict.fromkeys(
        (
            None,
            "forced_answer(budget=0, answer_tokens=4)",
            forced,
            "answer_convergence(chunk=5, agree=1, probe_tokens=3)",
        ),
        12,
    )
    assert facts["samples"] == 12
    for record in found[forced]:
        assert record["finish"] in ("forced", "stop") and record["strategy"]["budget"] == 6
        assert record["tokens"] == sum(n for _, n in record["phases"]) and record["injected_tokens"] > 0
    for record in found["answer_convergence(chunk=5, agree=1, probe_tokens=3)"]:
        assert record["tokens"] > record["extra_tokens"] > 0
    assert all(record["wall_s"] >= 0 and "first_correct" in record for rows in found.values() for record in rows)
    card = json.loads((tmp_path / "run.json").read_text())["settings"]
    assert card["sums"]["strategy"] is None and len(card["sums"]["hash"]) == 16
    assert card[f"sums + {forced}"]["strategy"]["answer_greedy"] is True
    assert len({entry["hash"] for entry in card.values()}) == len(card) == 4


def test_a_strategy_goes_on_where_it_was_cut(folder, sums, tmp_path, monkeypatch):
    how = "forced_answer:budgets=[0, 6],answer_tokens=4"
    run(folder, sums, tmp_path, strategy=how)
    file = tmp_path / "records.jsonl"
    whole, lines = by_strategy(tmp_path), file.read_bytes().splitlines(keepends=True)
    file.write_bytes(b"".join(lines[:8]) + lines[8][:30])
    drawn = []
    original = generate.Evaluator._draw
    monkeypatch.setattr(
        generate.Evaluator, "_draw", lambda self, tasks, *a: drawn.extend(tasks) or original(self, tasks, *a)
    )
    run(folder, sums, tmp_path, strategy=how)
    order = lambda rows: sorted((r["problem_id"], r["sample"], r["text"]) for r in rows)  # noqa: E731
    assert {k: order(v) for k, v in by_strategy(tmp_path).items()} == {k: order(v) for k, v in whole.items()}
    assert len(drawn) < 12 and len(file.read_bytes().splitlines()) == 24
    with pytest.raises(ConfigError, match="settings.*temperature"):
        run(folder, sums, tmp_path, strategy=how, temperature=0.5)


def test_accuracy_at_budgets_is_that_of_the_records(folder, sums, tmp_path):
    run(folder, sums, tmp_path, budgets=[5, 24])
    found = records(tmp_path).values()
    curve, area = generate.budget_summary(tmp_path / "records.jsonl", "sums", None, [5, 24])
    assert curve[1] == pytest.approx(sum(r["correct"] for r in found) / 12)
    assert curve[0] == pytest.approx(sum(r["correct"] for r in found if r["tokens"] <= 5) / 12) and area > 0
    run(folder, sums, tmp_path, budgets=[3, 9])  # another grid changes no sample
    assert json.loads((tmp_path / "run.json").read_text())["settings"]["sums"]["budgets"] == [3, 9]


@pytest.mark.slow
def test_killed_in_the_middle_and_started_again(folder, sums, tmp_path):
    """SIGKILL while records are being written; the second start completes the very same set."""
    script = textwrap.dedent(
        f"""
        import sys; sys.path[:0] = {[str(Path(__file__).parents[n]) for n in (2, 1, 0)]!r}
        import time, test_evaluator as t
        from pathlib import Path
        from tersely.eval import evaluator as generate
        draw = generate.Evaluator._draw
        def slow(self, tasks, *a):
            time.sleep(0.5)
            return draw(self, tasks, *a)
        generate.Evaluator._draw = slow
        t.run({str(folder)!r}, {sums!r}, Path({str(tmp_path / "killed")!r}), batch=2)
        """
    )
    process = subprocess.Popen([sys.executable, "-c", script], env={**os.environ, "OMP_NUM_THREADS": "1"})
    file = tmp_path / "killed" / "records.jsonl"
    deadline = time.monotonic() + 120
    while not (file.exists() and len(file.read_bytes().splitlines()) >= 4):
        assert process.poll() is None and time.monotonic() < deadline
        time.sleep(0.05)
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    survived = len(file.read_bytes().splitlines())
    assert 4 <= survived < 12
    run(folder, sums, tmp_path / "killed")
    run(folder, sums, tmp_path / "whole")
    killed, whole = records(tmp_path / "killed"), records(tmp_path / "whole")
    assert {k: r["text"] for k, r in killed.items()} == {k: r["text"] for k, r in whole.items()}
    assert len(file.read_bytes().splitlines()) == 12, "nothing twice"
