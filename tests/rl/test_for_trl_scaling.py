"""`for_trl` in TRL's own trainer: the page's snippet trains, and a `scale_rewards` that defeats the reward is refused."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from support.tiny import HashVerifier, save_tiny_model

from tersely.core.build import build
from tersely.core.errors import ConfigError
from tersely.core.reward_sum import RewardSum
from tersely.rl.for_trl_scaling import require_scale, wanted_scale

PAGE = Path(__file__).parents[2] / "docs" / "methods-length.md"
SNIPPET = re.search(r"## In plain TRL\n\n```python\n(.*?)```", PAGE.read_text(), flags=re.DOTALL).group(1)
SHORT = (
    'output_dir=str(folder), max_steps=1, num_generations=2, per_device_train_batch_size=2, report_to="none", use_cpu=True, '
    'bf16=False, save_strategy="no"'
)

OWN = """
from dataclasses import dataclass
from typing import ClassVar

@dataclass(frozen=True)
class Brief:
    includes_outcome: ClassVar[bool] = True
    violates_outcome_order: ClassVar[str] = "0.01 per token"

    def __call__(self, rollouts):
        return rollouts.correct - 0.01 * rollouts.length
"""


@pytest.fixture(scope="module")
def tiny(tmp_path_factory):
    return save_tiny_model(tmp_path_factory.mktemp("tiny"))


def snippet_run(tiny, folder, snippet):
    from datasets import Dataset
    from transformers import AutoModelForCausalLM, AutoTokenizer

    rows = Dataset.from_list([{"prompt": f"{i}+{i}=", "answer": str(2 * i)} for i in range(4)])
    model, tokenizer = AutoModelForCausalLM.from_pretrained(tiny), AutoTokenizer.from_pretrained(tiny)
    snippet = snippet.replace("1024", "8").replace('output_dir="out"', SHORT)
    snippet = snippet.replace("tokenizer=tokenizer", "tokenizer=tokenizer, verifier=verifier")
    names = {"model": model, "tokenizer": tokenizer, "rows": rows, "folder": folder, "verifier": HashVerifier()}
    exec(snippet, names)
    return names


def test_the_snippet_of_the_page_trains(tiny, tmp_path):
    names = snippet_run(tiny, tmp_path, SNIPPET)
    assert names["trainer"].state.global_step == 1 and names["reward"]._checked_scale


def test_trls_default_is_refused_under_alp_also_through_a_function_of_ones_own(tiny, tmp_path):
    default = SNIPPET.replace(', scale_rewards="none"', "")
    assert default != SNIPPET
    with pytest.raises(ConfigError, match="alp.*scale_rewards='none'.*'group'"):
        snippet_run(tiny, tmp_path, default)
    wrapped = default.replace("reward_funcs=reward", "reward_funcs=lambda **given: reward(**given)")
    wrapped = wrapped.replace("trainer = ", "reward_funcs = None\ntrainer = ")
    with pytest.raises(ConfigError, match="scale_rewards='none'"):
        snippet_run(tiny, tmp_path, wrapped)


@pytest.mark.parametrize(
    ("spec", "wanted"),
    [
        ({"name": "alp", "beta": 0.3, "normalizer": "max_length"}, "none"),
        ("alp", "group"),
        ("da_dler", "batch"),
        ("l1_exact", None),
        ({"name": "arora_zanette", "alpha": 0.1}, "none"),
        ({"name": "cosine"}, None),
        ("correctness", None),
    ],
)
def test_the_presets_say_which_scale_a_term_goes_with(spec, wanted):
    name = spec if isinstance(spec, str) else spec["name"]
    term = build("reward", spec)
    assert wanted_scale(name, term) == wanted
    reward = build("reward", [spec])
    for scale in ("group", "none", "batch"):
        if wanted in (None, scale):
            require_scale(reward, scale)
        else:
            with pytest.raises(ConfigError, match=f"scale_rewards={wanted!r}"):
                require_scale(reward, scale)


class Brief:
    """A reward of one's own: the outcome less a penalty per token."""

    includes_outcome, needs = True, ()

    def __init__(self, reason=""):
        self.violates_outcome_order = reason

    def __call__(self, rollouts):
        return rollouts.correct - 0.01 * rollouts.length


@pytest.mark.parametrize("reason", ["", "0.01 per token"])
def test_a_reward_of_ones_own_that_declares_its_size_is_not_divided_by_the_spread(reason):
    reward = RewardSum(("mine:Brief",), (Brief(reason),), (1.0,))
    for scale in ("none", "batch"):
        require_scale(reward, scale)
    if not reason:
        require_scale(reward, "group")
        return
    with pytest.raises(ConfigError, match=r"got 'group'.*mine:Brief declares .*0.01 per token.*scale_rewards='none'"):
        require_scale(reward, "group")


def test_trls_default_is_refused_under_such_a_reward(tiny, tmp_path, monkeypatch):
    (tmp_path / "own_brevity.py").write_text(OWN)
    monkeypatch.syspath_prepend(str(tmp_path))
    own = re.sub(r"for_trl\(\{.*?\}", 'for_trl("own_brevity:Brief"', SNIPPET, flags=re.DOTALL)
    assert "own_brevity" in own
    assert snippet_run(tiny, tmp_path, own)["trainer"].state.global_step == 1
    with pytest.raises(ConfigError, match="own_brevity:Brief declares violates_outcome_order"):
        snippet_run(tiny, tmp_path, own.replace(', scale_rewards="none"', ""))
