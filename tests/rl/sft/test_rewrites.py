"""The rewritten answers keep the contract that the method's own parser asks for."""

from __future__ import annotations

import pytest

from tersely.algorithms.prompting.arm import ARMPrompting
from tersely.algorithms.prompting.selfbudgeter import SelfBudgeterPrompting
from tersely.core.component_spec import ComponentSpec
from tersely.core.errors import ConfigError
from tersely.rl.sft.examples import Attempt
from tersely.rl.sft.rewrites import build_rewrite, code

SHORT = "47 + 8 = 55\n55 - 9 = 46\n</think>\n\\boxed{46}"
LONG = "47 + 8 = 55\n55 - 9 = 46\nWait, let me do it again.\n47 + 8 = 55\n</think>\n\\boxed{46}"
NONE = "</think>\n\\boxed{46}"
TAIL = "<|assistant|><think>\n"


def attempts(*texts):
    return [Attempt(TAIL + text, text, len(text.split()) + 1) for text in texts]


def words(text):
    return len(text.replace("<", " <").replace(">", "> ").split())


def text_of(example):
    return "".join(span.text for span in example.spans)


def test_selfbudgeter_announces_the_length_it_has():
    examples = build_rewrite(ComponentSpec.of("rewrite", "selfbudgeter"), "stage s")(attempts(SHORT, LONG), words)
    for example, text in zip(examples, (SHORT, LONG), strict=True):
        parsed = SelfBudgeterPrompting.parse(TAIL + text_of(example))
        assert parsed.well_formed and parsed.budget == len(text.split()) + 1 + 4 + 1  # three tags and a number; one tag


def test_arm_has_four_formats_of_one_prompt():
    examples = build_rewrite(ComponentSpec.of("rewrite", "arm"), "stage s")(attempts(LONG, SHORT), words)
    parsed = [ARMPrompting.parse(TAIL + text_of(example)) for example in examples]
    assert [p.mode for p in parsed] == [e.kind for e in examples] == ["direct", "short_cot", "code", "long_cot"]
    assert all(p.well_formed for p in parsed)
    assert "Wait" in text_of(examples[3]) and "Wait" not in text_of(examples[1])
    assert text_of(examples[0]) == "<ANSWER>\n\\boxed{46}\n</ANSWER>"


def test_arms_short_chain_and_code_end_where_the_answer_first_stands():
    examples = {
        e.kind: text_of(e) for e in build_rewrite(ComponentSpec.of("rewrite", "arm"), "stage s")(attempts(LONG), words)
    }
    assert examples["short_cot"].startswith("<COT>\n47 + 8 = 55\n55 - 9 = 46\n</COT>")
    assert "Wait" in examples["long_cot"] and examples["code"].count("x = ") == 2


def test_arm_without_a_thought_gives_the_answer_alone():
    assert [e.kind for e in build_rewrite(ComponentSpec.of("rewrite", "arm"), "stage s")(attempts(NONE), words)] == [
        "direct"
    ]


def test_code_holds_each_equation_once():
    assert code("47 + 8 = 55\n55 - 9 = 46\n47 + 8 = 55") == "x = 47 + 8 # 55\nx = 55 - 9 # 46" and code("none") == ""


def test_plain_keeps_all_or_the_shortest():
    assert len(build_rewrite(ComponentSpec.of("rewrite", "plain"), "s")(attempts(LONG, SHORT), words)) == 2
    (only,) = build_rewrite(ComponentSpec("plain", {"keep": "shortest"}), "s")(attempts(LONG, SHORT), words)
    assert text_of(only) == SHORT


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ("armm", "rewrite.* 'armm'.*'arm'"),
        ({"name": "plain", "kep": 1}, "kep"),
        ({"name": "plain", "keep": "x"}, "keep"),
    ],
)
def test_what_is_refused(spec, message):
    with pytest.raises(ConfigError, match=message):
        build_rewrite(ComponentSpec.of("rewrite", spec), "stage warm")
