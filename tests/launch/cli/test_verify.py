"""`tersely verify`: verdicts, bad lines by number, the exit status."""

from __future__ import annotations

import json

import pytest

from tersely.core.errors import ConfigError
from tersely.launch.cli.verify import main

GOOD = [
    {"answer": "18", "response": "The answer is 18."},
    {"answer": "1/2", "response": "\\boxed{0.5}"},
    {"answer": 7, "response": "\\boxed{8}"},
]


@pytest.fixture
def file(tmp_path):
    path = tmp_path / "answers.jsonl"
    path.write_text("\n".join(map(json.dumps, GOOD)) + "\n")
    return path


def test_a_clean_file(file, tmp_path, capsys):
    out = tmp_path / "verdicts.jsonl"
    assert main([str(file), "--json", "--out", str(out), "--audit", "1"]) == 0
    summary = json.loads(capsys.readouterr().out)
    assert (summary["rows"], summary["correct"], summary["incorrect"], summary["undecided"]) == (3, 2, 1, 0)
    assert summary["accuracy"] == pytest.approx(2 / 3)
    assert summary["audit"]["audit/agree"] == 3
    assert [json.loads(line)["status"] for line in out.read_text().splitlines()] == ["correct", "correct", "incorrect"]


def test_bad_lines_are_named_and_the_status_says_so(file, capsys):
    file.write_text(
        file.read_text() + 'no json\n\n{"response": "x"}\n[1]\n{"answer": "", "response": "x"}\n{"answer": "1"}\n'
    )
    assert main([str(file)]) == 1
    output = capsys.readouterr()
    for number in (4, 6, 7, 8, 9):
        assert f"answers.jsonl:{number}:" in output.err
    assert "rows             3" in output.out


def test_other_fields_and_another_contract(tmp_path, capsys):
    path = tmp_path / "x.jsonl"
    path.write_text(json.dumps({"gold": "7", "text": "so 3 + 4 makes 7"}) + "\n")
    assert main([str(path), "--gold", "gold", "--response", "text", "--contract", "lenient", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["correct"] == 1


def test_nothing_to_verify(tmp_path, capsys):
    path = tmp_path / "x.jsonl"
    path.write_text("\n")
    assert main([str(path)]) == 2
    assert "no row" in capsys.readouterr().err


@pytest.mark.parametrize("option", ["--out", "--audit-out"])
def test_the_file_that_is_verified_is_not_overwritten(file, option, monkeypatch):
    before = file.read_bytes()
    monkeypatch.chdir(file.parent)
    with pytest.raises(ConfigError, match=f"{option}.*the file that is verified"):
        main([str(file), option, f"./{file.name}"])
    assert file.read_bytes() == before


@pytest.mark.parametrize("encoding", ["utf-16-le", "utf-32"])
def test_another_encoding_is_named(file, encoding):
    file.write_bytes(file.read_text().encode(encoding))
    with pytest.raises(ConfigError, match="NUL characters.*UTF-8"):
        main([str(file)])


def test_a_scorer_grades_the_rows(tmp_path, capsys):
    path = tmp_path / "divisors.jsonl"
    rows = [
        {"number": 91, "answer": gold, "response": f"\\boxed{{{n}}}"} for gold, n in (("8", 7), (None, 13), (None, 91))
    ]
    path.write_text("\n".join(map(json.dumps, rows)) + "\n")
    assert main([str(path), "--json", "--scorer", "tests.support.scorers:factor"]) == 0
    captured = capsys.readouterr()
    summary = json.loads(captured.out)
    assert (summary["correct"], summary["incorrect"], summary["paths"]) == (2, 1, {"scorer": 3})
    assert "refuses" in captured.err  # the first row's reference answer


@pytest.mark.parametrize(
    ("options", "field"),
    [
        (["--scorer", "reasoning_gm"], "reasoning_gym"),
        (["--scorer", "a.b:c"], "a.b:c"),
        (["--threshold", "1"], "--scorer"),
    ],
)
def test_an_unknown_scorer_is_an_error(file, options, field):
    with pytest.raises(ConfigError, match=field):
        main([str(file), *options])
