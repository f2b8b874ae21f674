"""Two hosts for real: two network namespaces with a cable between them. It is pulled for a while, and then for good."""

from __future__ import annotations

import json
import os
import secrets
import shutil
import signal
import subprocess
import sys
import threading
import time
from importlib.resources import files

import pytest

pytestmark = [pytest.mark.e2e, pytest.mark.slow]

DEADLINE_S = 25


class Hosts:
    """Two namespaces, 10.77.0.1 and 10.77.0.2, that see nothing but one another."""

    def __init__(self) -> None:
        mark = secrets.token_hex(3)
        self.names = [f"tersely-{mark}-{i}" for i in (0, 1)]
        self.ports = [f"t{mark}{i}" for i in (0, 1)]  # an interface's name has 15 characters
        self.addresses = ["10.77.0.1", "10.77.0.2"]
        try:
            for name in self.names:
                ip("netns", "add", name)
            ip("link", "add", self.ports[0], "netns", self.names[0], "type", "veth", "peer", "name", self.ports[1],
               "netns", self.names[1])  # fmt: skip
            for name, port, address in zip(self.names, self.ports, self.addresses, strict=True):
                ip("-n", name, "addr", "add", f"{address}/24", "dev", port)
                ip("-n", name, "link", "set", port, "up")
                ip("-n", name, "link", "set", "lo", "up")
        except BaseException:
            self.close()
            raise

    def cable(self, state: str) -> None:
        ip("-n", self.names[0], "link", "set", self.ports[0], state)

    def close(self) -> None:
        for name in self.names:
            subprocess.run(["ip", "netns", "del", name], capture_output=True)


def ip(*words: str) -> None:
    subprocess.run(["ip", *words], check=True, capture_output=True, text=True)


@pytest.fixture
def hosts():
    if not sys.platform.startswith("linux") or shutil.which("ip") is None:
        pytest.skip("network namespaces need Linux and iproute2: apt-get install iproute2")
    try:
        made = Hosts()
    except subprocess.CalledProcessError as error:
        pytest.skip(f"network namespaces are not permitted here: {error.stderr.strip()}")
    yield made
    made.close()


class Rank:
    """One host's launcher, in a session of its own; what it says is kept as it comes."""

    def __init__(self, launcher, hosts: Hosts, number: int, command: list[str]):
        environment = {**launcher.warm_environment(), "GLOO_SOCKET_IFNAME": hosts.ports[number]}
        self.process = subprocess.Popen(
            ["ip", "netns", "exec", hosts.names[number], *command],
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            env=environment,
            cwd=launcher.folder,
            start_new_session=True,
        )
        self.lines: list[str] = []
        self._reader = threading.Thread(target=lambda: self.lines.extend(self.process.stdout), daemon=True)
        self._reader.start()

    def wait(self, timeout: float) -> int:
        status = self.process.wait(timeout)
        self._reader.join(10)
        return status

    def kill(self) -> None:
        if self.process.poll() is None:
            os.killpg(self.process.pid, signal.SIGKILL)
            self.process.wait()


@pytest.mark.parametrize(
    "configuration",
    [
        pytest.param("zero2", marks=[pytest.mark.deepspeed, pytest.mark.exhaustive]),
        pytest.param("zero3", marks=pytest.mark.deepspeed),
    ],
)
def test_the_shipped_configurations_join_two_hosts_into_one_run(launcher, hosts, configuration):
    """Each host's launcher started by hand."""
    pytest.importorskip("deepspeed", reason="DeepSpeed is not installed: make engines")
    config = str(files("tersely.configs") / "accelerate" / f"{configuration}.yaml")
    small = {"max_steps": 2, "prompts_per_step": 2, "micro_batch": 4, "max_completion_length": 16}
    ranks = []
    for number in (0, 1):
        options = ["--config_file", config, "--mixed_precision", "no", "--num_machines", "2"]
        options += ["--machine_rank", str(number), "--main_process_ip", hosts.addresses[0]]
        options += ["--main_process_port", "29400", "--rdzv_backend", "static"]
        command = launcher.command("joined", processes=2, accelerate=tuple(options), **small)
        ranks.append(Rank(launcher, hosts, number, command))
    try:
        statuses = [rank.wait(300) for rank in ranks]
        said = "\n".join("".join(rank.lines)[-4000:] for rank in ranks)
        assert statuses == [0, 0], said
        assert launcher.ranks("joined") == 2
        rows = [json.loads(line) for line in (launcher.folder / "joined" / "metrics.jsonl").read_text().splitlines()]
        assert [row["step"] for row in rows if "loss" in row] == [1, 2], "every step once"
        assert not list(launcher.folder.rglob(".deepspeed_env"))
    finally:
        for rank in ranks:
            rank.kill()


def test_a_run_of_another_size_than_planned_is_refused(launcher, monkeypatch):
    monkeypatch.setenv("TERSELY_WORLD_SIZE", "2")
    done = launcher.run("alone", max_steps=1)
    assert done.returncode == 2 and "WORLD_SIZE: got 1; expected 2" in done.stderr
    assert not (launcher.folder / "alone").exists()


def test_a_pulled_cable_is_survived_or_ends_the_run(launcher, hosts):
    ranks = []
    for number in (0, 1):
        options = ["--multi_gpu", "--mixed_precision", "no", "--dynamo_backend", "no", "--num_machines", "2"]
        options += ["--machine_rank", str(number), "--main_process_ip", hosts.addresses[0]]
        options += ["--main_process_port", "29400", "--rdzv_backend", "static"]  # a namespace has all its ports free
        command = launcher.command(
            "hosts",
            processes=2,
            accelerate=tuple(options),
            max_steps=2000,
            save_steps=2,
            prompts_per_step=2,
            micro_batch=4,
            max_completion_length=16,
            deadline_seconds=DEADLINE_S,
        )
        ranks.append(Rank(launcher, hosts, number, command))
    try:
        metrics = launcher.folder / "hosts" / "metrics.jsonl"

        def step() -> int:
            done = [json.loads(line) for line in metrics.read_text().splitlines()] if metrics.exists() else []
            return max((row["step"] for row in done if "loss" in row), default=0)

        def reach(wanted: int, seconds: float) -> None:
            end = time.monotonic() + seconds
            while step() < wanted:
                ended = [rank.process.poll() for rank in ranks]
                said = "\n".join("".join(rank.lines)[-6000:] for rank in ranks)
                assert ended == [None, None] and time.monotonic() < end, (wanted, ended, said)
                time.sleep(0.1)

        reach(2, 180)
        assert launcher.ranks("hosts") == 2
        hosts.cable("down")
        time.sleep(4)
        before = step()
        time.sleep(2)
        assert step() == before, "the hosts need one another"
        hosts.cable("up")
        reach(before + 3, DEADLINE_S)

        hosts.cable("down")
        pulled = time.monotonic()
        statuses = [rank.wait(2 * DEADLINE_S + 60) for rank in ranks]
        assert time.monotonic() - pulled < 2 * DEADLINE_S + 30
        assert 0 not in statuses
        for number, rank in enumerate(ranks):
            said = "".join(rank.lines)
            lost = f"rank {number} lost the other ranks" in said
            waited = f"error: rank {number} has been in" in said and f"past deadline_seconds {DEADLINE_S}" in said
            assert lost or waited, said[-4000:]
            assert f"rank {1 - number} (process" in said, "it says who was waited for"
        assert not (launcher.folder / "hosts" / "final").exists()
    finally:
        for rank in ranks:
            rank.kill()
