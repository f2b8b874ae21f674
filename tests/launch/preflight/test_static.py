"""The first half second of a run: what is refused, what is said, and what it costs."""

from __future__ import annotations

import re
import time
from types import SimpleNamespace

import pytest

from tersely.configs.load import load_recipe
from tersely.core.errors import ConfigError
from tersely.core.findings import Finding
from tersely.launch.preflight import doctor, machine
from tersely.launch.preflight import static as checks
from tersely.rl.config import checked


def levels(recipe) -> dict[str, list[str]]:
    found: dict[str, list[str]] = {}
    for finding in checks.cheap(recipe):
        found.setdefault(finding.level, []).append(finding.line)
    return found


def alp(**changes):
    return checked(load_recipe("testbed/alp", changes))


def test_a_shipped_recipe_passes_quickly_and_says_nothing():
    found: list[Finding] = []
    checks.check_run(alp(), found.append)
    began = time.process_time()
    checks.check_run(alp(), found.append)
    assert time.process_time() - began < 0.5
    assert found == []


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"model_name_or_path": "/nowhere/model"}, "/nowhere/model"),
        ({"dataset": {"path": "missing.jsonl"}}, "missing.jsonl"),
        ({"vllm_max_model_length": 256, "engine": "vllm"}, "vllm_max_model_length"),
    ],
)
def test_what_cannot_work_is_refused_with_the_way_round(changes, words):
    with pytest.raises(ConfigError, match=words) as error:
        checks.check_run(alp(**changes), lambda _: None)
    assert str(error.value).startswith("preflight: ") and "--skip-preflight" in str(error.value)


def test_a_later_stage_is_checked_too():
    stages = [{"name": "one", "steps": 2}, {"name": "two", "steps": 2, "settings": {"max_completion_length": 4096}}]
    recipe = alp(stages=stages, engine="vllm", vllm_max_model_length=512)
    assert any(line.startswith("stage two") for line in levels(recipe)["fail"])


def test_a_folder_without_a_model(tmp_path):
    assert checks.model_place(str(tmp_path)).level == "fail"
    (tmp_path / "config.json").write_text("{}")
    assert "no weights" in checks.model_place(str(tmp_path)).text


def test_a_hub_model_offline(monkeypatch, tmp_path):
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    finding = checks.model_place("nobody/has-this-model")
    assert finding.level == "fail" and "HF_HUB_OFFLINE" in finding.text
    monkeypatch.delenv("HF_HUB_OFFLINE")
    assert checks.model_place("nobody/has-this-model").level == "note"


@pytest.mark.parametrize("how", [{"trust_remote_code": True}, {"model_init_kwargs": {"trust_remote_code": True}}])
def test_remote_code_is_off_and_said_aloud_when_asked_for(how):
    assert not list(checks.remote_code({}))
    found: list[Finding] = []
    checks.check_run(alp(**how), found.append)
    assert ["trust_remote_code" in finding.text for finding in found] == [True]


@pytest.mark.parametrize("skipped", [["--skip-preflight"], ["--preflight", "false"], []])
def test_remote_code_is_said_aloud_without_the_checks_too(monkeypatch, tmp_path, capsys, skipped):
    from tersely.launch.cli import train

    monkeypatch.setattr(train, "train_checked", lambda recipe, resume: None)
    start = ["--config", "testbed/alp", "--run_dir", str(tmp_path), *skipped]
    assert train.main([*start, "--trust_remote_code", "true"]) == 0
    assert capsys.readouterr().out.count("will run as you, with your files and keys") == 1
    assert train.main(start) == 0 and "will run as you" not in capsys.readouterr().out


def test_remote_code_is_off_where_nobody_asked():
    from tersely.rl.config import grpo_config, objective_of

    run = alp()
    assert grpo_config(run, objective_of(run), 1).trust_remote_code is False


def test_a_full_disk(monkeypatch):
    monkeypatch.setattr(checks.shutil, "disk_usage", lambda _: SimpleNamespace(free=1 << 20))
    with pytest.raises(ConfigError, match="disk: .*GiB free in .*--run_dir"):
        checks.check_run(alp(run_dir="/tmp/not/there/yet"), lambda _: None)


def test_an_absent_engine_and_a_wrong_version(monkeypatch):
    real = doctor.installed

    def other(name, row):
        return {"vllm": (None, "vllm"), "trl": ("0.20.0", "trl")}.get(name) or real(name, row)

    monkeypatch.setattr(doctor, "installed", other)
    bad = levels(alp(engine="vllm"))["fail"]
    assert any(line.startswith("vllm: not installed") for line in bad)
    assert any("0.20.0 is outside" in line for line in bad)
    assert not any("vllm" in line for line in levels(alp())["fail"])


def test_zero3_that_generates_with_the_model_is_said(monkeypatch):
    monkeypatch.setenv("ACCELERATE_USE_DEEPSPEED", "true")
    monkeypatch.setenv("ACCELERATE_DEEPSPEED_ZERO_STAGE", "3")
    assert any("weights" in line for line in levels(alp())["warn"])


def test_idle_gpus_are_named(monkeypatch):
    monkeypatch.setattr(machine, "visible_gpus", lambda: 4)
    monkeypatch.delenv("WORLD_SIZE", raising=False)
    assert any("4 GPUs are visible" in line for line in levels(alp())["note"])


def test_a_run_starts_with_the_checks_unless_told_otherwise(monkeypatch, tmp_path):
    from tersely.launch.cli import train

    started: list[str] = []
    monkeypatch.setattr(train, "train_checked", lambda recipe, resume: started.append(recipe.run_dir))
    bad = ["--config", "testbed/alp", "--model_name_or_path", "/nowhere/model", "--run_dir", str(tmp_path)]
    with pytest.raises(ConfigError, match="/nowhere/model"):
        train.main(bad)
    assert not started
    assert train.main([*bad, "--skip-preflight"]) == train.main([*bad, "--preflight", "false"]) == 0
    assert len(started) == 2


@pytest.fixture
def server():
    """`server(answers)`: an address where each path answers (status, JSON); a path that is not there is a 404."""
    import http.server
    import json
    import threading

    up = []

    def make(answers):
        class Handler(http.server.BaseHTTPRequestHandler):
            def do_GET(self):
                status, body = answers.get(self.path, (404, {}))
                text = json.dumps(body).encode()
                self.send_response(status)
                self.send_header("Content-Length", str(len(text)))
                self.end_headers()
                self.wfile.write(text)

            def log_message(self, *_): ...

        made = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        threading.Thread(target=made.serve_forever, daemon=True).start()
        up.append(made)
        return f"http://127.0.0.1:{made.server_address[1]}"

    yield make
    for one in up:
        one.shutdown()
        one.server_close()


HEALTHY = {
    "/health": (200, None),
    "/v1/models": (200, {"data": [{"id": "m", "max_model_len": 512}]}),
    "/weight_info": (200, {"weight_version": "default"}),
}


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({}, None),
        ({"/v1/models": (401, {})}, "401.*TERSELY_SERVER_KEY"),
        ({"/weight_info": (404, {})}, "404.*tersely serve"),
        ({"/health": (503, {})}, "no answer.*503"),
        ({"/v1/models": (200, {"data": [{"id": "m", "max_model_len": 64}]})}, "64 tokens"),
        ({"/v1/models": (200, {})}, "server: .* vLLM server"),
    ],
)
def test_named_servers_are_probed(server, changes, words):
    recipe = alp(engine="vllm_server", servers=[server({**HEALTHY, **changes}) + "/v1"], max_completion_length=128)
    found = levels(recipe)
    if words is None:
        assert "fail" not in found and any("m, 512 tokens" in line for line in found["ok"])
    else:
        assert re.search(words, " ".join(found["fail"]))


def test_a_server_that_is_not_there_is_refused():
    from tersely.engines.server.launch import free_port

    recipe = alp(engine="vllm_server", servers=[f"http://127.0.0.1:{free_port()}"])
    with pytest.raises(ConfigError, match="server: no answer.*`tersely launch local`"):
        checks.check_run(recipe, lambda _: None)
