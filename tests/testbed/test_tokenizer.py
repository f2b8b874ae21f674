"""The testbed's tokenizer: lossless on any text, one token per number and word, the chat template."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.properties import examples

from tersely.testbed.families.problems import problems
from tersely.testbed.tokenizer import END, PAD, ROLES, THINK, build_tokenizer


@pytest.fixture(scope="module")
def tokenizer():
    return build_tokenizer()


@examples(400)
@given(st.text(max_size=60))
def test_any_text_survives(tokenizer, text):
    assert tokenizer.decode(tokenizer(text).input_ids) == text


@examples(200)
@given(st.text(alphabet="0129 +-=.,\n\\boxed{}<>/think" + "éß你🙂\u0301", max_size=80))
def test_text_like_a_trace_survives(tokenizer, text):
    assert tokenizer.decode(tokenizer(text).input_ids) == text


def test_numbers_and_steps_are_one_token(tokenizer):
    pieces = [tokenizer.decode([token]) for token in tokenizer("A>B*37 47 = 39\n\\boxed{39}").input_ids]
    assert pieces == ["A", ">B", "*37", " ", "47", " = ", "39", "\n", "\\boxed{", "39", "}"]
    assert all(len(tokenizer(str(number)).input_ids) == 1 for number in range(100))


def test_think_tags_are_single_and_survive_skip_special_tokens(tokenizer):
    for tag in THINK:
        assert len(tokenizer(tag).input_ids) == 1
    ids = tokenizer(f"<think>\n12</think>\n7{END}").input_ids
    assert tokenizer.decode(ids, skip_special_tokens=True) == "<think>\n12</think>\n7"


def test_special_tokens_are_distinct(tokenizer):
    ids = tokenizer.convert_tokens_to_ids([PAD, END, *ROLES, *THINK])
    assert len(set(ids)) == len(ids)
    assert (tokenizer.pad_token, tokenizer.eos_token) == (PAD, END)
    assert max(ids) < len(tokenizer)


def test_chat_template_opens_the_thought_and_drops_old_ones(tokenizer):
    messages = [
        {"role": "system", "content": "Be kind."},
        {"role": "user", "content": "What is 11 + 12?"},
        {"role": "assistant", "content": "<think>\n11 + 12 = 23\n</think>\n\\boxed{23}"},
        {"role": "user", "content": "What is 20 + 12?"},
    ]
    text = tokenizer.apply_chat_template(messages, tokenize=False, add_generation_prompt=True)
    assert text == (
        "<|system|>Be kind.<|user|>What is 11 + 12?<|assistant|>\\boxed{23}<|end|><|user|>What is 20 + 12?"
        "<|assistant|><think>\n"
    )
    assert not tokenizer.apply_chat_template(messages[:2], tokenize=False).endswith("<think>\n")


def test_problem_prompts_are_short(tokenizer):
    for item in problems("train", 30):
        ids = tokenizer.apply_chat_template(
            [{"role": "user", "content": item["problem"]}], add_generation_prompt=True, return_dict=False
        )
        assert len(ids) < 100


def test_built_the_same_every_time(tokenizer):
    assert build_tokenizer().backend_tokenizer.to_str() == tokenizer.backend_tokenizer.to_str()


def test_save_and_load(tokenizer, tmp_path):
    from transformers import AutoTokenizer

    tokenizer.save_pretrained(tmp_path)
    loaded = AutoTokenizer.from_pretrained(tmp_path)
    text = "Ünïcode 47 + 38\n</think>\n\\boxed{85}"
    assert loaded(text).input_ids == tokenizer(text).input_ids
    assert loaded.chat_template == tokenizer.chat_template
    assert (loaded.padding_side, loaded.pad_token_id) == ("left", tokenizer.pad_token_id)
