from tersely.eval.decoding.forced_answer import ForcedAnswer

TRACE = "1234567890</think>so \\boxed{5}<eos>"


def text(engine, one):
    return engine.tokenizer.decode(one.token_ids)


def test_one_trace_many_budgets(scripted, greedy):
    engine, prompts = scripted(TRACE, {"\\boxed{": "7}<eos>"})
    found = ForcedAnswer(budgets=(0, 4, 11, 12, 50))(engine, prompts, greedy, 0)
    texts = [text(engine, one) for one in found]
    forced = "\n</think>\n\n**Final Answer**\n\\boxed{7}<eos>"
    assert texts == [forced, "1234" + forced, TRACE, TRACE, TRACE], "the end marker is the eleventh token of thinking"
    assert [one.finish for one in found] == ["forced", "forced", "eos", "eos", "eos"]
    assert found[2].token_ids == found[4].token_ids
    prefix = len(engine.ids("\n</think>\n\n**Final Answer**\n\\boxed{"))
    assert sum(found[1].injected) == prefix and found[1].cost == 4 + prefix + 3
    assert found[1].thinking_length == 4 + 2
    assert sum(len(call.requests) for call in engine.calls) == 4, "the trace, its own answer, two forced ones"
    assert engine.calls[0].requests[0].max_new_tokens == 50


def test_one_budget_equals_that_budget_of_many(scripted, greedy):
    engine, prompts = scripted(TRACE)
    many = ForcedAnswer(budgets=(0, 4, 11, 50))(engine, prompts, greedy, 0)
    for budget, one in zip((0, 4, 11, 50), many, strict=True):
        assert ForcedAnswer(budget=budget)(engine, prompts, greedy, 0)[0].token_ids == one.token_ids


def test_the_answer_has_a_cap_of_its_own(scripted, greedy):
    engine, prompts = scripted(TRACE, {"\\boxed{": "7" * 99}, cap=6)
    one = ForcedAnswer(budget=5, answer_tokens=8)(engine, prompts, greedy, 0)[0]
    assert one.finish == "forced" and one.truncated and text(engine, one).endswith("{" + "7" * 8)


def test_a_trace_cut_by_the_plain_cap_is_not_forced(scripted, greedy):
    engine, prompts = scripted(TRACE, cap=6)
    one = ForcedAnswer(budget=9)(engine, prompts, greedy, 0)[0]
    assert (one.finish, one.cost, sum(one.injected)) == ("length", 6, 0)
    assert ForcedAnswer(budget=6)(engine, prompts, greedy, 0)[0].finish == "forced", "the budget itself was reached"


def test_a_trace_that_ends_without_the_marker(scripted, greedy):
    engine, prompts = scripted("12345<eos>")
    assert ForcedAnswer(budget=6)(engine, prompts, greedy, 0)[0].finish == "eos"
    assert ForcedAnswer(budget=3)(engine, prompts, greedy, 0)[0].finish == "forced"
