"""The plans of the length cards: what each rollout is asked, and what is read from its text."""

from __future__ import annotations

import pytest

from tersely.algorithms import PROMPTING
from tersely.algorithms.prompting.budgetthinker import reminders
from tersely.core.build import build
from tersely.core.errors import ConfigError
from tersely.core.memory import PromptMemory
from tersely.core.parse_completion import parse_completion

IDS = [f"p{i}" for i in range(50)]
NAMES = [
    "plain",
    "hbpo",
    "lapo_target",
    "l1",
    "thinkprune",
    "autothink",
    "selfbudgeter",
    "arm",
    "adaptthink",
    "budgetthinker",
    "elastic",
]


def one(spec, group_size=1, memory=None):
    return build("prompting", spec)(["a"], group_size, memory, 0)


@pytest.mark.parametrize("name", NAMES)
def test_prompt_major_whole_groups_and_the_same_at_every_visit(name):
    plan, memory = build("prompting", name), PromptMemory({"p3": {"target": 777.5}})
    plans = plan(IDS, 4, memory, 7)
    assert len(plans) == 200 and plans == plan(IDS, 4, memory, 7)
    assert plan([IDS[9], IDS[3]], 4, memory, 7) == plans[36:40] + plans[12:16]
    assert plan([], 4, memory, 7) == []
    assert all(p.budget is None or p.budget > 0 for p in plans)
    if name == "l1":
        assert plans != plan(IDS, 4, memory, 8)


def test_every_name_of_the_cards_is_there():
    assert set(NAMES) <= set(PROMPTING)


def test_hbpo_hands_out_budgets_in_blocks():
    plans = build("prompting", "hbpo")(["a", "b"], 8, None, 0)
    assert [p.budget for p in plans] == [512, 512, 1024, 1024, 2048, 2048, 2560, 2560] * 2
    assert plans[0].prefill == "<think> I will answer the question with 512 tokens" and not plans[0].train_prefill
    with pytest.raises(ValueError, match="group_size|budgets"):
        one("hbpo", 6)
    two = one({"name": "hbpo", "budgets": [8, 16], "text": "within {budget}", "train_prefill": True}, 2)
    assert [(p.prefill, p.train_prefill) for p in two] == [("within 8", True), ("within 16", True)]


def test_hbpo_prompting_at_evaluation():
    natural, efficient = (one({"name": "hbpo", "prompting": kind})[0] for kind in ("natural", "efficient"))
    assert natural.prefill is None and natural.budget is None
    assert efficient.prefill == "<think> I will answer the question with minimal tokens"


def test_lapo_announces_the_target_rounded_half_up():
    memory = PromptMemory({"a": {"target": 150.5}, "b": {"target": 150.4999}, "c": {"shortest": 3}})
    plans = build("prompting", "lapo_target")(["a", "b", "c"], 2, memory, 0)
    assert [p.budget for p in plans] == [151, 151, 150, 150, 4096, 4096]
    assert plans[0].prefill == "<think> I will answer the question with 151 tokens."
    assert one({"name": "lapo_target", "unsolved_target": 9})[0].budget == 9


def test_l1_states_a_uniform_length_fixed_by_prompt():
    many = build("prompting", "l1")([f"x{i}" for i in range(2000)], 1, None, 0)
    numbers = [p.budget for p in many]
    assert 100 <= min(numbers) < 130 and 3970 < max(numbers) <= 4000
    assert abs(sum(numbers) / len(numbers) - 2050) < 80
    assert many[0].instruction == f"Think for {numbers[0]} tokens." and many[0].mode is None
    ceiling = one({"name": "l1", "kind": "max"})[0]
    assert ceiling.instruction == f"Think for maximum {ceiling.budget} tokens."
    assert [p.budget for p in one({"name": "l1", "min_tokens": 5, "max_tokens": 5}, 2)] == [5, 5]


def test_l1_mixed_draws_the_kind_by_prompt():
    plans = build("prompting", {"name": "l1", "kind": "mixed"})([f"x{i}" for i in range(400)], 2, None, 0)
    assert all(plans[i] == plans[i + 1] for i in range(0, 800, 2))
    assert 0.4 < sum(p.mode == "max" for p in plans) / 800 < 0.6
    assert all(("maximum" in p.instruction) == (p.mode == "max") for p in plans)


def test_thinkprune_states_its_cap():
    plan = one({"name": "thinkprune", "limit": 3000}, 2)[1]
    assert plan.instruction == "The output of the assistant should be within 3000 tokens."
    assert plan.max_new_tokens == 3000 and plan.budget == 3000


def test_autothink_prefills_and_reads_the_mode():
    plan, head = build("prompting", "autothink"), "<|im_start|>assistant\n"
    row = one("autothink")[0]
    assert row.prefill == "<think>\n...\n" and row.instruction.endswith("\\boxed{}.") and row.mode is None
    for rest, mode, well_formed in (
        ("</think>\n\nThe answer is 4.", "no_think", True),
        ("Let me see. 2 + 2 = 4.</think>\n\n4", "think", True),
        ("Let me see", "think", False),
    ):
        parsed = plan.parse(head + row.prefill + rest)
        assert (parsed.mode, parsed.well_formed) == (mode, well_formed)
    assert plan.parse(head + "</think>\n\n4").mode == "no_think"
    forced = one({"name": "autothink", "variant": "no_think", "instruction": None})[0]
    assert forced.mode == "no_think" and forced.instruction is None
    assert plan.parse(head + forced.prefill + "4").mode == "no_think"
    assert one({"name": "autothink", "variant": "standard"})[0].prefill == "<think>\n"


@pytest.mark.parametrize(
    ("text", "well_formed", "budget"),
    [
        ("<budget>120</budget><solution>x = 4</solution>", True, 120),
        ("head\n<budget> 120 </budget>\n<solution>x = 4</solution>\n", True, 120),
        ("<budget>120</budget><solution></solution>", False, 120),
        ("<budget>120</budget>x = 4", False, 120),
        ("<budget>120</budget><solution>4", False, 120),
        ("<budget>12.5</budget><solution>4</solution>", False, None),
        ("<budget>-5</budget><solution>4</solution>", False, None),
        ("<budget>many</budget><solution>4</solution>", False, None),
        ("<budget>1</budget><budget>2</budget><solution>4</solution>", False, None),
        ("<solution>4</solution><budget>5</budget>", False, 5),
        ("<budget>5</budget><solution>4</solution> and more", False, 5),
        ("<budget>" + "9" * 5000 + "</budget><solution>4</solution>", False, None),
        ("", False, None),
    ],
)
def test_selfbudgeter_reads_the_announced_budget(text, well_formed, budget):
    parsed = build("prompting", "selfbudgeter").parse(text)
    assert (parsed.well_formed, parsed.budget) == (well_formed, budget)


def test_selfbudgeter_imposes_a_budget():
    row = one({"name": "selfbudgeter", "budget": 300})[0]
    assert (row.prefill, row.budget) == ("<budget>300</budget>", 300)
    assert one("selfbudgeter")[0].prefill is None


@pytest.mark.parametrize(
    ("text", "mode", "well_formed"),
    [
        ("<ANSWER>4</ANSWER>", "direct", True),
        ("head\n<COT>2+2</COT><ANSWER>4</ANSWER>", "short_cot", True),
        ("<CODE>print(4)</CODE>\n<ANSWER>4</ANSWER>", "code", True),
        ("<LONG_COT>hm, wait</LONG_COT><ANSWER>4</ANSWER>", "long_cot", True),
        ("<COT>2+2<ANSWER>4</ANSWER>", "short_cot", False),
        ("<COT>2+2</COT>4", "short_cot", False),
        ("<COT>2+2</COT><ANSWER></ANSWER>", "short_cot", False),
        ("<COT>a</COT><COT>b</COT><ANSWER>4</ANSWER>", "short_cot", False),
        ("<ANSWER>4</ANSWER><ANSWER>5</ANSWER>", "direct", False),
        ("4", "none", False),
    ],
)
def test_arm_reads_the_format(text, mode, well_formed):
    parsed = build("prompting", "arm").parse(text)
    assert (parsed.mode, parsed.well_formed) == (mode, well_formed)


@pytest.mark.parametrize("name", ["plain", "hbpo", "lapo_target", "autothink", "adaptthink", "thinkprune"])
def test_a_closed_thought_with_an_answer_is_well_formed_behind_a_template_that_opens_thinking(name):
    """The turn as the rollout code hands it over: the template's opening, the prefill, the sampled text."""
    plan = build("prompting", name)
    for row in plan(["a"], 4, None, 0):
        sampled = "4" if (row.prefill or "").endswith("</think>") else "2 + 2</think>\n4"
        for tail in ("<|im_start|>assistant\n<think>\n", "<|assistant|><think>\n"):
            parse = getattr(plan, "parse", parse_completion)
            assert parse(tail + (row.prefill or "") + sampled).well_formed
            assert not parse(tail + (row.prefill or "").replace("</think>", "") + "2 + 2").well_formed


def test_arm_imposes_a_format():
    assert one("arm", 2)[0].prefill is None
    row = one({"name": "arm", "mode": "long_cot"})[0]
    assert (row.prefill, row.mode) == ("<LONG_COT>\n", "long_cot")


def test_adaptthink_forces_half_of_a_group():
    plans = one("adaptthink", 4)
    assert [p.mode for p in plans] == ["no_think", "no_think", "think", "think"]
    assert plans[0].prefill == "</think>" and plans[0].max_new_tokens == 4096 and plans[3].prefill == "Alright"
    assert all(p.train_prefill for p in plans)
    with pytest.raises(ValueError, match="even"):
        one("adaptthink", 3)


def test_budgetthinker_states_its_budget_and_places_its_reminders():
    row = one("budgetthinker")[0]
    assert (row.instruction, row.budget) == ("Please answer within 6000 tokens", 6000)
    released = one({"name": "budgetthinker", "budgets": [800], "form": "released"})[0]
    assert released.instruction.startswith(
        "(Complete thinking within 800 tokens or fewer, 7 special tokens (<remaining>7/8"
    )
    assert reminders(800)[0] == (100, "\n<remaining>7/8</remaining>\n")
    assert reminders(800)[-1] == (700, "\n<remaining>1/8</remaining>\n") and len(reminders(800)) == 7
    mixed = build("prompting", {"name": "budgetthinker", "budgets": [1, 2, 3]})(IDS, 2, None, 0)
    assert {p.budget for p in mixed} == {1, 2, 3}


def test_elastic_has_a_budget_for_thinking_and_one_for_the_solution():
    spec = {"name": "elastic", "think_tokens": 10, "solution_tokens": 5}
    (plan,) = build("prompting", spec)(["a"], 1, None, 0)
    assert (plan.budget, plan.max_new_tokens, plan.thinking_budget, plan.answer_tokens) == (15, 15, 10, 5)
    assert plan.forced_end == "</think>" and not plan.train_forced
    assert build("prompting", {**spec, "form": "released"})(["a"], 1, None, 0)[0].train_forced


@pytest.mark.parametrize(
    "spec",
    [
        {"name": "hbpo", "budgets": []},
        {"name": "hbpo", "budgets": [0]},
        {"name": "hbpo", "text": "no number"},
        {"name": "lapo_target", "text": "no number"},
        {"name": "l1", "kind": "least"},
        {"name": "l1", "min_tokens": 0},
        {"name": "l1", "max_tokens": 50},
        {"name": "lapo_target", "unsolved_target": 0},
        {"name": "thinkprune", "limit": 0},
        {"name": "autothink", "variant": "dots"},
        {"name": "selfbudgeter", "budget": 0},
        {"name": "arm", "mode": "cot"},
        {"name": "adaptthink", "no_think_tokens": 0},
        {"name": "budgetthinker", "budgets": []},
        {"name": "elastic", "think_tokens": 0},
    ],
)
def test_ranges(spec):
    with pytest.raises(ConfigError, match=spec["name"]):
        build("prompting", spec)
