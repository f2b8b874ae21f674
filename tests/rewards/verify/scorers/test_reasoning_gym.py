"""reasoning-gym's scorers: other solutions than the reference are correct, and text that fools them is not."""

from __future__ import annotations

import json

import pytest

from tersely.configs.scorer import ScorerSpec
from tersely.rewards.verify.scorers.grade import status_of, try_scorer

gym = pytest.importorskip("reasoning_gym")
from tersely.rewards.verify.scorers.reasoning_gym import readings, score  # noqa: E402


def row(task, seed=11, index=0, **parameters):
    item = gym.create_dataset(task, seed=seed, size=index + 1, **parameters)[index]
    return {**item, "problem": item["question"], "task": task, "parameters": parameters}


COUNTDOWN = {
    "problem": "Make 25 of 64, 12 and 27.",
    "answer": "64 - 12 - 27",
    "task": "countdown",
    "metadata": {"numbers": [64, 12, 27], "target": 25},
}
PUZZLE24 = {"problem": "", "answer": "4*7 + 6 - 10", "task": "puzzle24", "metadata": {"numbers": [4, 7, 6, 10]}}
HALF = {"problem": "", "answer": "7*7/(9/4)", "task": "puzzle24", "metadata": {"numbers": [7, 7, 1, 2]}}
INTEGRAL = {
    "problem": "Find the indefinite integral: ∫ 2*x dx",
    "answer": "x**2 + C",
    "task": "simple_integration",
    "metadata": {"integrand": "2*x", "variable": "x", "expression": "x**2"},
}


@pytest.mark.parametrize(
    ("given", "answers"),
    [
        (COUNTDOWN, ["64 - 12 - 27", "64-(12+27)", "-27 + 64 - 12"]),
        (COUNTDOWN, [r"$64 - (27 + 12)$", r"\text{64 - 27 - 12}", "`64-27-12`", "```\n64-27-12\n```"]),
        (PUZZLE24, ["4*7 + 6 - 10", "(4*7) - (10 - 6)", r"4 \times 7 + 6 - 10"]),
        (PUZZLE24, ["7 × 4 − 10 + 6", r"\left(4 \cdot 7\right)+6-10"]),
        (INTEGRAL, ["x**2 + C", "C + x*x", "x^2", r"x^{2} + C"]),
    ],
)
def test_every_solution_is_correct(given, answers):
    assert [score(answer, given) for answer in answers] == [1.0] * len(answers)


@pytest.mark.parametrize(
    ("given", "answers"),
    [
        (COUNTDOWN, ["25", "64 - 39", "64 - 12 - 27 - 0", "25*64/64*12/12*27/27", "25 or 64-12-27", "", "x"]),
        (COUNTDOWN, ["__import__('os').getpid()", "64-12-27 if 1 else 0", "64 - 12 - 27 # 25", "(25)(64,12,27)"]),
        (PUZZLE24, ["24", "24 + 0*(4 + 7 + 6 + 10)", "4*6", "int(24)", "4*6*(10-7-3)"]),
        (HALF, ["7*7/2*1"]),  # 24.5, which reasoning-gym truncates to 24
        (INTEGRAL, ["Integral(2*x, x)", "integrate(2*x, x)", "2*x", "O(x)", "x**2 or 1", "x.diff()", "Symbol('x')**2"]),
    ],
)
def test_what_fools_a_scorer_is_incorrect(given, answers):
    assert [answer for answer in answers if score(answer, given) >= 1] == []


def test_another_colouring_of_a_graph_is_correct_and_a_clash_or_a_gap_is_not():
    given = row("graph_color")
    assert given["answer"] is None  # reasoning-gym states no reference answer
    colours = {str(key): value for key, value in given["metadata"]["possible_answer"].items()}
    options = given["metadata"]["puzzle"]["color_options"]
    turned = {key: options[(options.index(value) + 1) % len(options)] for key, value in colours.items()}
    first, second = map(str, given["metadata"]["puzzle"]["edges"][0])
    clash, gap = {**colours, first: colours[second]}, {key: value for key, value in colours.items() if key != first}
    graded = [score(json.dumps(answer), given) for answer in (colours, turned, clash, gap, {})]
    assert [found >= 1 for found in graded] == [True, True, False, False, False]


def test_any_board_of_queens_counts_and_a_call_in_brackets_is_not_run():
    given = next(r for r in (row("n_queens", index=i, n=6, min_remove=6, max_remove=6) for i in range(4)))
    boards = given["metadata"]["valid_answers"]
    assert len(boards) > 1 and [score(board, given) for board in boards] == [1.0] * len(boards)
    assert score("[exit(3)]", given) < 1 and score("[*open('/etc/passwd')]", given) < 1
    assert score(str([line.split() for line in boards[-1].splitlines()]), given) == 0.5  # its partial credit


@pytest.mark.parametrize("task", ["arc_agi", "codeio", "modulo_grid", "knights_knaves", "futoshiki", "tower_of_hanoi"])
def test_a_reference_answer_is_accepted_after_its_way_to_a_worker(task):
    given = row(task)
    assert try_scorer(ScorerSpec("reasoning_gym"), given, given["answer"]) is None
    assert try_scorer(ScorerSpec("reasoning_gym"), given, "24") is not None


def test_a_row_without_its_metadata_raises_for_every_answer():
    with pytest.raises(ValueError):  # a reference answer of another task
        score("25", {**COUNTDOWN, "task": "prime_factorization"})
    assert score("25", {**COUNTDOWN, "answer": "3 × 5", "task": "prime_factorization"}) < 1
    assert score("3 + 5", {**COUNTDOWN, "answer": "3 × 5", "task": "prime_factorization"}) == 0  # unreadable


def test_partial_credit_is_below_the_threshold():
    assert 0 < score("64 - 12", COUNTDOWN) < 1
    assert status_of(score("64 - 12", COUNTDOWN), 1.0) == ("incorrect", "scorer")


def test_a_grid_in_latex_or_in_a_code_block_is_read():
    assert "1 2\n3 4" in list(readings("```text\n1 2\n3 4\n```"))
    assert "1 2\n3 4" in list(readings(r"\begin{bmatrix}1 & 2 \\ 3 & 4\end{bmatrix}"))
