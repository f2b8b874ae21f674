"""Ready-made benchmarks, each on a made-up file in its hub schema, and the real items where they are."""

import json

import pytest

from tersely.core.errors import ConfigError
from tersely.data import DataError
from tersely.data.benchmarks import benchmark_names, find_benchmark, load_benchmark

SCHEMAS = {
    "gsm8k": ({"question": "How many?", "answer": "so\n#### 1,200"}, "1200"),
    "math500": ({"problem": "Find x.", "answer": "\\frac{1}{2}", "level": 4, "subject": "Algebra"}, "\\frac{1}{2}"),
    "amc23": ({"question": "Find x.", "answer": 27.0}, "27"),
    "aime24": ({"problem": "Find x.", "answer": "033"}, "33"),
    "aime25": ({"problem": "Find x.", "answer": "70"}, "70"),
    "minerva": ({"question": "Find x.", "answer": "4.5e33"}, "4.5 \\times 10^{33}"),
    "olympiadbench": ({"question": "Find x.", "final_answer": ["$2$", "$-2$"]}, "2, -2"),
    "svamp": ({"Body": "There are 5.", "Question": "How many?", "Answer": "145.0"}, "145"),
    "optimal_thinking_math": ({"problem": "Find x.", "answer": "3", "level": 2}, "3"),
    "hmmt25": ({"problem": "Find x.", "answer": "\\sqrt{6}"}, "\\sqrt{6}"),
    "dumb500": ({"problem": "What is 7 + 5?", "answer": "12"}, "12"),
    "gpqa_diamond": (
        {
            "Question": "Which?",
            "Correct Answer": "blue",
            "Incorrect Answer 1": "red",
            "Incorrect Answer 2": "green",
            "Incorrect Answer 3": "grey",
        },
        None,
    ),
}


@pytest.fixture
def local(tmp_path):
    def local(name, rows):
        path = tmp_path / f"{name}.jsonl"
        path.write_text("".join(json.dumps(row) + "\n" for row in rows))
        return {"name": name, "path": str(path)}

    return local


def test_every_benchmark_is_tried_here():
    assert set(benchmark_names()) == {*SCHEMAS, "testbed"}


@pytest.mark.parametrize("name", sorted(SCHEMAS))
def test_schema(local, name):
    row, answer = SCHEMAS[name]
    benchmark, data, _ = load_benchmark(local(name, [row]))
    assert benchmark.name == name and len(data) == 1
    if answer is not None:
        assert data[0]["answer"] == answer
    assert data[0]["prompt"][0]["content"].endswith("\\boxed{}.")


def test_a_bench_without_a_public_copy_is_a_local_file(local, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(DataError, match="no such file: dumb500.jsonl"):
        load_benchmark("dumb500")
    local("dumb500", [SCHEMAS["dumb500"][0]])
    assert load_benchmark("dumb500")[1][0]["answer"] == "12"


def test_svamp_joins_body_and_question(local):
    _, data, _ = load_benchmark(local("svamp", [SCHEMAS["svamp"][0]]))
    assert data[0]["problem"] == "There are 5. How many?"


def test_options_are_shuffled_the_same_way_every_time(local):
    row = SCHEMAS["gpqa_diamond"][0]
    rows = [{**row, "Question": f"Which, {n}?"} for n in range(80)]
    _, data, _ = load_benchmark(local("gpqa_diamond", rows))
    _, again, _ = load_benchmark(local("gpqa_diamond", rows[::-1]))
    assert sorted(data["problem"]) == sorted(again["problem"])
    letters = list(data["answer"])
    assert {letter: letters.count(letter) >= 8 for letter in "ABCD"} == dict.fromkeys("ABCD", True)
    assert all(f"({row['answer']}) blue" in row["problem"] for row in data)


def test_easy_mathematics_leaves_the_hard_levels_out(local):
    rows = [{"problem": f"Find {n}.", "answer": str(n), "level": n} for n in (1, 2, 3, 4, 5)]
    _, data, card = load_benchmark(local("optimal_thinking_math", rows))
    assert list(data["level"]) == ["1", "2"] and card.sources[0].read == 5


def test_a_published_count_is_an_error_when_it_is_not_met(local):
    spec = {**local("aime24", [SCHEMAS["aime24"][0]]), "expect_rows": [30], "exact_rows": True}
    with pytest.raises(ConfigError, match="got 1 rows.*30"):
        load_benchmark(spec)
    assert find_benchmark("aime24").source.exact_rows


def test_an_item_that_stands_twice_is_two_items(local):
    _, data, _ = load_benchmark(local("math500", [SCHEMAS["math500"][0]] * 2))
    first, second = data["prompt_id"]
    assert second == f"{first}-2"


def test_limit_does_not_follow_a_seed_and_a_local_file_needs_no_entry(local):
    path = local("mine", [{"problem": f"{n}?", "answer": str(n)} for n in range(40)])["path"]
    one, two = (load_benchmark(path, limit=5)[1]["problem"] for _ in range(2))
    assert list(one) == list(two) and len(one) == 5
    assert find_benchmark(path).name == "mine"


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ("math50", "'math500'"),
        ({"name": "math50"}, "`path`.*'math500'"),
        ({"name": "gsm8k", "sampels": 3}, "did you mean"),
        ({"name": "gsm8k", "samples": 0}, "eval.samples.* 0"),
        ({"name": "gsm8k", "top_p": 0}, "eval.top_p.* 0"),
    ],
)
def test_bad_specs(spec, message):
    with pytest.raises(ConfigError, match=message):
        find_benchmark(spec)


@pytest.mark.parametrize(
    ("name", "file", "count"),
    [("math500", "math500", 500), ("minerva", "minerva", 272), ("olympiadbench", "olympiadbench_math_en", 675)]
    + [
        ("optimal_thinking_math", "math500", 133),
        ("aime24", "aime24", 30),
        ("aime25", "aime25", 30),
        ("amc23", "amc23", 40),
    ],
)
@pytest.mark.slow
def test_real_items(shared_data, name, file, count):
    path = str(shared_data / "benchmarks" / f"{file}.jsonl")
    _, data, _ = load_benchmark({"name": name, "path": path, "columns": {"problem": "problem", "answer": "answer"}})
    assert len(data) == count


def test_a_benchmark_file_of_ones_own(tmp_path):
    (tmp_path / "rows.jsonl").write_text('{"problem": "1 + 1", "answer": "2"}\n')
    file = tmp_path / "mine.yaml"
    file.write_text("path: rows.jsonl\nsamples: 3\ntemperature: 0.2\n")
    benchmark, data, _ = load_benchmark(str(file))
    assert (benchmark.name, benchmark.sampling.samples, benchmark.sampling.temperature) == ("mine", 3, 0.2)
    assert len(data) == 1
    with pytest.raises(ConfigError, match="no such file"):
        find_benchmark(str(tmp_path / "other.yaml"))
    file.write_text("samples: 3\n")
    with pytest.raises(ConfigError, match="`path`"):
        find_benchmark(str(file))


def test_a_file_with_other_columns_is_told_how_to_map_them(tmp_path):
    path = tmp_path / "mine.jsonl"
    path.write_text('{"question": "1 + 1", "gold": "2"}\n')
    with pytest.raises(ConfigError, match=r"Map it: columns: .* in a benchmark file: .*--benchmarks mine.yaml"):
        load_benchmark(str(path))
    (tmp_path / "mine.yaml").write_text("path: mine.jsonl\ncolumns: {problem: question, answer: gold}\n")
    assert load_benchmark(str(tmp_path / "mine.yaml"))[1]["answer"] == ["2"]
