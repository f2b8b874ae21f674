"""What we ask of vLLM's GPU builds, asked of their own code: see vllm_probe.py.

By default the tested version and the oldest one; TERSELY_CONTRACTS=all (`make contracts`) takes the window and what is
newer.
"""

from __future__ import annotations

import importlib.util
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from packaging.specifiers import SpecifierSet

from tersely.launch.preflight import doctor

FOLDER = Path(__file__).parent
spec = importlib.util.spec_from_file_location("contract_sources", FOLDER / "sources.py")
sources = importlib.util.module_from_spec(spec)
spec.loader.exec_module(sources)

VLLM = doctor.tested()["vllm"]
ALL = [str(version) for version in [*VLLM["contracts"], *VLLM["beyond"]]]
CHOSEN = ALL if os.environ.get("TERSELY_CONTRACTS") == "all" else [ALL[0], str(VLLM["tested"])]
TRAINING = ["GET /health", "GET /v1/models", "POST /v1/completions", "GET /server_info", "POST /collective_rpc"]
SERVED = [*TRAINING, "POST /reset_prefix_cache", "GET /weight_info", "POST /update_weight_version"]
GROUP = ["GET /get_world_size", *(f"POST /{name}_weight_update" for name in ("start", "finish"))]
GROUP += ["POST /init_weight_transfer_engine", "POST /update_weights"]

BORROWED = "nccl.py: vllm.distributed.weight_transfer.nccl_common.trainer_init"
"""Imported once `NCCL.usable` has found it."""

pytestmark = [pytest.mark.vllm, pytest.mark.slow, pytest.mark.timeout(900)]


@pytest.fixture(scope="module", params=CHOSEN)
def version(request):
    return request.param


@pytest.fixture(scope="module")
def found(version):
    pytest.importorskip("vllm", reason="vLLM is not installed, nor what its modules import: make engines")
    try:
        tree = sources.python_files("vllm", version)
    except sources.NoSources as error:
        reason = f"the sources of vLLM {version} are out of reach: {error}"
        pytest.fail(reason) if os.environ.get("TERSELY_CI") == "1" else pytest.skip(reason)
    path = os.pathsep.join([str(tree), str(FOLDER.parents[1])])
    done = subprocess.run(
        [sys.executable, str(FOLDER / "vllm_probe.py")],
        env={**os.environ, "PYTHONPATH": path, "VLLM_LOGGING_LEVEL": "ERROR", "HF_HUB_OFFLINE": "1"},
        capture_output=True,
        text=True,
        timeout=800,
    )
    assert done.returncode == 0, done.stderr[-4000:]
    facts = json.loads(next(line for line in done.stdout.splitlines() if line.startswith("FOUND "))[6:])
    assert facts["tree"] == str(tree)
    return facts


def test_the_engine_takes_our_arguments(found):
    assert found["arguments"] == []


def test_a_model_with_steering_vectors_is_a_llama_with_biases(found):
    assert found["steering"] == {"architecture": "LlamaForCausalLM", "biases": [True, True], "strict": False}


def test_the_server_takes_our_words(found):
    made = found["command"]
    assert made["words"] == ["-m", "vllm.entrypoints.openai.api_server"]
    assert made["generation_config"] == "vllm" and made["logprobs_mode"] == "processed_logprobs"
    assert made["logits_processors"] == ["tersely.engines.vllm_logits:AdaptiveTemperature"] and made["port"] == 8000


def test_a_request_is_sampled_as_it_says(found):
    """The server's model recommends another sampling, as Qwen2.5's generation config does."""
    neutral = {"temperature": 1.0, "top_p": 1.0, "min_p": 0.0, "repetition_penalty": 1.0}
    neutral |= {
        "presence_penalty": 0.0,
        "frequency_penalty": 0.0,
        "seed": 2**62,
        "max_tokens": 9,
        "bias": {"5": -100.0},
    }
    for body in (found["sampling"]["eval"], found["sampling"]["rl"]):
        assert {key: body[key] for key in neutral} == neutral and body["top_k"] in (0, -1)
        assert body["token_ids"] is True and body["unknown"] == []
    assert (found["sampling"]["eval"]["stop"], found["sampling"]["rl"]["stop"]) == ([7], [2, 7])


def test_the_model_runner_is_the_one_that_our_processor_is_made_for(found, version):
    """A processor gives up runner V2 before 0.31; from then on the V2 class is loaded."""
    assert found["runner"]["defaults"] == {} and found["runner"]["generation_config_read"]
    assert found["runner"]["adaptive"] is (version in SpecifierSet(">=0.31"))
    assert found["runner"]["plain"] is (version in SpecifierSet(">=0.25")), "of a recipe with a fixed temperature"


def test_the_loaders_accept_our_processor_and_it_scales_as_it_should(found, version):
    made = found["processors"]
    assert made["v1_number"] == 1 and made["v1"] < 1e-5
    assert ("v2" in made) is (version in SpecifierSet(">=0.31")) and made.get("v2", 0.0) < 1e-5


def test_the_endpoints_are_there(found, version):
    missing = [route for route in SERVED if route not in found["routes"]]
    assert (not missing) is (version in SpecifierSet(VLLM["servers"])), missing
    if version in SpecifierSet(VLLM["nccl"]):
        assert not [route for route in GROUP if route not in found["routes"]]


def test_weights_are_sent_packed_where_they_are_received_packed(found, version):
    assert found["transfer"]["usable"] is (version in SpecifierSet(VLLM["nccl"]))
    assert found["transfer"].get("packed", True)


def test_an_engine_wakes_the_parts_that_sleep(found):
    assert found["sleep"] == {"weights": True, "kv_cache": True}


def test_what_our_engine_reaches_into_is_there(found, version):
    """Attributes of the engine, its worker and both model runners; environment variables; imports; the loop of `generate`."""
    inside = found["internals"]
    assert {"llm_engine.model_executor.driver_worker.model_runner", "model.load_weights"} <= set(inside["chains"])
    assert inside["missing"] == [] and inside["conflicts"] == [] and inside["variables"] == [] and inside["steps"]
    assert set(inside["imports"]) <= (set() if version in SpecifierSet(VLLM["nccl"]) else {BORROWED})


def test_our_engine_samples_through_vllms_own_classes(found):
    made = found["internals"]["generated"]
    assert made["drawn"] == [[4, 7], [-0.25, -0.25], "stop"]
    assert (made["seed"], made["temperature"], made["max_tokens"], made["stop_token_ids"]) == (2**62, 0.5, 9, [2, 7])
    assert (made["logprobs"], made["flat_logprobs"], made["detokenize"]) == (0, True, False)


def test_the_servers_application_answers_our_clients(found):
    """Over HTTP, with the key: a completion with log-probs and the adaptive temperature, and one for an evaluation."""
    served = found["served"]
    assert {path: served[f"no key {path}"] for path in ("/health", "/weight_info", "/v1/models")} == {
        "/health": 200,
        "/weight_info": 401,
        "/v1/models": 401,
    }
    drawn = {"tokens": [4, 2], "finish": "eos", "context": 128}
    assert served["eval"] == drawn
    assert served["rl"] == {**drawn, "logprobs": [-0.25, -0.25], "seed": 2**62, "asked": True, "counted": 0.0}


def test_weights_through_a_folder_reach_the_workers(found, version):
    made = found["served"]["folder"]
    if version not in SpecifierSet(VLLM["servers"]):
        assert (
            made["methods"] == [] and all(VLLM["servers"].strip(">=") in text for text in made["down"]) and made["down"]
        )
        return
    assert made["down"] == [] and made["ways"] == ["files"] and not made["stale_head"] and made["name"] == "second"
    assert made["methods"] == ["reload_weights", "repack_tied_head"] and made["keywords"] == ["weights_path"]
    assert made["reset"] == 1 and made["offer"] == {"backend": "nccl", "dtype": "float32"}


def test_weights_over_a_group_are_announced_in_order(found, version):
    if version in SpecifierSet(VLLM["nccl"]):
        expected = ["init_weight_transfer_engine", "start_weight_update", "update_weights", "finish_weight_update"]
        assert found["served"]["group"] == expected
