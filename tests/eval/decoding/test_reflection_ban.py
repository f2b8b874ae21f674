from tersely.engines.models import load_tokenizer
from tersely.eval.decoding.reflection_ban import DEFAULT, ReflectionBan


def test_whole_tokens_are_matched():
    hits = ReflectionBan(("wait", "but")).hits
    assert all(map(hits, ("wait", " Wait", "WAIT", "Wait,", "\n wait. ", "but")))
    assert not any(map(hits, ("waiter", "button", "", "await")))
    assert ReflectionBan(("wait",), match="substring").hits("waiter")
    assert all(map(ReflectionBan(("Wait",)).hits, ("wait", "\u201cWait", "wait\u2026"))), "any case, any punctuation"
    assert len(DEFAULT) == 17


def test_the_testbed_vocabulary():
    tokenizer = load_tokenizer("testbed")
    facts = ReflectionBan(("wait", "hmm", "alternatively")).facts(tokenizer)
    assert {text.strip().lower() for text in facts["banned"].values()} == {"wait", "hmm"}
    assert facts["not_banned"] == ["alternatively"]
    everything = ReflectionBan(("think", "/think", "<think>", "</think>")).banned(tokenizer)
    assert not {*tokenizer.encode("</think>"), *tokenizer.all_special_ids} & everything.keys()


def test_a_substring_that_is_banned_is_not_reported_as_missing():
    tokenizer = load_tokenizer("testbed")
    assert ReflectionBan(("ai", "ah"), match="substring").facts(tokenizer)["not_banned"] == ["ah"]


def test_the_ban_is_lifted_behind_the_marker(scripted, greedy):
    engine, prompts = scripted("abab</think>abab<eos>")
    one = ReflectionBan(("q",))(engine, prompts, greedy, 0)[0]
    assert engine.tokenizer.decode(one.token_ids) == "abab</think>abab<eos>"
    thinking, answer = (call.requests[0] for call in engine.calls)
    assert thinking.banned_ids and thinking.stop_ids and not answer.banned_ids and not answer.stop_ids
    engine.calls.clear()
    ReflectionBan(("q",), scope="all")(engine, prompts, greedy, 0)
    assert engine.calls[0].requests[0].banned_ids and not engine.calls[0].requests[0].stop_ids


def test_banned_tokens_are_never_drawn(tiny_engine, prompts, warm):
    letters = ("a", "b", "e", "i", "o", "x")
    found = ReflectionBan(letters, scope="all")(tiny_engine, prompts, warm, 0)
    banned = {tiny_engine.tokenizer.convert_tokens_to_ids(letter) for letter in (*letters, *map(str.upper, letters))}
    assert not banned & {token for one in found for token in one.token_ids}
