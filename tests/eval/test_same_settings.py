import json

import pytest

from tersely.core.errors import ConfigError
from tersely.eval.compare import compare
from tersely.eval.report.write import write_report
from tersely.launch.cli.compare import main as compare_main
from tersely.launch.cli.report import main as report_main

SETTINGS = {
    "model": "m",
    "engine": "transformers",
    "seed": 0,
    "samples": 4,
    "limit": None,
    "temperature": 0.6,
    "top_p": 0.95,
    "top_k": 0,
    "max_new_tokens": 256,
    "instruction": None,
    "system_prompt": None,
    "fingerprint": "f",
    "chat_template": "c",
    "strategy": None,
    "budgets": None,
    "context": None,
}


def with_card(folder, name, model="m", **changed):
    card = {"name": name, "model": model, "settings": {"sums": {**SETTINGS, "model": model, **changed}}}
    (folder / "run.json").write_text(json.dumps(card))
    return folder


@pytest.mark.parametrize(
    "changed",
    [
        {"temperature": 1.0},
        {"top_p": 1.0},
        {"top_k": 20},
        {"max_new_tokens": 64},
        {"seed": 1},
        {"instruction": "Be brief."},
        {"system_prompt": "x"},
        {"chat_template": "d"},
        {"fingerprint": "g"},
        {"context": 96},
    ],
)
def test_different_settings_are_refused_or_listed(runs, changed):
    base, short = with_card(runs[0], "base"), with_card(runs[1], "short", "n", **changed)
    ((key, value),) = changed.items()
    with pytest.raises(ConfigError, match="different settings") as refused:
        compare(base, short)
    assert repr(value) in str(refused.value) and "--anyway" in str(refused.value)
    (c,) = compare(base, short, anyway=True)
    assert len(c["different_settings"]) == 1 and repr(value) in c["different_settings"][0], key


def test_a_report_refuses_or_lists_different_settings(runs, tmp_path):
    base, short = with_card(runs[0], "base"), with_card(runs[1], "short", "n", temperature=1.0)
    with pytest.raises(ConfigError, match="different settings"):
        write_report([base, short], base, tmp_path / "o")
    path = write_report([base, short], base, tmp_path / "o", anyway=True)
    for name in ("report.html", "report.md"):
        assert "different settings" in path.with_name(name).read_text()


def test_command_lines(runs, tmp_path, capsys):
    base, short = with_card(runs[0], "base"), with_card(runs[1], "short", "n", temperature=1.0)
    assert compare_main([str(base), str(short)]) == 2
    assert report_main([str(base), str(short), "--out", str(tmp_path / "o")]) == 2
    assert "temperature: 0.6 for base, 1.0 for short" in capsys.readouterr().err
    assert compare_main([str(base), str(short), "--anyway", "--margin", "2"]) == 0
    assert report_main([str(base), str(short), "--anyway", "--out", str(tmp_path / "o")]) == 0
    assert capsys.readouterr().out.count("sampled with different settings: temperature") == 2
    assert compare_main([str(base), str(short), "--margin", "0"]) == 2
    assert "--margin: got 0" in capsys.readouterr().err
    with pytest.raises(SystemExit, match="2"):
        report_main([str(base), str(short), "--margin", "200"])


def test_what_may_differ(runs, tmp_path):
    base = with_card(runs[0], "base")
    short = with_card(runs[1], "short", "n", samples=8, budgets=[64], limit=20, fingerprint="g", engine="vllm")
    assert compare(base, short)[0]["different_settings"] == []


def test_settings_that_nobody_recorded_are_named(runs, tmp_path, capsys):
    """They cannot be compared, so the reader has to know."""
    base, short = with_card(runs[0], "base"), runs[1]
    for _ in range(2):
        (c,) = compare(base, short)
        assert c["different_settings"] == [] and "run" in c["settings_unrecorded"]
        path = write_report([base, short], base, tmp_path / "o")
        assert "not in the run.json of" in path.with_name("report.md").read_text()
        (base / "run.json").unlink(missing_ok=True)
    assert c["settings_unrecorded"] == ["run", "base"]
    with_card(short, "short"), with_card(base, "base")
    assert compare(base, short)[0]["settings_unrecorded"] == []


def test_problems_that_changed_are_found_where_fewer_were_taken(tmp_path, write_run, record):
    base = with_card(write_run(tmp_path / "base", "base", problems=8), "base")
    short = write_run(tmp_path / "short", "short", problems=4)
    with_card(short, "short", "n", limit=4, fingerprint="g")
    assert compare(base, short)[0]["different_settings"] == []
    lines = (short / "records.jsonl").read_text().replace('"problem":"3 + 4"', '"problem":"3 + 4 = ?"')
    (short / "records.jsonl").write_text(lines)
    with pytest.raises(ConfigError, match="4 of 4"):
        compare(base, short)


def test_two_spellings_of_one_prompt_are_one(tmp_path, write_run):
    """A trained model's prompt states what a base leaves to the benchmark."""
    folders = [write_run(tmp_path / name, name, problems=8, benchmark="testbed") for name in ("base", "alp")]
    for folder, words in zip(
        folders, ({"instruction": None, "system_prompt": None}, {"instruction": "", "system_prompt": ""}), strict=True
    ):
        card = {"name": folder.name, "settings": {"testbed": {**SETTINGS, **words}}}
        (folder / "run.json").write_text(json.dumps(card))
    assert compare(*folders)[0]["different_settings"] == []
