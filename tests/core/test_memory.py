from __future__ import annotations

import json

from tersely.core.memory import PromptMemory


def test_what_is_set_is_got_and_what_is_not_has_the_default():
    memory = PromptMemory()
    memory.set("p", "target", 12)
    assert (
        memory.get("p", "target") == 12.0 and memory.get("p", "other") is None and memory.get("q", "target", 3.0) == 3.0
    )
    memory.forget("p", "target")
    memory.forget("never", "seen")
    assert memory.get("p", "target") is None


def test_state_survives_json_bit_for_bit_and_shares_nothing():
    memory = PromptMemory({"p": {"target": 0.1 + 0.2}})
    state = json.loads(json.dumps(memory.state_dict()))
    other = PromptMemory()
    other.load_state_dict(state)
    assert other == memory and len(other) == 1
    other.set("p", "target", 1.0)
    assert memory.get("p", "target") == 0.1 + 0.2 and state["p"]["target"] == 0.1 + 0.2
