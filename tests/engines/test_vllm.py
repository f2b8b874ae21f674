"""The real vLLM engine against transformers in float32, and what happens when its weights are stale."""

from __future__ import annotations

import json
import time

import pytest
import torch
from support import phased

from tersely.algorithms.sampling.hapo_temperature import HAPOTemperature
from tersely.core import heartbeat
from tersely.engines.base import GenerationRequest, StaleEngineError

vllm = pytest.mark.vllm


def requests(count=8, length=12):
    return [GenerationRequest(tuple(range(5, 9 + i % 4)), 1000 + i, length) for i in range(count)]


def start(folder):
    pytest.importorskip("vllm", reason="vLLM is not installed: make engines")
    from tersely.engines.models import load_tokenizer
    from tersely.engines.vllm import VLLMEngine

    return VLLMEngine(str(folder), load_tokenizer(str(folder)), max_model_len=256)


def weights(folder):
    from transformers import AutoModelForCausalLM

    return AutoModelForCausalLM.from_pretrained(folder, dtype="float32")


@pytest.fixture(scope="module")
def engine(tiny_model):
    made = start(tiny_model)
    yield made
    made.close()


@pytest.fixture
def model(tiny_model, engine):
    """The checkpoint's weights in transformers, and in the engine."""
    loaded = weights(tiny_model)
    engine.sync_weights(loaded, 0)
    return loaded


@pytest.fixture(scope="module")
def tied_folder(tiny_model, tmp_path_factory):
    """The tiny model with one matrix for both embeddings."""
    from transformers import AutoConfig, AutoModelForCausalLM

    from tersely.engines.models import load_tokenizer

    folder = tmp_path_factory.mktemp("tied")
    config = AutoConfig.from_pretrained(tiny_model, tie_word_embeddings=True)
    AutoModelForCausalLM.from_config(config, dtype=torch.float32).save_pretrained(folder)
    load_tokenizer(str(tiny_model)).save_pretrained(folder)
    assert json.loads((folder / "config.json").read_text())["tie_word_embeddings"]
    return folder


@pytest.fixture(scope="module")
def tied_engine(tied_folder):
    made = start(tied_folder)
    assert made.tied
    yield made
    made.close()


def largest_gap(model, generations, asked):
    worst = 0.0
    for generation, request in zip(generations, asked, strict=True):
        ids = torch.tensor([[*request.prompt_ids, *generation.token_ids]])
        with torch.no_grad():
            logps = model(ids).logits.log_softmax(-1)[0, len(request.prompt_ids) - 1 :]
        for place, (token, reported) in enumerate(zip(generation.token_ids, generation.logprobs, strict=True)):
            worst = max(worst, abs(logps[place, token].item() - reported))
    return worst


def assert_follows(engine, model):
    """Five changes of every weight in place: stale before each synchronisation, equal after it."""
    for version in range(1, 6):
        with torch.no_grad():
            for parameter in model.parameters():
                parameter.add_(0.02 * torch.randn_like(parameter))
        stale = largest_gap(model, engine.generate(requests()), requests())
        engine.sync_weights(model, version)
        fresh = largest_gap(model, engine.generate(requests()), requests())
        assert fresh < 1e-4 and stale > 5e-3
    assert engine.facts()["version"] == 5


@vllm
def test_greedy_tokens_and_logprobs_equal_transformers(engine, model):
    from tersely.engines.transformers import TransformersEngine

    ours = TransformersEngine(model, engine.tokenizer).generate(requests(), temperature=0)
    theirs = engine.generate(requests(), temperature=0)
    assert [g.token_ids for g in ours] == [g.token_ids for g in theirs]
    assert largest_gap(model, engine.generate(requests()), requests()) < 1e-4
    assert engine.facts()["dtype"] == "float32"


@vllm
def test_a_sample_does_not_depend_on_its_batch(engine, model):
    together = [g.token_ids for g in engine.generate(requests())]
    assert together == [g.token_ids for g in engine.generate(requests()[::-1])][::-1]
    assert together[3] == engine.generate(requests()[3:4])[0].token_ids
    assert len(set(together)) == len(together)
    other_seeds = [GenerationRequest(r.prompt_ids, r.seed + 100, r.max_new_tokens) for r in requests()]
    assert not set(together) & {g.token_ids for g in engine.generate(other_seeds)}


@vllm
def test_logprobs_are_at_the_sampling_temperature(engine, model):
    asked = requests()
    for generation, request in zip(engine.generate(asked, temperature=0.7), asked, strict=True):
        ids = torch.tensor([[*request.prompt_ids, *generation.token_ids]])
        with torch.no_grad():
            logps = (model(ids).logits / 0.7).log_softmax(-1)[0, len(request.prompt_ids) - 1 : -1]
        expected = logps.gather(1, torch.tensor(generation.token_ids).unsqueeze(1)).squeeze(1)
        torch.testing.assert_close(torch.tensor(generation.logprobs), expected, atol=1e-4, rtol=0)


@vllm
def test_a_row_in_phases_goes_on_from_what_was_written(engine, model):
    """Greedy tokens are those of transformers; sampled ones have the model's log-probs, and a seed of their own per piece."""
    from tersely.engines.phases import Row, draw, run_scripts

    def rows_of(generate):
        rows = [Row(request.prompt_ids) for request in requests()]

        def script(row, request):
            yield from draw(row, request.seed, 5)
            row.write([9, 8, 7])
            yield from draw(row, request.seed, 6)

        run_scripts([script(row, request) for row, request in zip(rows, requests(), strict=True)], generate)
        return [row.generation() for row in rows]

    greedy = [rows_of(lambda asked, on=on: on.generate(asked, temperature=0)) for on in (engine, ours(engine, model))]
    assert [g.token_ids for g in greedy[0]] == [g.token_ids for g in greedy[1]]
    seeds = []
    sampled = rows_of(lambda asked: seeds.append([request.piece_seed for request in asked]) or engine.generate(asked))
    assert not set(seeds[0]) & set(seeds[1])
    for generation, request in zip(sampled, requests(), strict=True):
        ids = torch.tensor([[*request.prompt_ids, *generation.token_ids]])
        with torch.no_grad():
            logps = model(ids).logits.log_softmax(-1)[0, len(request.prompt_ids) - 1 : -1]
        reported = torch.tensor(generation.logprobs)
        assert reported.isnan().tolist() == list(generation.forced) and any(generation.forced)
        expected = logps.gather(1, torch.tensor(generation.token_ids).unsqueeze(1)).squeeze(1)
        torch.testing.assert_close(reported[~reported.isnan()], expected[~reported.isnan()], atol=1e-4, rtol=0)


@vllm
@pytest.mark.parametrize("kind", phased.PLANS)
def test_budgets_and_exits_write_and_sample_what_they_do_on_transformers(engine, model, kind):
    plans = phased.PLANS[kind]
    found, expected = (
        phased.decoded(engine.tokenizer, plans, on, temperature=0) for on in (engine, ours(engine, model))
    )
    assert [(g.token_ids, g.forced, g.prefix) for g in found] == [(g.token_ids, g.forced, g.prefix) for g in expected]
    assert any(any(g.forced) for g in found)


def ours(engine, model):
    from tersely.engines.transformers import TransformersEngine

    return TransformersEngine(model, engine.tokenizer)


@vllm
def test_caps_and_ends_are_with_unique_names(engine, model):
    """Ends are made likely, so that some rows end, some are cut, and each is cut at its own cap."""
    ending = [GenerationRequest((5, 6, 7), 50 + i, 1 + i) for i in range(24)]
    with torch.no_grad():
        model.lm_head.weight[engine.tokenizer.eos_token_id] += 0.5 * model.lm_head.weight.abs().max()
        model.model.norm.weight.fill_(3.0)
    engine.sync_weights(model, 1)
    generations = engine.generate(ending)
    for request, generation in zip(ending, generations, strict=True):
        ended = generation.token_ids[-1] == engine.tokenizer.eos_token_id
        assert generation.finish == ("eos" if ended else "length")
        assert ended or len(generation.token_ids) == request.max_new_tokens
        assert engine.tokenizer.eos_token_id not in generation.token_ids[:-1]
        assert len(generation.logprobs) == len(generation.token_ids) <= request.max_new_tokens
    assert {g.finish for g in generations} == {"eos", "length"}


@vllm
def test_what_does_not_fit_the_context_is_an_error(engine):
    with pytest.raises(
        ValueError, match=r"prompt of 250 tokens.*up to 7 need 257.*256 tokens. Raise vllm_max_model_len"
    ):
        engine.generate([GenerationRequest((5,) * 250, 1, 7)])
    assert engine.generate([]) == []
    with pytest.raises(ValueError, match="engine: transformers"):
        engine.generate(requests(), temperature=lambda logits: logits)
    with pytest.raises(ValueError, match="created for a fixed temperature"):
        engine.generate(requests(), temperature=HAPOTemperature())


@vllm
@pytest.mark.parametrize("beating", [True, False])
def test_a_generation_longer_than_the_deadline_goes_on_as_each_step_is_progress(engine, tmp_path, monkeypatch, beating):
    """The real watch beside the real engine, whose steps are slowed so that the whole outlasts the deadline."""
    from tersely.engines import vllm as vllm_engine
    from tersely.rl import watchdog

    core, gave_up = engine.llm.llm_engine.engine_core, []
    output = core.get_output
    monkeypatch.setattr(core, "get_output", lambda: time.sleep(0.03) or output())
    if not beating:
        monkeypatch.setattr(vllm_engine, "beat", lambda: None)
    watch = watchdog.Watch(tmp_path, 2.0)
    monkeypatch.setattr(watch, "_give_up", gave_up.append)
    monkeypatch.setattr(heartbeat, "listener", watch)
    asked = [GenerationRequest((5, 6, 7), seed, 200, banned_ids=(engine.tokenizer.eos_token_id,)) for seed in range(4)]
    watch.start()
    try:
        made = engine.generate(asked)
    finally:
        watch.stop()
    assert [len(one.token_ids) for one in made] == [200] * 4
    assert not gave_up and watch.beats > 200 if beating else gave_up


@vllm
def test_synchronised_weights_are_the_ones_sampled_from(engine, model):
    assert_follows(engine, model)


@vllm
def test_a_tied_head_is_synchronised_too(tied_engine, tied_folder):
    model = weights(tied_folder)
    tied_engine.sync_weights(model, 0)
    assert_follows(tied_engine, model)
    assert not tied_engine.facts()["stale_head"]


@vllm
def test_training_through_the_engine_keeps_the_gap_small(engine, model, make_trainer):
    trainer = make_trainer(engine=engine, max_steps=4, learning_rate=1e-2)
    trainer.train()
    gaps = [row["mismatch/mean"] for row in trainer.state.log_history if "mismatch/mean" in row]
    assert len(gaps) == 4 and max(gaps) < 1e-4
    assert engine.facts()["version"] == 3


@vllm
@pytest.mark.parametrize("prompting", [pytest.param("hbpo", marks=pytest.mark.exhaustive), "adaptthink"])
def test_plans_that_differ_inside_a_group_reach_the_engine(engine, model, make_trainer, monkeypatch, prompting):
    """Prefills that belong to the prompt (hbpo) and ones that are trained on (adaptthink), each row its own."""
    asked = []
    generate = engine.generate
    monkeypatch.setattr(engine, "generate", lambda rows, **how: (asked.append(rows), generate(rows, **how))[1])
    trainer = make_trainer(engine=engine, max_steps=1, prompting=prompting, max_completion_length=16)
    trainer.train()
    (batch,) = asked
    assert len(batch) == 16 and all(len({row.prompt_ids for row in batch[i : i + 4]}) > 1 for i in range(0, 16, 4))
    assert [row["prompting"] != "" for row in trainer.logged_rows].count(True) > 4
    assert trainer.state.log_history[0]["mismatch/mean"] < 1e-4


@vllm
def test_weights_that_are_not_synchronised_stop_the_run(engine, model, make_trainer, monkeypatch):
    trainer = make_trainer(engine=engine, max_steps=8, learning_rate=5e-2)
    sync = engine.sync_weights
    monkeypatch.setattr(engine, "sync_weights", lambda model, version: sync(model, version) if version == 0 else None)
    with pytest.raises(StaleEngineError, match="weights of step 0"):
        trainer.train()


@vllm
def test_a_tied_head_left_as_it_was_stops_the_run(tied_engine, tied_folder, make_trainer, monkeypatch):
    """The packed head of vLLM's CPU engine goes stale when nothing packs it again; everything else is synchronised."""
    from tersely.engines import vllm_weights

    if not tied_engine.on_cpu:
        pytest.skip("only the CPU engine packs its weights")
    tied_engine.sync_weights(weights(tied_folder), 0)
    monkeypatch.setattr(vllm_weights, "repack_tied_head", lambda model: False)
    trainer = make_trainer(
        engine=tied_engine,
        model_name_or_path=str(tied_folder),
        max_steps=30,
        learning_rate=2e-2,
        guards={"mismatch": {"threshold": 0.02}},
    )
    with pytest.raises(StaleEngineError, match="threshold 0.02.*embeddings are tied"):
        trainer.train()
    gaps = [row["mismatch/mean"] for row in trainer.state.log_history]
    assert gaps[0] < 1e-4 and gaps == sorted(gaps)  # equal at first, then it grows step by step


@vllm
@pytest.mark.parametrize("method", ["lora", "dora"])
def test_training_an_adapter_through_the_engine_keeps_the_gap_small(engine, model, make_trainer, method):
    """The engine gets the merged weights, and the trainer's base stays as it was, to the last bit."""
    pytest.importorskip("peft", reason="peft is not installed: pip install 'tersely[lora]'")
    base = {name: value.clone() for name, value in model.state_dict().items()}
    trainer = make_trainer(engine=engine, max_steps=4, learning_rate=5e-2, peft={"rank": 4, "method": method})
    trainer.train()
    gaps = [row["mismatch/mean"] for row in trainer.state.log_history if "mismatch/mean" in row]
    assert len(gaps) == 4 and max(gaps) < 1e-4
    assert largest_gap(trainer.model, engine.generate(requests()), requests()) > 5e-3, "it has moved since"
    engine.sync_weights(trainer.model, 4)
    assert largest_gap(trainer.model, engine.generate(requests()), requests()) < 1e-4
    state = trainer.model.get_base_model().state_dict()
    found = {name.replace(".base_layer.", "."): value for name, value in state.items() if "lora_" not in name}
    assert found.keys() == base.keys() and all(torch.equal(found[name], base[name]) for name in base)


@vllm
def test_steering_vectors_are_sampled_from(tied_folder, make_trainer, tmp_path):
    """In training, and in an evaluation of the saved adapter. The engine has the Qwen2 model as a Llama with biases."""
    pytest.importorskip("peft", reason="peft is not installed: pip install 'tersely[lora]'")
    from tersely.engines.base import EngineSettings
    from tersely.engines.factory import create_engine
    from tersely.engines.models import load_tokenizer

    tokenizer = load_tokenizer(str(tied_folder))
    recipe = {"model_name_or_path": str(tied_folder), "peft": {"method": "steering", "layers": [1]}}
    settings = EngineSettings(tokenizer, str(tied_folder), max_model_len=256, steered=True)
    engine = create_engine("vllm", settings)
    try:
        trainer = make_trainer(engine=engine, max_steps=4, learning_rate=1e-1, **recipe)
        trainer.train()
        gaps = [row["mismatch/mean"] for row in trainer.state.log_history if "mismatch/mean" in row]
        assert len(gaps) == 4 and max(gaps) < 1e-4
        assert largest_gap(trainer.model, engine.generate(requests()), requests()) > 5e-3, "it has moved since"
        trainer.save_final(tmp_path / "final")
    finally:
        engine.close()
    engine = create_engine("vllm", EngineSettings(tokenizer, str(tmp_path / "final"), max_model_len=256))
    try:
        assert largest_gap(trainer.model, engine.generate(requests()), requests()) < 1e-4
    finally:
        engine.close()
