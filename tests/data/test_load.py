"""`load_problems` on made-up files in the schemas of the real sets, on the procedural sources and on real items."""

import json

import pandas as pd
import pytest

from tersely.configs.dataset import INSTRUCTION
from tersely.core.errors import ConfigError
from tersely.data import DataError, load_problems, load_problems_with_card

COLUMNS = ["prompt", "problem", "answer", "prompt_id", "source", "level"]


@pytest.fixture
def write(tmp_path):
    def write(rows, name="rows.jsonl"):
        path = tmp_path / name
        path.write_text("".join(json.dumps(row) + "\n" for row in rows))
        return str(path)

    return write


def rows(count, **extra):
    return [{"problem": f"What is {n} + {n}?", "answer": str(2 * n), **extra} for n in range(count)]


def test_columns_prompt_and_instruction(write):
    data = load_problems({"path": write(rows(2, level=5.0))}, seed=0)
    assert data.column_names == COLUMNS
    assert data[1]["prompt"] == [{"role": "user", "content": f"What is 1 + 1?\n{INSTRUCTION}"}]
    assert (data[1]["problem"], data[1]["answer"], data[1]["level"]) == ("What is 1 + 1?", "2", "5")


def test_a_family_is_a_column_only_where_a_row_has_one(write):
    mixed = [*rows(1), {"problem": "What is 8 / 4?", "answer": "2", "family": "division"}]
    assert load_problems({"path": write(mixed)}, seed=0)["family"] == [None, "division"]


def test_instruction_and_system_prompt_of_the_run_win(write):
    spec = {"path": write(rows(1)), "instruction": "Be brief."}
    assert load_problems(spec, seed=0)[0]["prompt"][0]["content"] == "What is 0 + 0?\nBe brief."
    data = load_problems(spec, seed=0, instruction="", system_prompt="You count.")
    assert data[0]["prompt"] == [
        {"role": "system", "content": "You count."},
        {"role": "user", "content": "What is 0 + 0?"},
    ]


def test_ids_do_not_depend_on_order_filter_or_folder(write, tmp_path):
    first = load_problems({"path": write(rows(6))}, seed=0)
    (tmp_path / "elsewhere").mkdir()
    second = load_problems({"path": write(rows(6)[::-1], "elsewhere/rows.jsonl"), "limit": 3}, seed=9)
    known = dict(zip(first["problem"], first["prompt_id"], strict=True))
    assert len(set(first["prompt_id"])) == 6
    assert all(
        known[problem] == identity for problem, identity in zip(second["problem"], second["prompt_id"], strict=True)
    )


def test_duplicates_by_normalised_text_are_dropped_and_counted(write):
    items = [
        {"problem": "What is 1 + 1?", "answer": "2"},
        {"problem": "  what IS 1 +\n1? ", "answer": "2"},
        {"problem": "What is １ + 1?", "answer": "3"},
    ]
    data, card = load_problems_with_card({"path": write(items)}, seed=0)
    assert len(data) == 1
    assert card.sources[0].dropped["duplicates"] == 2
    assert any("different answers" in note for note in card.sources[0].notes)
    assert "3 read, 1 kept; dropped: 2 duplicates" in card.text()


def test_duplicates_across_sources(write):
    data, card = load_problems_with_card(
        [{"path": write(rows(3), "a.jsonl")}, {"path": write(rows(4), "b.jsonl")}], seed=0
    )
    assert len(data) == 4 and card.sources[1].dropped["duplicates"] == 3


def test_benchmark_may_keep_its_duplicates(write):
    data = load_problems({"path": write(rows(2) + rows(2)), "keep_duplicates": True}, seed=0)
    assert len(data) == 4


def test_missing_column_names_it_and_what_there_is(write):
    path = write([{"question": "1 + 1?", "answr": "2"}])
    with pytest.raises(DataError, match=r"no column 'problem' for problem.*valid: answr, question"):
        load_problems({"path": path}, seed=0)
    with pytest.raises(DataError, match=r"no column 'answer' for answer.*'answr'"):
        load_problems({"path": path, "columns": {"problem": "question"}}, seed=0)


def test_empty_split_and_nothing_left(write):
    with pytest.raises(DataError, match=r"split train"):
        load_problems({"path": write([])}, seed=0)
    with pytest.raises(DataError, match="all 3 rows"):
        load_problems({"path": write(rows(3, level=1)), "filter": {"level": {"above": 4}}}, seed=0)


@pytest.mark.parametrize("gold", ["", "   ", None])
def test_a_gold_that_cannot_be_used_names_its_row(write, gold):
    items = [*rows(2), {"problem": "What?", "answer": gold}]
    with pytest.raises(DataError, match=r"row 2 \(line 3\): answer.*'.*'.*bad_golds: drop"):
        load_problems({"path": write(items)}, seed=0)


def test_bad_golds_are_dropped_up_to_a_share(write):
    items = [*rows(99), {"problem": "What?", "answer": ""}]
    data, card = load_problems_with_card({"path": write(items), "bad_golds": "drop"}, seed=0)
    assert len(data) == 99 and card.sources[0].dropped["bad golds"] == 1
    with pytest.raises(DataError, match=r"1 of 100 .*max_bad_golds.*0.001"):
        load_problems({"path": write(items), "bad_golds": "drop", "max_bad_golds": 0.001}, seed=0)


def test_every_row_read_is_accounted_for(write):
    items = [*rows(20, level=1), *rows(3, level=1), {"problem": "?", "answer": "", "level": 1}, *rows(5, level=9)]
    spec = {"path": write(items), "filter": {"level": 1}, "bad_golds": "drop", "max_bad_golds": 0.5, "limit": 7}
    _, card = load_problems_with_card(spec, seed=0)
    source = card.sources[0]
    assert source.read == 29 == source.kept + sum(source.dropped.values())
    assert json.loads(card.to_json())["rows"] == 7


def test_limit_is_seeded_and_keeps_order(write):
    path = write(rows(50))
    first, again, other = (load_problems({"path": path, "limit": 10}, seed=s)["problem"] for s in (1, 1, 2))
    assert list(first) == list(again) != list(other)
    numbers = [int(problem.split()[2]) for problem in first]
    assert numbers == sorted(numbers) and len(numbers) == 10


def test_what_a_limit_leaves_out_is_no_duplicate_of_a_later_source(write):
    spec = [{"path": write(rows(10), "a.jsonl"), "limit": 4}, {"path": write(rows(10), "b.jsonl")}]
    data, card = load_problems_with_card(spec, seed=0)
    assert sorted(data["problem"]) == sorted(row["problem"] for row in rows(10))
    assert [source.kept for source in card.sources] == [4, 6]
    assert card.sources[1].dropped == {"duplicates": 4}


def test_mix_by_weights(write):
    far = [{"problem": f"far {n}", "answer": "1"} for n in range(300)]
    spec = [{"path": write(rows(60), "a.jsonl"), "weight": 1}, {"path": write(far, "b.jsonl"), "weight": 3}]
    data, card = load_problems_with_card(spec, seed=0)
    assert [source.used for source in card.sources] == [60, 180]
    near = [source.endswith("a.jsonl") for source in data["source"]]
    assert sum(near[:40]) == 10, "every stretch of the mix has the shares"
    again, same = load_problems_with_card(spec, seed=0)
    assert same.fingerprint == card.fingerprint
    assert load_problems_with_card(spec, seed=1)[1].fingerprint != card.fingerprint


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ({"name": "gsmk"}, "'gsm8k'"),
        ("gsmk", "'gsm8k'"),
        ({"path": "x.jsonl", "columms": {}}, "'columns'"),
        ({"split": "train"}, "dataset.*`path` or `name`"),
        ([], "empty list"),
        ({"path": "x.jsonl", "weight": 0}, "weight.* 0"),
        ({"path": "x.jsonl", "limit": "many"}, "a whole number"),
        ({"path": "x.jsonl", "columns": {"question": "q"}}, "columns.* 'question'"),
        ({"path": "x.jsonl", "transform": {"answer": "gsm8k_anser"}}, "'gsm8k_answer'"),
        ({"path": "x.jsonl", "drop": ["prof"]}, "'proof'"),
        ({"path": "x.jsonl", "filter": {"level": {"atleast": 3}}}, "'at_least'"),
        ({"path": "/no/such/file.jsonl"}, "no such file: /no/such/file.jsonl"),
        (7, "dataset.* 7"),
    ],
)
def test_bad_specs_say_what_to_change(spec, message):
    with pytest.raises(ConfigError, match=message):
        load_problems(spec, seed=0)


def test_broken_json_names_the_line(tmp_path):
    path = tmp_path / "broken.jsonl"
    path.write_text('{"problem": "1+1?", "answer": "2"}\n{"problem": \n')
    with pytest.raises(DataError, match="line 2: invalid JSON"):
        load_problems({"path": str(path)}, seed=0)


@pytest.mark.parametrize("suffix", ["jsonl", "json", "parquet"])
def test_a_file_that_was_cut_is_said_to_be(tmp_path, suffix):
    path, frame = (
        tmp_path / f"cut.{suffix}",
        pd.DataFrame([{"problem": f"{i} + ½?", "answer": str(i)} for i in range(9)]),
    )
    if suffix == "parquet":
        frame.to_parquet(path)
    else:
        frame.to_json(path, orient="records", lines=suffix == "jsonl", force_ascii=False)
    whole = path.read_bytes()
    assert len(load_problems({"path": str(path)}, seed=0)) == 9
    for kept in (len(whole) // 2, whole.rindex("½".encode()) + 1 if suffix != "parquet" else len(whole) - 1):
        path.write_bytes(whole[:kept])
        with pytest.raises(DataError, match=r"cannot be read .*compare its size|line \d: invalid JSON"):
            load_problems({"path": str(path)}, seed=0)


def test_another_row_count_than_known_is_said(write):
    spec = {"path": write(rows(3)), "expect_rows": [4, 5]}
    _, card = load_problems_with_card(spec, seed=0)
    assert "got 3 rows; expected 4 or 5" in card.text()
    with pytest.raises(DataError, match="expected 4 or 5.*Pin `revision`"):
        load_problems({**spec, "exact_rows": True}, seed=0)


def test_a_rank_other_than_the_first_is_silent(write, monkeypatch, capsys):
    monkeypatch.setenv("RANK", "1")
    load_problems({"path": write(rows(2))}, seed=0)
    assert capsys.readouterr().out == ""


@pytest.mark.parametrize(
    ("file", "read", "kept"),
    [
        ("gsm8k_train", 7473, 7473),
        ("aime24", 30, 30),
        ("amc23", 40, 40),
        ("aime25", 30, 30),
        ("gsm8k_test", 1319, 1319),
    ],
)
def test_real_items_all_load(shared_data, file, read, kept):
    data, card = load_problems_with_card({"path": str(shared_data / "benchmarks" / f"{file}.jsonl")}, seed=0)
    assert (card.sources[0].read, card.sources[0].kept) == (read, kept)
    assert len(set(data["prompt_id"])) == kept


@pytest.mark.slow
def test_real_math_train_drops_its_empty_golds_and_its_duplicate(shared_data):
    spec = {"path": str(shared_data / "benchmarks" / "math_train.jsonl"), "bad_golds": "drop"}
    _, card = load_problems_with_card(spec, seed=0)
    assert dict(card.sources[0].dropped) == {"bad golds": 4, "duplicates": 1}  # two empty, two "None"
    assert card.rows == 7469
