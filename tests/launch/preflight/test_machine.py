"""What the machine gives: real limits, a hub that answers, one that does not, one that hangs."""

from __future__ import annotations

import resource
import socket
import subprocess
import threading
import time
from http.server import BaseHTTPRequestHandler, HTTPServer
from types import SimpleNamespace

import pytest

from tersely.launch.preflight import machine


@pytest.fixture
def hub_at(monkeypatch):
    monkeypatch.delenv("HF_HUB_OFFLINE", raising=False)

    def point(address):
        monkeypatch.setenv("HF_ENDPOINT", address)
        return list(machine.hub(0.5))[0]

    return point


@pytest.mark.parametrize(("status", "level"), [(200, "ok"), (404, "ok"), (503, "warn")])
def test_a_hub_that_answers(hub_at, status, level):
    class Hub(BaseHTTPRequestHandler):
        def do_HEAD(self):  # noqa: N802
            self.send_response(status)
            self.end_headers()

        def log_message(self, *_):
            pass

    server = HTTPServer(("127.0.0.1", 0), Hub)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    assert hub_at(f"http://127.0.0.1:{server.server_port}").level == level
    server.shutdown()
    server.server_close()


def test_a_hub_that_hangs_costs_no_more_than_its_time(hub_at):
    with socket.create_server(("127.0.0.1", 0)) as listener:
        began = time.monotonic()
        finding = hub_at(f"http://127.0.0.1:{listener.getsockname()[1]}")
        assert time.monotonic() - began < 3
    assert finding.level == "warn" and "cannot be reached" in finding.text and "HF_HUB_OFFLINE" in finding.fix


def test_an_offline_hub_is_not_asked(monkeypatch):
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:1")
    assert [finding.level for finding in machine.hub()] == ["note"]


@pytest.mark.parametrize(("soft", "level"), [(256, "fail"), (4096, "warn"), (65536, "ok"), (-1, "ok")])
def test_open_files(monkeypatch, soft, level):
    monkeypatch.setattr(resource, "getrlimit", lambda _: (soft, 1 << 20))
    finding = list(machine.limits())[0]
    assert finding.level == level and ("ulimit -n 65536" in finding.fix) == (level != "ok")


@pytest.mark.parametrize(("free", "level"), [(1 << 20, "fail"), (2 << 30, "warn"), (99 << 30, "ok")])
def test_disk(monkeypatch, free, level):
    monkeypatch.setattr(machine.shutil, "disk_usage", lambda _: SimpleNamespace(free=free))
    assert {finding.level for finding in machine.disk()} == {level}


@pytest.mark.parametrize(
    ("cuda", "hidden", "text"),
    [(None, None, "is a CPU build"), ("12.8", None, "sees 2 GPUs, torch"), ("12.8", "", "hides every GPU")],
)
def test_gpus_that_torch_does_not_see(monkeypatch, cuda, hidden, text):
    import torch

    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(torch.version, "cuda", cuda)
    monkeypatch.setattr(machine, "driver_gpus", lambda: 2)
    if hidden is None:
        monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    else:
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", hidden)
    finding = next(machine.devices())
    assert text in finding.text and finding.fix


def test_a_deep_check_that_dies_or_hangs_is_a_failure(monkeypatch):
    monkeypatch.setattr(machine, "_has", lambda name: name in ("vllm", "deepspeed"))
    monkeypatch.setattr(machine, "DEEP_S", 1)
    monkeypatch.setattr(
        machine, "DEEP", {"vllm": "raise ImportError('no libcudart')", "deepspeed": "import time; time.sleep(9)"}
    )
    dead, hung = machine.deep()
    assert dead.level == hung.level == "fail" and "no libcudart" in dead.text and "timed out after 1 s" in hung.text


def test_the_driver_is_asked_once_and_its_absence_is_no_error(monkeypatch):
    monkeypatch.setattr(machine.shutil, "which", lambda _: None)
    assert machine.driver_gpus() == 0
    monkeypatch.setattr(machine.shutil, "which", lambda _: "/usr/bin/nvidia-smi")
    lines = "GPU 0: H200 (UUID: x)\nGPU 1: H200 (UUID: y)\n"
    monkeypatch.setattr(machine.subprocess, "run", lambda *_, **__: SimpleNamespace(stdout=lines))
    assert machine.driver_gpus() == 2

    def late(*_, **__):
        raise subprocess.TimeoutExpired("nvidia-smi", 10)

    monkeypatch.setattr(machine.subprocess, "run", late)
    assert machine.driver_gpus() == 0


@pytest.mark.parametrize(
    ("names", "folder"),
    [
        (("memory.max", "memory.current", "inactive_file"), ""),
        (("memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file"), "memory"),
    ],
)
def test_the_memory_of_a_container_is_what_it_may_still_take(tmp_path, monkeypatch, names, folder):
    limit, used, dropped = names
    place = tmp_path / folder
    place.mkdir(exist_ok=True)
    assert machine.container_room(tmp_path) == float("inf")
    (place / limit).write_text(f"{3 << 30}\n")
    (place / used).write_text(f"{2 << 30}\n")
    (place / "memory.stat").write_text(f"anon 5\n{dropped} {1 << 29}\n")
    assert machine.container_room(tmp_path) == 3 << 29
    room = machine.container_room(tmp_path)
    monkeypatch.setattr(machine, "container_room", lambda: room)
    (finding,) = machine.host_memory()
    assert finding.level == "warn" and finding.text.startswith("1.5 GiB available")


def test_a_container_without_a_limit(tmp_path):
    for name, text in (("memory.max", "max"), ("memory.current", "7"), ("memory.stat", "anon 5")):
        (tmp_path / name).write_text(text + "\n")
    assert machine.container_room(tmp_path) == float("inf")


def test_metadata_of_an_earlier_installation(tmp_path, monkeypatch):
    """It registers a logits processor with every vLLM process; the present one registers none."""
    monkeypatch.setattr(machine, "_has", lambda name: name == "vllm")
    facts = tmp_path / "tersely-0.0.0.dist-info"
    facts.mkdir()
    (facts / "METADATA").write_text("Metadata-Version: 2.1\nName: tersely\nVersion: 0.0.0\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    assert not any(finding.level == "warn" for finding in machine.engines())
    (facts / "entry_points.txt").write_text("[vllm.logits_processors]\nours = tersely.engines.vllm_logits:Adaptive\n")
    assert any("registers a logits processor" in finding.text for finding in machine.engines())
