"""Faults in real processes: within its deadline a run stops, says what happened, and keeps what a restart goes on from."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from contextlib import contextmanager
from pathlib import Path

import psutil
import pytest

from tersely.rl.checkpoints import manifest as checkpoint

pytestmark = [
    pytest.mark.e2e,
    pytest.mark.slow,
    pytest.mark.skipif(not sys.platform.startswith("linux"), reason="the launcher's prctl is Linux's"),
]
SMALL = {"max_steps": 4, "save_steps": 1, "prompts_per_step": 2, "micro_batch": 4, "max_completion_length": 32}


@contextmanager
def started(command, launcher):
    """The process with its output in `seen`, ended with all its kin at the end of the block."""
    process = subprocess.Popen(
        command,
        env=launcher.warm_environment(),
        cwd=launcher.folder,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    )
    process.seen = []
    reader = threading.Thread(target=lambda: process.seen.extend(process.stdout), daemon=True)
    reader.start()
    try:
        yield process
    finally:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()
        reader.join(20)


def wait_for(what, process, seconds: float = 180):
    end = time.monotonic() + seconds
    while not (found := what()):
        assert time.monotonic() < end and process.poll() is None, "".join(process.seen[-60:])
        time.sleep(0.005)
    return found


def rank_process(run_dir: Path, rank: int, process) -> int:
    """As the rank's watchdog states it: at the start, or some seconds later if the run's folder did not exist yet."""
    file = run_dir / "ranks" / f"rank-{rank}.json"
    wait_for(file.exists, process)
    return json.loads(file.read_text())["pid"]


def launched(launcher, name: str, *options: str, **changes) -> tuple[list[str], Path]:
    """`launch local` with two ranks on the recipe that a plain run would have."""
    launcher.command(name, **{**SMALL, "micro_batch": 4, **changes})
    command = [sys.executable, "-m", "tersely", "launch", "local", str(launcher.folder / f"{name}.yaml")]
    return [*command, "--processes", "2", *options], launcher.folder / name


def logged_steps(run_dir: Path) -> list[int]:
    rows = [json.loads(line) for line in (run_dir / "metrics.jsonl").read_text().splitlines()]
    return [row["step"] for row in rows if "loss" in row]


def whole(run_dir: Path, step: int) -> bool:
    return (checkpoint.folder(run_dir, step) / checkpoint.MANIFEST).is_file()


# ---- ranks ----


def test_a_killed_rank_is_named_and_the_launcher_starts_again(launcher):
    command, run_dir = launched(launcher, "killed", "--retries", "1")
    with started(command, launcher) as process:
        wait_for(lambda: whole(run_dir, 2), process)
        started_by = psutil.Process(process.pid).children(recursive=True)
        lost = next(child.pid for child in started_by if child.environ().get("RANK") == "1")
        os.kill(lost, signal.SIGKILL)
        process.wait(240)
    log = (run_dir / "logs" / "attempt-1.log").read_text()
    assert str(lost) in log and "SIGKILL" in log, log[-4000:]
    assert "launch: ended with exit status 137" in log
    assert process.returncode == 0, "".join(process.seen[-60:])
    assert "resuming from checkpoint-" in (run_dir / "logs" / "attempt-2.log").read_text()
    assert logged_steps(run_dir) == [1, 2, 3, 4]


def test_a_rank_that_stands_still_ends_the_run_within_the_deadline(launcher):
    command, run_dir = launched(launcher, "stuck", deadline_seconds=12, max_steps=500, save_total_limit=2)
    with started(command, launcher) as process:
        wait_for(lambda: whole(run_dir, 1), process)
        still, began = rank_process(run_dir, 1, process), time.monotonic()
        os.kill(still, signal.SIGSTOP)
        process.wait(150)
        took = time.monotonic() - began
    said = "".join(process.seen)
    assert process.returncode not in (0, 75), said[-3000:]
    assert "error: rank 0 has been in '" in said or "rank 0: lost" in said, said[-3000:]
    assert f"rank 1 (process {still} on {socket.gethostname()}, in: " in said and "is silent for" in said
    assert "deadline_seconds" in said and 12 <= took < 120
    assert checkpoint.latest_whole(run_dir)[0] is not None
    assert not Path(f"/proc/{still}").exists()


def test_a_process_group_that_never_forms_ends_within_the_deadline(launcher):
    """Rank 1 of two never comes."""
    import subprocess

    command = launcher.command("alone", **SMALL, deadline_seconds=8, preflight=False)
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    ranks = {"RANK": "0", "LOCAL_RANK": "0", "WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)}
    done = subprocess.run(
        command,
        env={**launcher.environment(), **ranks},
        capture_output=True,
        text=True,
        timeout=150,
        cwd=launcher.folder,
    )
    assert done.returncode == 1, done.stderr[-2000:]
    assert "rank 0 has been in 'joining the other ranks'" in done.stderr
    assert "rank 1 has not started" in done.stderr


# ---- saving ----


def test_killed_inside_saving_the_run_goes_on_from_the_checkpoint_before(launcher):
    run_dir = launcher.folder / "saving"
    # a checkpoint that is being deleted looks alike; most completions reach the cap of 32
    recipe = {**SMALL, "max_steps": 30, "save_total_limit": 30, "guards": {"unending": False}}
    with started(launcher.command("saving", **recipe), launcher) as process:
        wait_for(lambda: whole(run_dir, 1), process)
        saving = rank_process(run_dir, 0, process)

        def unfinished():
            """Held still to be looked at; let go where the seal was quicker."""
            if not any(not (p / checkpoint.MANIFEST).exists() for p in run_dir.glob("checkpoint-*")):
                return False
            os.kill(saving, signal.SIGSTOP)
            time.sleep(0.01)
            if any(not (p / checkpoint.MANIFEST).exists() for p in run_dir.glob("checkpoint-*")):
                return True
            os.kill(saving, signal.SIGCONT)
            return False

        wait_for(unfinished, process)
        process.kill()
    last, passed_over = checkpoint.latest_whole(run_dir)
    assert last is not None and "not finished" in passed_over[0]
    done = launcher.run("saving", resume=True, **recipe)
    assert done.returncode == 0, done.stderr[-3000:]
    assert f"resuming from {last.name}" in done.stdout and passed_over[0] in done.stdout
    # the same losses as undisturbed: test_resume.py, benchmarks/soak.py
    assert logged_steps(run_dir) == [*range(1, 31)]
    assert not checkpoint.latest_whole(run_dir)[1]


@pytest.fixture
def small_disk(tmp_path):
    folder = tmp_path / "disk"
    folder.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=13m", "tersely-test", str(folder)], capture_output=True
    )
    if mounted.returncode != 0:
        pytest.skip("a small tmpfs needs root: " + mounted.stderr.decode().strip())
    try:
        yield folder
    finally:
        subprocess.run(["umount", str(folder)], check=True)


def test_a_full_disk_is_said_and_room_mends_it(launcher, small_disk):
    changes = {**SMALL, "run_dir": str(small_disk / "run"), "save_total_limit": 3, "preflight": False}
    done = launcher.run("full", **changes)
    assert done.returncode == 1 and f"error: the disk of {small_disk / 'run'} is full (in: " in done.stderr, done.stderr
    last, _ = checkpoint.latest_whole(small_disk / "run")
    assert last is not None
    subprocess.run(["mount", "-o", "remount,size=64m", str(small_disk)], check=True)
    done = launcher.run("full", resume=True, **changes)
    assert done.returncode == 0, done.stderr[-3000:]
    assert f"resuming from {last.name}" in done.stdout


# ---- numbers and data ----


def test_a_loss_that_is_no_number_stops_the_run_before_the_optimiser_steps(launcher):
    # each step multiplies the weights by -1e6, until no loss is finite
    recipe = {**SMALL, "max_steps": 12, "guards": {"unending": False}}
    done = launcher.run("nan", **recipe, max_grad_norm=0, warmup_steps=0, learning_rate=100, weight_decay=1e4)
    assert done.returncode == 1, done.stdout[-2000:]
    assert "error: the loss of step" in done.stderr and "continue with `--resume`" in done.stderr
    last, _ = checkpoint.latest_whole(launcher.folder / "nan")
    assert last is not None


def test_a_cut_dataset_is_refused_by_its_line(launcher):
    rows = [json.dumps({"problem": f"{i} + 1 = ?", "answer": str(i + 1)}) for i in range(8)]
    data = launcher.folder / "cut.jsonl"
    data.write_text("\n".join(rows)[:-7])
    done = launcher.run("cut", dataset={"path": str(data)})
    assert done.returncode == 2 and f"{data}, line 8: invalid JSON" in done.stderr, done.stderr[-3000:]
    assert "Traceback" not in done.stderr


@contextmanager
def deaf():
    """A server that takes connections and never answers."""
    with socket.socket() as server:
        server.bind(("127.0.0.1", 0))
        server.listen(64)
        yield f"http://127.0.0.1:{server.getsockname()[1]}"


def test_a_hub_that_stops_answering_ends_the_run_within_the_deadline(launcher, monkeypatch):
    with deaf() as address:
        for name, value in {"HF_ENDPOINT": address, "HF_HUB_OFFLINE": "0", "HF_DATASETS_OFFLINE": "0"}.items():
            monkeypatch.setenv(name, value)
        monkeypatch.setenv("HF_HOME", str(launcher.folder / "home"))
        launcher.python = sys.executable  # the hub's library reads its settings on import
        began = time.monotonic()
        done = launcher.run("deaf", dataset={"path": "nobody/nothing"}, deadline_seconds=15)
    assert done.returncode in (1, 2), done.stdout[-2000:]
    assert "rank 0 has been in 'reading the dataset'" in done.stderr or "the hub cannot be reached" in done.stderr
    assert time.monotonic() - began < 120


# ---- servers ----

STUB = """
import json, sys
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

name = [""]

class Answers(BaseHTTPRequestHandler):
    def answer(self, body):
        text = json.dumps(body).encode()
        self.send_response(200); self.send_header("Content-Length", str(len(text))); self.end_headers(); self.wfile.write(text)
    def do_GET(self):
        self.answer({"data": [{"id": "stub"}], "weight_version": name[0]})
    def do_POST(self):
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        name[0] = body.get("new_version", name[0])
        if self.path == "/v1/completions":
            print("asked", flush=True)
            threading.Event().wait()
        self.answer({"success": True, "results": [{"packed": True}]})
    def log_message(self, *_): pass

import threading
server = ThreadingHTTPServer(("127.0.0.1", 0), Answers)
print(server.server_address[1], flush=True)
server.serve_forever()
"""


@pytest.mark.parametrize("number", [pytest.param(signal.SIGKILL, marks=pytest.mark.exhaustive), signal.SIGSTOP])
def test_a_server_that_dies_or_stands_still_is_named(launcher, number):
    """Real servers: tests/engines/server/test_engine.py. This one holds its first answer back until it is hit."""
    server = subprocess.Popen([sys.executable, "-c", STUB], stdout=subprocess.PIPE, text=True)
    try:
        address = f"http://127.0.0.1:{int(server.stdout.readline())}"
        asked = threading.Event()
        threading.Thread(target=lambda: server.stdout.readline() and asked.set(), daemon=True).start()
        changes = {"engine": "vllm_server", "servers": [address], "deadline_seconds": 25, "preflight": False}
        with started(launcher.command("served", **SMALL, **changes), launcher) as process:
            wait_for(asked.is_set, process)
            server.send_signal(number)
            began = time.monotonic()
            process.wait(120)
            took = time.monotonic() - began
    finally:
        server.kill()
        server.wait()
    said = "".join(process.seen)
    assert process.returncode == 1 and "8 completions" in said, said[-3000:]
    assert address in said and took < 60
    if number == signal.SIGSTOP:
        assert "no answer within" in said, said[-3000:]


@pytest.mark.parametrize("processes", [pytest.param(1, marks=pytest.mark.exhaustive), 2])
def test_the_error_is_the_last_line_under_accelerate(launcher, processes):
    accelerate = ("--mixed_precision", "no", "--dynamo_backend", "no", "--num_machines", "1")
    accelerate += ("--multi_gpu",) * (processes > 1)
    launcher.python = sys.executable  # which process is whose parent is what is tested
    command = launcher.command("refused", processes=processes, accelerate=accelerate, **SMALL, group_size=3)
    done = subprocess.run(
        command, env=launcher.environment(), capture_output=True, text=True, timeout=120, cwd=launcher.folder
    )
    assert done.returncode == 1 and "Traceback" in done.stderr, "accelerate's own status, and its traceback"
    last = done.stderr.strip().splitlines()[-1]
    assert last.startswith("error: micro_batch: got 4"), done.stderr[-3000:]
