"""What `tersely serve`, `launch/servers.py` and `wait_for_servers` start, refuse and end; vLLM: tests/e2e/test_served.py."""

from __future__ import annotations

import http.server
import json
import os
import shlex
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest
import yaml

from tersely.core.errors import ConfigError
from tersely.engines.sampling import PROCESSOR
from tersely.launch import servers as with_servers
from tersely.launch.cli import launch_local, serve
from tersely.launch.cli import wait_for_servers as probe
from tersely.launch.preflight import machine

ROOT = Path(__file__).parents[3]
STAND_IN = """
import http.server, os, sys
class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(200); self.send_header("Content-Length", "0"); self.end_headers()
    def log_message(self, *_): ...
print("serving with", os.environ.get("CUDA_VISIBLE_DEVICES"), flush=True)
if sys.argv[-1].endswith("7"):
    sys.exit("the port is bad luck")
http.server.ThreadingHTTPServer(("127.0.0.1", int(sys.argv[-1])), Handler).serve_forever()
"""


def words(argv, capsys):
    assert serve.main([*argv, "--dry-run"]) == 0
    return shlex.split(capsys.readouterr().out)


def test_the_command_says_what_training_needs_and_no_key(capsys, monkeypatch):
    monkeypatch.setenv("TERSELY_SERVER_KEY", "a-secret-of-mine")
    found = words(["testbed/alp", "--port", "8123", "--vllm_max_model_length", "512", "--seed", "3"], capsys)
    options = dict(zip(found, found[1:], strict=False))
    assert (options["--host"], options["--port"]) == ("127.0.0.1", "8123")
    assert (options["--max-model-len"], options["--seed"]) == ("512", "3")
    assert options["--logprobs-mode"] == "processed_logprobs" and options["--middleware"].endswith("KeyOnEveryPath")
    assert "a-secret-of-mine" not in " ".join(found) and "--trust-remote-code" not in found
    from tersely.engines.server.launch import server_environment

    assert server_environment()["VLLM_API_KEY"] == "a-secret-of-mine"


def test_a_server_of_steering_vectors_has_the_model_as_a_llama(capsys):
    found = words(["testbed/alp", "--peft.method", "steering"], capsys)
    assert json.loads(found[found.index("--hf-overrides") + 1])["architectures"] == ["LlamaForCausalLM"]
    assert "--hf-overrides" not in words(["testbed/alp", "--peft.rank", "4"], capsys)


def test_a_server_samples_as_requests_say_and_loads_a_processor_only_for_an_adaptive_one(capsys, tmp_path):
    """In a stage too; the model's generation config never decides."""
    plain = words(["testbed/alp"], capsys)
    assert plain[plain.index("--generation-config") + 1] == "vllm" and "--logits-processors" not in plain
    adaptive = words(["testbed/alp", "--sampling", "hapo_temperature"], capsys)
    assert adaptive[adaptive.index("--logits-processors") + 1] == PROCESSOR
    recipe = {**yaml.safe_load((ROOT / "tersely/configs/recipes/testbed/alp.yaml").read_text()), "max_steps": 8}
    recipe["stages"] = [{"name": "a", "share": 0.5}, {"name": "b", "share": 0.5, "sampling": "hapo_temperature"}]
    (tmp_path / "staged.yaml").write_text(yaml.safe_dump(recipe))
    staged = words([str(tmp_path / "staged.yaml")], capsys)
    assert staged[staged.index("--logits-processors") + 1] == PROCESSOR and staged.count("--logits-processors") == 1


@pytest.mark.parametrize("gpu", [True, False])
def test_a_server_on_a_gpu_takes_its_weights_over_nccl(capsys, monkeypatch, gpu):
    import torch

    monkeypatch.setattr(torch.cuda, "is_available", lambda: gpu)
    found = words(["testbed/alp"], capsys)
    options = dict(zip(found, found[1:], strict=False))
    assert options.get("--weight-transfer-config") == ('{"backend": "nccl"}' if gpu else None)
    assert ("--enforce-eager" in found) is not gpu and ("--gpu-memory-utilization" in found) is gpu


@pytest.mark.parametrize(
    ("engine", "more", "share"),
    [
        ("vllm", [], "0.9"),
        ("vllm", ["--engine", "vllm_server"], "0.9"),
        ("vllm_server", [], "0.45"),
        ("vllm", ["--vllm_gpu_memory_utilization", "0.6"], "0.6"),
    ],
)
def test_a_server_does_not_inherit_the_share_beside_a_trainer(capsys, monkeypatch, tmp_path, engine, more, share):
    import torch

    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    recipe = yaml.safe_load((ROOT / "tersely/configs/recipes/testbed/alp.yaml").read_text())
    path = tmp_path / "own.yaml"
    path.write_text(yaml.safe_dump({**recipe, "engine": engine, "vllm_gpu_memory_utilization": 0.45}))
    found = words([str(path), *more], capsys)
    assert found[found.index("--gpu-memory-utilization") + 1] == share


def test_another_address_than_loopback_needs_a_key(capsys, monkeypatch):
    monkeypatch.delenv("TERSELY_SERVER_KEY", raising=False)
    assert "--middleware" not in words(["testbed/alp"], capsys)
    with pytest.raises(ConfigError, match="--host.* 0.0.0.0.* TERSELY_SERVER_KEY"):
        serve.main(["testbed/alp", "--host", "0.0.0.0", "--dry-run"])


@pytest.fixture
def stand_in(monkeypatch, tmp_path):
    """A server of a few lines in vLLM's place, that ends at once on a port that ends in 7."""
    (tmp_path / "server.py").write_text(STAND_IN)
    real = with_servers.ServerProcess

    def made(command, address, log, environment):
        return real([sys.executable, str(tmp_path / "server.py"), command[-1]], address, log, environment)

    monkeypatch.setattr(with_servers, "ServerProcess", made)
    from tersely.engines.server import launch as vllm_launch

    ports = iter([port for port in (vllm_launch.free_port() for _ in range(60)) if port % 10 != 7])
    monkeypatch.setattr(vllm_launch, "free_port", lambda: next(ports))
    before = signal.getsignal(signal.SIGTERM)
    yield tmp_path
    signal.signal(signal.SIGTERM, before)


def test_servers_are_up_before_and_gone_after(stand_in, capfd, monkeypatch):
    monkeypatch.setenv("TERSELY_SERVER_KEY", "set")
    out = stand_in / "out.yaml"
    code = (
        "import json, os, sys; open(sys.argv[1], 'w').write(json.dumps([sys.argv[2:], dict(os.environ)])); sys.exit(3)"
    )
    command = [sys.executable, "-c", code, str(out)]
    gpus = ["--training-devices", "0", "--server-devices", "1", "--server-devices", "2"]
    argv = ["testbed/alp", "--number", "2", "--logs", str(stand_in / "logs"), *gpus, "--", *command]
    assert with_servers.main(argv) == 3, "the training's own status"
    (option, addresses), environment = yaml.safe_load(out.read_text())
    addresses = yaml.safe_load(addresses)
    assert option == "--servers" and len(set(addresses)) == 2 and environment["CUDA_VISIBLE_DEVICES"] == "0"
    with pytest.raises(OSError):
        http.client.HTTPConnection(addresses[0].removeprefix("http://"), timeout=2).connect()
    assert "server 1: serving with 2" in capfd.readouterr().err
    assert sorted(p.name for p in (stand_in / "logs").iterdir()) == [f"server-{i}-attempt-1.log" for i in (0, 1)]


def test_a_server_that_does_not_come_up_stops_the_start(stand_in, monkeypatch):
    from tersely.core.http import ServerDown
    from tersely.engines.server import launch as vllm_launch

    monkeypatch.setattr(vllm_launch, "free_port", lambda: 20007)
    monkeypatch.setenv("TERSELY_SERVER_KEY", "set")
    touched = stand_in / "touched"
    command = [sys.executable, "-c", f"open({str(touched)!r}, 'w')"]
    with pytest.raises(ServerDown, match="(?s)process.*the port is bad luck"):
        with_servers.main(["testbed/alp", "--logs", str(stand_in), "--", *command])
    assert not touched.exists()


def test_a_server_that_ends_is_said_once_with_its_log(stand_in, capfd):
    with with_servers.servers("testbed/alp", [], stand_in / "logs", 1) as started:
        gone: set[str] = set()
        with_servers.report_ended(started, gone)
        started[0].process.kill()
        while not started[0].ended:
            time.sleep(0.01)
        for _ in range(2):
            with_servers.report_ended(started, gone)
    assert capfd.readouterr().err.count("has ended; the end of") == 1


def test_launch_local_gives_servers_their_gpus(capsys, monkeypatch):
    monkeypatch.setattr(machine, "visible_gpus", lambda: 4)
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "2,3,5,7")
    asked = ["testbed/alp", "--engine", "vllm_server", "--dry-run"]
    assert launch_local.main([*asked, "--rollout-servers", "2"]) == 0
    found = shlex.split(capsys.readouterr().out)
    own = found[: found.index("--")]
    assert own[own.index("--training-devices") + 1] == "2,3"
    assert [own[i + 1] for i, word in enumerate(own) if word == "--server-devices"] == ["5", "7"]
    assert found[found.index("--num_processes") + 1] == "2"
    with pytest.raises(ConfigError, match="--rollout-servers.*4.*3"):
        launch_local.main([*asked, "--rollout-servers", "4"])
    assert launch_local.main([*asked, "--servers", "[http://there:8000]"]) == 0
    assert "with_servers" not in capsys.readouterr().out, "servers that the recipe names are somebody else's"


def test_a_probe_ends_with_the_servers(capsys):
    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self):
            self.send_response(200)
            self.end_headers()

        def log_message(self, *_): ...

    up = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=up.serve_forever, daemon=True).start()
    try:
        address = f"http://127.0.0.1:{up.server_address[1]}"
        assert probe.main(["--pid", str(os.getpid()), address]) == 0
    finally:
        up.shutdown()
        up.server_close()
    ended = subprocess.Popen([sys.executable, "-c", ""])
    ended.wait()
    assert probe.main(["--pid", str(ended.pid), address]) == 1
    assert "process" in capsys.readouterr().err


def test_preflight_draws_its_rollouts_from_a_server_of_its_own(monkeypatch):
    from tersely.launch.cli import preflight

    asked = []
    monkeypatch.setattr(subprocess, "call", lambda words: asked.append(words) or 1)
    monkeypatch.setattr(machine, "visible_gpus", lambda: 0)
    argv = ["testbed/alp", "--rollouts", "16", "--engine", "vllm_server"]
    assert preflight.main(argv) == 1, "the inner one's status"
    own, inner = asked[0][: asked[0].index("--")], asked[0][asked[0].index("--") + 1 :]
    assert own[1:6] == ["-m", "tersely.launch.servers", "testbed/alp", "--engine", "vllm_server"]
    assert inner[1:] == ["-m", "tersely", "preflight", *argv]
