"""Local files of every kind give the same rows, and a fault names its line."""

import bz2
import gzip
import json
import lzma

import pytest

from tersely.data import DataError, load_problems
from tersely.data.benchmarks import load_benchmark

ROWS = [{"problem": f"What is {n} + ½?", "answer": str(n)} for n in range(8)]
LINES = "\n".join(json.dumps(row, ensure_ascii=False) for row in ROWS)
COLUMNS = {"problem": "problem", "answer": "answer"}
CSV = "problem,answer\n" + "\n".join(f'"{row["problem"]}",{row["answer"]}' for row in ROWS)


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("a.jsonl", LINES.encode()),
        ("bom.jsonl", LINES.encode("utf-8-sig")),
        ("windows.jsonl", LINES.replace("\n", "\r\n").encode()),
        ("utf16.jsonl", LINES.encode("utf-16")),
        ("a.ndjson", LINES.encode()),
        ("lines.json", LINES.encode()),
        ("bom.json", json.dumps(ROWS).encode("utf-8-sig")),
        ("nested.json", json.dumps({"version": 1, "data": ROWS}).encode()),
        ("a.csv", CSV.encode()),
        ("bom.csv", CSV.replace("\n", "\r\n").encode("utf-8-sig")),
        ("semicolon.csv", CSV.replace(",", ";").encode()),
        ("a.tsv", CSV.replace(",", "\t").encode()),
        ("a.jsonl.gz", gzip.compress(LINES.encode(), mtime=0)),
        ("a.csv.bz2", bz2.compress(CSV.encode())),
        ("a.json.xz", lzma.compress(LINES.encode())),
    ],
)
def test_every_kind_gives_the_same_rows(tmp_path, name, content):
    (tmp_path / name).write_bytes(content)
    data = load_problems({"path": str(tmp_path / name)}, seed=0)
    assert list(data["problem"]) == [row["problem"] for row in ROWS]
    assert list(data["answer"]) == [row["answer"] for row in ROWS]


def test_zstd(tmp_path):
    import pyarrow

    path = tmp_path / "a.jsonl.zst"
    with pyarrow.output_stream(str(path), compression="zstd") as out:
        out.write(LINES.encode())
    assert len(load_problems({"path": str(path)}, seed=0)) == len(ROWS)


@pytest.mark.parametrize("opener", [None, gzip.compress, bz2.compress, lzma.compress])
def test_parquet_plain_and_compressed(tmp_path, opener):
    import pyarrow
    import pyarrow.parquet

    path = tmp_path / "a.parquet"
    pyarrow.parquet.write_table(pyarrow.Table.from_pylist(ROWS), path, compression="zstd")
    if opener is not None:
        suffix = {"gzip": ".gz", "bz2": ".bz2", "lzma": ".xz"}[opener.__module__]
        path = tmp_path / f"a.parquet{suffix}"
        path.write_bytes(opener((tmp_path / "a.parquet").read_bytes()))
    assert list(load_problems({"path": str(path)}, seed=0)["answer"]) == [row["answer"] for row in ROWS]
    path.write_bytes(path.read_bytes()[:60])
    with pytest.raises(DataError, match="cannot be read"):
        load_problems({"path": str(path)}, seed=0)


def test_chats_with_every_kind_of_turn(tmp_path):
    """System and tool turns, contents in parts, and chats stored as JSON text: the user's and the assistant's words."""
    parts = [{"type": "text", "text": "What is "}, {"type": "text", "text": "1 + 1?"}]
    chat = [
        {"role": "system", "content": "You are a calculator."},
        {"role": "user", "content": parts},
        {"role": "assistant", "content": [{"type": "text", "text": "2"}]},
        {"role": "tool", "content": "3"},
    ]
    for number, value in enumerate((chat, json.dumps(chat))):
        path = tmp_path / f"{number}.jsonl"
        path.write_text(json.dumps({"chat": value}))
        spec = {"path": str(path), "columns": {"problem": "chat", "answer": "chat"}}
        with pytest.raises(DataError, match="first_user_turn}.*system_p"):
            load_problems(spec, seed=0)
        transform = {"problem": "first_user_turn", "answer": "last_assistant_turn"}
        row = load_problems({**spec, "transform": transform}, seed=0)[0]
        assert (row["problem"], row["answer"]) == ("What is 1 + 1?", "2")
    parts.append({"type": "image_url", "image_url": "x"})
    path.write_text(json.dumps({"chat": chat}))
    with pytest.raises(DataError, match="'image_url'"):
        load_problems({**spec, "transform": transform}, seed=0)


def test_saved_folders_and_slices(tmp_path):
    import datasets

    datasets.Dataset.from_list(ROWS).save_to_disk(tmp_path / "one")
    datasets.DatasetDict({"train": datasets.Dataset.from_list(ROWS)}).save_to_disk(tmp_path / "two")
    (tmp_path / "a.jsonl").write_text(LINES)
    for name in ("one", "two", "a.jsonl"):
        path = str(tmp_path / name)
        assert len(load_problems({"path": path}, seed=0)) == 8
        half = load_problems({"path": path, "split": "train[:50%]"}, seed=0)
        assert list(half["answer"]) == ["0", "1", "2", "3"]
        assert list(load_problems({"path": path, "split": "train[-2:]"}, seed=0)["answer"]) == ["6", "7"]
    with pytest.raises(DataError, match="split.*'test'.*train"):
        load_problems({"path": str(tmp_path / "two"), "split": "test"}, seed=0)
    for name in ("one", "a.jsonl"):
        for split in ("test", "tset", "validation[:5]", ""):
            with pytest.raises(DataError, match="'train'"):
                load_problems({"path": str(tmp_path / name), "split": split}, seed=0)
    (tmp_path / "my-test.jsonl").write_text(LINES)
    assert len(load_problems({"path": str(tmp_path / "my-test.jsonl"), "split": "test"}, seed=0)) == 8
    benchmark = {"name": "gsm8k", "path": str(tmp_path / "a.jsonl"), "columns": COLUMNS}  # whose split is `test`
    assert len(load_benchmark({**benchmark, "transform": {"answer": "whole_as_integer"}})[1]) == 8
    with pytest.raises(DataError, match="expected a name and a slice"):
        load_problems({"path": str(tmp_path / "a.jsonl"), "split": "train[:x]"}, seed=0)


@pytest.mark.parametrize(
    ("row", "words"),
    [
        ({"problem": "What?", "answer": float("nan")}, r"line 301\).*answer.*answer"),
        ({"problem": "What?", "answer": float("inf")}, "infinite number"),
        ({"problem": "What?", "answer": "NaN"}, "infinite number"),
        ({"problem": "What?", "answer": " null "}, "infinite number"),
        *(
            ({"problem": "What?", "answer": gold}, "placeholder")
            for gold in ("?", "-", "...", "#N/A", "\\text{nan}", "#DIV/0!")
        ),
        ({"problem": "What?", "answer": None}, "answer.*answer"),
        (
            {"problem": "What?", "answer": ["1", "2"]},
            r"is a list of 2 \(\['1', '2'\]\); write transform: {answer: list_f",
        ),
        ({"problem": "What \ud83d?", "answer": "1"}, r"line 301\).*lone surrogate"),
        ({"problem": " ", "answer": "1"}, r"line 301\).*problem"),
        (
            {"problem": [{"role": "system", "content": "s"}, {"role": "user", "content": "u"}], "answer": "1"},
            r"'problem' for problem is a chat \(system, user\); write transform: {problem: first_user_turn}",
        ),
        (
            {"problem": "p", "answer": [{"from": "human", "value": "u"}, {"from": "gpt", "value": "4"}]},
            r"is a chat \(human, gpt\); write transform: {answer: last_assistant_turn}",
        ),
    ],
)
def test_one_bad_row_among_many_is_named_by_its_line(tmp_path, row, words):
    path = tmp_path / "a.jsonl"
    many = [{"problem": f"What is {n} + 1?", "answer": str(n)} for n in range(300)]
    path.write_text(
        "\n".join(json.dumps(one) for one in [*many, row, *({"problem": f"x{n}", "answer": "1"} for n in range(9))])
    )
    with pytest.raises(DataError, match=words):
        load_problems({"path": str(path)}, seed=0)
    if not isinstance(row["problem"], list) and not str(row["answer"]).startswith("[{"):
        assert len(load_problems({"path": str(path), "bad_golds": "drop"}, seed=0)) == 309


def test_infinity_as_mathematics_stays_an_answer(tmp_path):
    (tmp_path / "a.jsonl").write_text(json.dumps({"problem": "p", "answer": "\\infty"}))
    assert list(load_problems({"path": str(tmp_path / "a.jsonl")}, seed=0)["answer"]) == ["\\infty"]


@pytest.mark.parametrize(
    ("name", "content", "words"),
    [
        ("a.csv", "problem,answer,answer\np,1,2\n", "duplicate column 'answer'"),
        ("a.csv", "problem,answer\np,1\nq,2,3\n", "line 3.*3 fields.*2"),
        ("a.txt", "x", "a.txt; expected"),
        ("a.json", "", "is empty"),
        ("a.json", '["p"]', "item 0.*str"),
        ("a.jsonl", '{"problem": "p", "answer": "1"}\n[1]\n', "line 2"),
        ("a.jsonl", b'{"problem": "p", "answer": "1"}\n\xff\xfa', "cannot be read as UTF-8, about line 2"),
    ],
)
def test_faults_of_files(tmp_path, name, content, words):
    (tmp_path / name).write_bytes(content if isinstance(content, bytes) else content.encode())
    with pytest.raises(DataError, match=words):
        load_problems({"path": str(tmp_path / name)}, seed=0)


def test_a_local_path_that_is_not_there_is_not_looked_for_on_the_hub(tmp_path):
    with pytest.raises(DataError, match="no such file or folder"):
        load_problems({"path": str(tmp_path / "nowhere")}, seed=0)


def test_verify_reads_the_first_row_behind_a_byte_order_mark(tmp_path):
    from tersely.launch.cli.verify import read_rows

    path = tmp_path / "a.jsonl"
    path.write_bytes('{"gold": "1", "response": "1"}\n{"gold": NaN, "response": "1"}\n'.encode("utf-8-sig"))
    rows, bad = read_rows(path, "gold", "response")
    assert [row["line"] for row in rows] == [1] and [number for number, _ in bad] == [2]


ANSWERS = [{"gold": "1", "response": "½ is \\boxed{1}"}, {"gold": "2", "response": ""}]


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("a.json", json.dumps(ANSWERS).encode("utf-8-sig")),
        ("lines.json", "\n".join(map(json.dumps, ANSWERS)).encode()),
        ("a.ndjson", "\n".join(map(json.dumps, ANSWERS)).encode("utf-16")),
        ("a.jsonl.gz", gzip.compress("\n".join(map(json.dumps, ANSWERS)).encode(), mtime=0)),
        ("a.csv", "gold,response\n1,½ is \\boxed{1}\n2,\n".encode("utf-8-sig")),
        ("a.tsv.xz", lzma.compress("gold\tresponse\n1\t½ is \\boxed{1}\n2\t\n".encode())),
        ("answers", "\n".join(map(json.dumps, ANSWERS)).encode()),
    ],
)
def test_verify_reads_what_training_reads(tmp_path, name, content):
    from tersely.launch.cli.verify import read_rows

    (tmp_path / name).write_bytes(content)
    rows, bad = read_rows(tmp_path / name, "gold", "response")
    assert [{key: row[key] for key in ("gold", "response")} for row in rows] == ANSWERS and not bad


def test_verify_names_lines_and_refuses_a_broken_file(tmp_path):
    from tersely.core.errors import ConfigError
    from tersely.launch.cli.verify import read_rows

    path = tmp_path / "a.jsonl"
    path.write_bytes(
        b'{"gold": "1", "response": "\\ud83d \\\\boxed{1}"}\n{"gold": "1", "response": "\xff"}\n[1]\n{"gold": "'
    )
    rows, bad = read_rows(path, "gold", "response")
    assert [row["line"] for row in rows] == [1, 2] and [number for number, _ in bad] == [3, 4]
    (tmp_path / "a.csv").write_text('gold,response\n1,"two\nlines"\n,x\n')
    rows, bad = read_rows(tmp_path / "a.csv", "gold", "response")
    assert [row["line"] for row in rows] == [3] and [number for number, _ in bad] == [4]
    for name, content in (("a.json.gz", gzip.compress(b"[1, 2]" * 99)[:20]), ("b.json", b"[{"), ("a.parquet", b"PAR1")):
        (tmp_path / name).write_bytes(content)
        with pytest.raises(ConfigError, match=name):
            read_rows(tmp_path / name, "gold", "response")


TWICE = '{"problem": "What?", "answer": "1", "answer": "2"}'
INNER = '{"problem": "What?", "answer": "1", "meta": [{"a": 1, "a": 2}]}'
DEEP = '{"problem": "What?", "answer": ' + "[" * 100_000 + "]" * 100_000 + "}"
LONG = '{"problem": "What?", "answer": ' + "9" * 5000 + "}"


@pytest.mark.parametrize("layout", ["lines", "list", "object"])
@pytest.mark.parametrize(
    ("row", "words"),
    [
        (TWICE, "duplicate key 'answer'"),
        (INNER, "duplicate key 'a'"),
        (DEEP, "nested too deep"),
    ],
)
def test_json_that_a_reader_would_change_or_choke_on_is_refused(tmp_path, layout, row, words):
    name, text, place = {
        "lines": ("a.jsonl", f"{LINES}\n{row}\n", "line 9"),
        "list": ("a.json", f"[{LINES.replace(chr(10), ',')}, {row}]", "item 8"),
        "object": ("a.json", f'{{"version": 1, "data": [{row}]}}', "item 0"),
    }[layout]
    (tmp_path / name).write_text(text, encoding="utf-8")
    with pytest.raises(DataError, match=words) as error:
        load_problems({"path": str(tmp_path / name)}, seed=0)
    assert place in str(error.value) or row is DEEP


def test_a_number_too_long_to_read_names_its_line(tmp_path):
    (tmp_path / "a.jsonl").write_text(f"{LINES}\n{LONG}\n")
    with pytest.raises(DataError, match="line 9: invalid JSON: Exceeds the limit"):
        load_problems({"path": str(tmp_path / "a.jsonl")}, seed=0)


@pytest.mark.parametrize("encoding", ["utf-16-le", "utf-16-be", "utf-32", "utf-32-be"])
@pytest.mark.parametrize(("name", "text"), [("a.jsonl", LINES), ("a.csv", CSV), ("a.json", json.dumps(ROWS))])
def test_another_encoding_is_named(tmp_path, name, text, encoding):
    (tmp_path / name).write_bytes(text.replace("½", "x").encode(encoding))
    with pytest.raises(DataError, match="NUL.*UTF-8|UTF-8"):
        load_problems({"path": str(tmp_path / name)}, seed=0)


def test_a_folder_of_which_a_part_would_be_left_out_is_refused(tmp_path):
    with pytest.raises(DataError, match="data file"):
        load_problems({"path": str(tmp_path)}, seed=0)
    (tmp_path / "train.jsonl").write_text(LINES)
    (tmp_path / "more.csv").write_text(CSV)
    with pytest.raises(DataError, match=r"several kinds \(.csv, .jsonl\)"):
        load_problems({"path": str(tmp_path)}, seed=0)
    (tmp_path / "more.csv").unlink()
    assert len(load_problems({"path": str(tmp_path)}, seed=0)) == len(ROWS)
