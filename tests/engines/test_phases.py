"""A row in several requests is the row in one, and what the program writes is marked."""

from __future__ import annotations

import dataclasses
import math

import pytest
from transformers import AutoModelForCausalLM

from tersely.core.seeds import continued_seed, sample_seed
from tersely.engines.base import Generation, GenerationRequest
from tersely.engines.models import load_tokenizer
from tersely.engines.phases import Row, draw, has_marker, run_scripts, stop_at
from tersely.engines.transformers import TransformersEngine

LENGTH = 24


@pytest.fixture(scope="module")
def engine(tiny_model):
    model = AutoModelForCausalLM.from_pretrained(tiny_model, dtype="float32")
    return TransformersEngine(model, load_tokenizer(str(tiny_model)))


def requests(count):
    return [GenerationRequest(tuple(range(5, 8 + i % 3)), sample_seed(0, 0, f"p{i}", 0), LENGTH) for i in range(count)]


@pytest.mark.parametrize("how", [{"temperature": 1.0}, {"temperature": 0.7, "top_p": 0.9}, {"temperature": 0}])
@pytest.mark.parametrize("cuts", [(1,), (5, 6, 17), tuple(range(1, LENGTH))])
def test_a_row_in_pieces_is_the_row_at_once(engine, how, cuts):
    asked = requests(6)
    rows = [Row(request.prompt_ids) for request in asked]

    def script(row, request):
        for at in (*cuts, LENGTH):
            yield from draw(row, request.seed, at - row.sampled)

    run_scripts(
        [script(row, request) for row, request in zip(rows, asked, strict=True)],
        lambda wanted: engine.generate(wanted, **how),
    )
    assert [row.generation() for row in rows] == engine.generate(asked, **how)


def test_a_piece_without_its_start_would_repeat_the_noise(engine):
    (request,) = requests(1)
    row = Row(request.prompt_ids)
    run_scripts([draw(row, request.seed, 8)], engine.generate)
    rest = row.request(request.seed, LENGTH - 8)
    assert rest.start == 8 and rest.prompt_ids == (*request.prompt_ids, *row.ids)
    again, continued = engine.generate([dataclasses.replace(rest, start=0), rest])
    assert again.token_ids != continued.token_ids


def test_a_stop_id_ends_a_phase_and_not_the_row(engine):
    (request,) = requests(1)
    whole = engine.generate([request])[0]
    row = Row(request.prompt_ids)
    run_scripts([draw(row, request.seed, LENGTH, stop_ids=whole.token_ids[3:4])], engine.generate)
    assert row.ids == list(whole.token_ids[: len(row.ids)]) and row.ids[-1] == whole.token_ids[3]
    assert row.finish is None and not row.cut


def test_an_engine_without_positions_gets_a_new_seed_for_each_piece():
    first, second = GenerationRequest((1,), 7, 3), GenerationRequest((1, 2), 7, 3, start=1)
    assert first.piece_seed == 7 and second.piece_seed == continued_seed(7, 1) not in (7, continued_seed(7, 2))
    assert 0 <= second.piece_seed < 2**63


def test_forced_tokens_are_marked_and_count_as_no_sampled_token():
    row = Row((1, 2))
    row.take(Generation((5, 6), (-0.5, -1.0), "stop"))
    row.write([7, 8])
    assert row.request(0, 4).start == 2
    row.take(Generation((9,), (-2.0,), "eos"))
    found = row.generation()
    assert found.token_ids == (5, 6, 7, 8, 9) and found.sampled_ids == (5, 6, 9)
    assert found.forced == (False, False, True, True, False) and found.finish == "eos"
    assert [math.isnan(value) for value in found.logprobs] == list(found.forced)


def test_a_branch_shares_the_first_ids_and_changes_nothing_of_its_trace():
    trace = Row((1,))
    trace.take(Generation((5, 6, 7), None, "eos"))
    branch = trace.branch(2)
    branch.write([9])
    assert (branch.ids, branch.prefix, branch.finish) == ([5, 6, 9], 2, None)
    assert (trace.ids, trace.finish, trace.generation().prefix) == ([5, 6, 7], "eos", 0)
    trace.shorten(1)
    assert (trace.ids, trace.forced, trace.finish) == ([5], [False], None)


def test_a_finished_row_and_a_phase_without_tokens_request_nothing():
    row = Row((1,))
    assert list(draw(row, 0, 0)) == []
    row.finish = "eos"
    assert list(draw(row, 0, 5)) == []
    assert row.generation().finish == "eos"


def test_a_rank_with_fewer_phases_takes_part_in_every_call():
    """The ranks of a collective engine make the same number of calls, also one without any row."""
    rounds = {0: 3, 1: 1, 2: 0}
    left = iter([True, True, True, False] * 3)

    def script(row, phases):
        for _ in range(phases):
            yield from draw(row, 0, 1)

    for phases in rounds.values():
        calls = []

        def generate(asked, calls=calls):
            calls.append(len(asked))
            return [Generation((4,), None, "length") for _ in asked]

        row = Row((1,))
        run_scripts([script(row, phases)], generate, lambda _: next(left))
        assert calls == [1] * phases + [0] * (3 - phases) and row.ids == [4] * phases


def test_only_a_marker_of_one_token_is_a_stop_id(engine):
    assert stop_at((3,)) == (3,) and stop_at((3, 4)) == () and has_marker(engine.tokenizer)
