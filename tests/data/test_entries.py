"""Ready-made entries, each on a made-up file in the schema of its hub set, pitfalls included."""

import pytest

from tersely.data import DataError, entry_names, load_problems_with_card, parse_sources

DAPO = (
    "Solve the following math problem step by step. The last line of your response should be of the form Answer: $Answer "
    "(without quotes) where $Answer is the answer to the problem.\n\n{}\n\nRemember to put your answer on its own line "
    'after "Answer:".'
)


def chat(text):
    return [{"role": "user", "content": text}]


SCHEMAS = {
    "gsm8k": [{"question": "How many?", "answer": "16 - 3 = <<16-3=13>>13\n#### 1,013"}],
    "math": [
        {
            "problem": "Find x.",
            "level": "Level 3",
            "type": "Algebra",
            "solution": r"So \boxed{4}? No: $\boxed{\frac{1}{2}}$.",
        }
    ],
    "deepscaler": [{"problem": "Find x.", "answer": "7", "solution": ""}] * 60
    + [{"problem": "Find x again.", "answer": "", "solution": ""}],
    "dapo_math_17k": [
        {
            "data_source": "math_dapo",
            "prompt": chat(DAPO.format("Find $x$ with $x = 34$.")),
            "ability": "MATH",
            "reward_model": {"ground_truth": "34", "style": "rule-lighteval/MATH_v2"},
            "extra_info": {"index": "a"},
        }
    ]
    * 100,
    "big_math": [
        {"problem": "Find x.", "answer": "5", "source": "s", "domain": ["d"], "llama8b_solve_rate": 0.25},
    ],
    "openr1_math": [
        {
            "problem": "Find x.",
            "answer": "6",
            "generations": ["a", "b"],
            "correctness_math_verify": [False, True],
            "is_reasoning_complete": [True, True],
        },
        {
            "problem": "Right, but cut off; complete, but wrong.",
            "answer": "6",
            "generations": ["a", "b"],
            "correctness_math_verify": [True, False],
            "is_reasoning_complete": [False, True],
        },
    ],
    "deepmath": [{"question": "Find x.", "final_answer": "\\dfrac{1}{2}", "difficulty": 5.5, "topic": "t"}],
    "orz": [
        {"0": {"from": "human", "value": "Find x."}, "1": {"from": "assistant", "ground_truth": {"value": "x^2"}}},
    ],
    "skywork": [
        {
            "data_source": "train-math",
            "prompt": chat(r"Find x. Let's think step by step and output the final answer within \boxed{}."),
            "reward_model": {"ground_truth": '["\\\\frac{3}{4}"]', "style": "rule"},
            "extra_info": {"index": 1, "model_difficulty": {"DeepSeek-R1-Distill-Qwen-1.5B": 16}},
        },
    ],
}
EXPECTED = {
    "gsm8k": ("How many?", "1013", None),
    "math": ("Find x.", r"\frac{1}{2}", "3"),
    "deepscaler": ("Find x.", "7", None),
    "dapo_math_17k": ("Find $x$ with $x = 34$.", "34", None),
    "big_math": ("Find x.", "5", "0.25"),
    "openr1_math": ("Find x.", "6", None),
    "deepmath": ("Find x.", r"\dfrac{1}{2}", "5.5"),
    "orz": ("Find x.", "x^2", None),
    "skywork": ("Find x.", r"\frac{3}{4}", None),
}


@pytest.fixture
def parquet(tmp_path):
    import pyarrow
    import pyarrow.parquet

    def write(name):
        path = tmp_path / f"{name}.parquet"
        pyarrow.parquet.write_table(pyarrow.Table.from_pylist(SCHEMAS[name]), path)
        return str(path)

    return write


@pytest.mark.parametrize("name", sorted(SCHEMAS))
def test_entry_reads_its_schema(parquet, name):
    data, card = load_problems_with_card({"name": name, "path": parquet(name)}, seed=0)
    assert len(data) == 1, card.text()
    row = data[0]
    assert (row["problem"], row["answer"], row["level"]) == EXPECTED[name]
    assert row["source"] == name


def test_every_entry_has_a_schema_here_or_is_procedural():
    others = {name for name in entry_names() if not parse_sources(name)[0].procedural}
    assert others == set(SCHEMAS)


def test_dapo_counts_its_hundredfold(parquet):
    _, card = load_problems_with_card({"name": "dapo_math_17k", "path": parquet("dapo_math_17k")}, seed=0)
    assert card.sources[0].dropped == {"duplicates": 99}


def test_deepscaler_counts_rows_without_an_answer(parquet):
    _, card = load_problems_with_card({"name": "deepscaler", "path": parquet("deepscaler")}, seed=0)
    assert card.sources[0].dropped == {"duplicates": 59, "bad golds": 1}


def test_openr1_needs_one_generation_that_is_right_and_complete(parquet):
    _, card = load_problems_with_card({"name": "openr1_math", "path": parquet("openr1_math")}, seed=0)
    assert card.sources[0].dropped == {"no_verified_generation": 1}


def test_filter_on_a_nested_name_with_a_dot(parquet):
    hard = {"extra_info.model_difficulty.DeepSeek-R1-Distill-Qwen-1.5B": {"at_least": 1, "at_most": 15}}
    with pytest.raises(DataError, match="1 filtered out"):
        load_problems_with_card({"name": "skywork", "path": parquet("skywork"), "filter": hard}, seed=0)


def test_an_own_copy_is_not_held_to_the_published_count(parquet):
    source = parse_sources({"name": "gsm8k", "path": parquet("gsm8k")})[0]
    assert source.expect_rows == [] and source.transform == {"answer": "gsm8k_answer"}
    assert parse_sources("gsm8k")[0].expect_rows == [7473, 1319]
