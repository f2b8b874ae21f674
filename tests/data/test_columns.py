"""Columns of the data that a component asks for: carried, typed, missing, and not read where nobody asks."""

from __future__ import annotations

import json

import pytest

from tersely.data import load_problems_with_card, parse_sources
from tersely.data.columns import first_values
from tersely.data.ids import data_fingerprint
from tersely.data.load_report import DataError

ROWS = [
    {"question": "1 + 1", "gold": "2", "steps": 1, "meta": {"source": "a", "tags": ["x", None]}, "difficulty": 3},
    {"question": "2 + 5", "gold": "7", "meta": {"source": "b", "tags": []}, "difficulty": 4},
]
COLUMNS = {"problem": "question", "answer": "gold", "level": "difficulty"}


def spec(folder, rows=ROWS, name="rows.jsonl", **more):
    path = folder / name
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return {"path": str(path), "columns": COLUMNS, **more}


def load(source, columns):
    data, card = load_problems_with_card(source, seed=0, columns=columns)
    return data, card, [json.loads(text) for text in data["columns"]] if "columns" in data.column_names else None


def test_own_and_foreign_columns_keep_their_types(tmp_path):
    names = ["steps", "level", "meta.source", "meta", "answer", "question"]
    _, _, rows = load(spec(tmp_path), names)
    assert rows[0] == {
        "steps": 1,
        "level": "3",
        "meta.source": "a",
        "meta": {"source": "a", "tags": ["x", None]},
        "answer": "2",
        "question": "1 + 1",
    }
    assert rows[1]["steps"] is None, "a row without the column"
    assert first_values(parse_sources(spec(tmp_path)), names, 0) == rows[0]


@pytest.mark.parametrize(
    ("name", "hint"),
    [("step", "did you mean 'steps'"), ("difficultie", "did you mean .difficulty."), ("meta.origin", "valid: ")],
)
def test_a_missing_column_is_named_by_the_load_and_by_the_dry_run(tmp_path, name, hint):
    source = spec(tmp_path)
    for attempt in (lambda: load(source, [name]), lambda: first_values(parse_sources(source), [name], 0)):
        with pytest.raises(DataError, match=f"no column '{name}', which a component needs .*{hint}"):
            attempt()


def test_every_source_of_a_mix_must_have_it(tmp_path):
    other = spec(tmp_path, [{"question": "3 + 3", "gold": "6", "difficulty": 1}], "other.jsonl")
    with pytest.raises(DataError, match=r"other.jsonl: no column 'steps'"):
        load([spec(tmp_path), other], ["steps"])


def test_nothing_is_carried_where_nobody_asks_and_a_changed_column_is_other_data(tmp_path):
    data, card, rows = load(spec(tmp_path), [])
    assert rows is None and data_fingerprint(data) == card.fingerprint
    asked, asked_card, _ = load(spec(tmp_path), ["steps"])
    assert data_fingerprint(asked) == asked_card.fingerprint != card.fingerprint
    changed, _, _ = load(spec(tmp_path, [{**ROWS[0], "steps": 2}, ROWS[1]]), ["steps"])
    assert changed["prompt_id"] == asked["prompt_id"] and data_fingerprint(changed) != data_fingerprint(asked)


def test_a_parquet_file_with_dates_and_lone_surrogates_is_carried(tmp_path):
    import datetime

    import pandas as pd

    path = tmp_path / "rows.parquet"
    pd.DataFrame([{"problem": "1 + 1", "answer": "2", "day": datetime.date(2024, 5, 1), "x": 0.5}]).to_parquet(path)
    _, _, rows = load({"path": str(path)}, ["day", "x"])
    assert rows == [{"day": "2024-05-01", "x": 0.5}]
    _, _, rows = load(spec(tmp_path, [{**ROWS[0], "note": "\ud800"}]), ["note"])
    assert rows == [{"note": "\ud800"}]


def test_a_hub_set_is_read_with_the_columns_asked_for(monkeypatch):
    import datasets

    table = datasets.Dataset.from_list([{"problem": "1 + 1", "answer": "2", "trace": "long", "steps": 4}])
    monkeypatch.setattr(datasets, "load_dataset", lambda *args, **kwargs: table)
    _, _, rows = load({"path": "someone/sums"}, ["steps"])
    assert rows == [{"steps": 4}]
    with pytest.raises(DataError, match="no column 'stepz'.*'steps'"):
        load({"path": "someone/sums"}, ["stepz"])
