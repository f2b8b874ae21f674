"""The launcher around a command: what it shows, logs, restarts and stops. The ranks are small stand-ins here."""

from __future__ import annotations

import os
import shlex
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tersely.core.errors import ConfigError
from tersely.launch import local
from tersely.launch.cli import launch_local
from tersely.launch.preflight import machine

pytestmark = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="prctl is Linux's")
ROOT = Path(__file__).parents[2]
OWNER = (
    "import sys; from pathlib import Path; from tersely.launch import local; local.PAUSE_S = 0\n"
    "run = local.Launch([sys.executable, '-c', sys.argv[2]], Path(sys.argv[1]), 20, ['hf_secretsecret'])\n"
    "sys.exit(run.run(int(sys.argv[3]), False))"
)


def launched(run_dir: Path, rank: str, retries: int = 0) -> subprocess.Popen:
    return subprocess.Popen(
        [sys.executable, "-c", OWNER, str(run_dir), rank, str(retries)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
    )


def shown(capsys, *arguments: str) -> list[str]:
    assert launch_local.main([*arguments, "--dry-run"]) == 0
    return shlex.split(capsys.readouterr().out)


@pytest.fixture
def gpus(monkeypatch):
    def set_to(number):
        monkeypatch.setattr(machine, "visible_gpus", lambda: number)

    return set_to


def test_the_command_follows_the_machine(capsys, gpus):
    gpus(0)
    words = shown(capsys, "testbed/alp")
    assert words[1:3] == ["-m", "accelerate.commands.launch"] and words[-3:] == [
        "tersely.launch.train",
        "--config",
        "testbed/alp",
    ]
    assert words[words.index("--config_file") + 1].endswith("single_gpu.yaml")
    words = shown(capsys, "testbed/alp", "--processes", "2")
    assert "--multi_gpu" in words and "--cpu" not in words, "accelerate starts one process under --cpu"
    gpus(4)
    words = shown(capsys, "testbed/alp")
    assert words[words.index("--num_processes") + 1] == "4"
    assert words[words.index("--config_file") + 1].endswith("zero2.yaml")
    assert "--mixed_precision" not in words, "precision is the recipe's"
    words = shown(capsys, "testbed/alp", "--accelerate-config", "fsdp2", "--processes", "2")
    assert words[words.index("--config_file") + 1].endswith("fsdp2.yaml")


@pytest.mark.parametrize(
    ("gpus_there", "options", "ranks", "servers"),
    [
        (8, [], "4", 4),  # 7, 6 and 5 ranks do not divide 32 rows
        (3, [], "2", 1),
        (8, ["--rollout-servers", "1"], "4", 1),
        (8, ["--processes", "2"], "2", 6),
        (8, ["--processes", "2", "--rollout-servers", "2"], "2", 2),
        (8, ["--prompts_per_step", "28"], "7", 1),
    ],
)
def test_ranks_beside_servers_divide_the_batch(capsys, gpus, monkeypatch, gpus_there, options, ranks, servers):
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    gpus(gpus_there)
    batch = ["--prompts_per_step", "8", "--group_size", "4", "--micro_batch", "4"]
    words = shown(capsys, "testbed/alp", "--engine", "vllm_server", *batch, *options)
    assert words[words.index("--num_processes") + 1] == ranks
    serving = [words[i + 1] for i, word in enumerate(words) if word == "--server-devices"]
    training = words[words.index("--training-devices") + 1].split(",")
    assert len(serving) == servers == int(words[words.index("--number") + 1])
    assert len(training) == int(ranks) and not set(serving) & set(training)


def test_stages_count_in_the_division(capsys, gpus):
    gpus(4)
    stages = (
        "[{name: a, share: 0.5}, {name: b, share: 0.5, settings: {prompts_per_step: 1, group_size: 2, micro_batch: 1}}]"
    )
    words = shown(capsys, "testbed/alp", "--prompts_per_step", "8", "--stages", stages)
    assert words[words.index("--num_processes") + 1] == "2"


def test_visible_devices_are_respected_and_shown(capsys, monkeypatch):
    monkeypatch.setattr(machine, "driver_gpus", lambda: 8)
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "6,2,5")
    assert launch_local.main(["testbed/alp", "--engine", "vllm_server", "--prompts_per_step", "8", "--dry-run"]) == 0
    said = capsys.readouterr()
    words = shlex.split(said.out)
    assert words[words.index("--training-devices") + 1] == "6,2" and words[words.index("--server-devices") + 1] == "5"
    assert "CUDA_VISIBLE_DEVICES=6,2" in said.err
    with pytest.raises(ConfigError, match="--processes.*4.*3"):
        launch_local.main(["testbed/alp", "--processes", "4", "--dry-run"])


def test_an_accelerate_file_of_ones_own_decides_neither_launcher_nor_gpus(capsys, gpus, tmp_path):
    (tmp_path / "own.yaml").write_text("distributed_type: DEEPSPEED\nnum_machines: 2\ngpu_ids: 0,1\n")
    gpus(2)
    words = shown(capsys, "testbed/alp", "--accelerate-config", str(tmp_path / "own.yaml"))
    assert words[words.index("--deepspeed_multinode_launcher") + 1] == "standard"
    assert words[words.index("--gpu_ids") + 1] == "all"


def test_a_recipe_that_is_refused_starts_no_server(gpus, tmp_path):
    gpus(0)
    options = ["--engine", "vllm_server", "--learning_rate", "abc", "--run_dir", str(tmp_path / "run")]
    with pytest.raises(ConfigError, match="learning_rate.*'abc'"):
        launch_local.main(["testbed/alp", *options])
    assert not (tmp_path / "run").exists()


def test_the_ranks_know_how_many_were_planned(tmp_path):
    from tersely.launch.ranks import Devices

    made = local.Launch([], tmp_path, 1, devices=Devices(2, 0, ("6", "2"), ()))
    assert made._environment()["TERSELY_WORLD_SIZE"] == "2" and made._environment()["CUDA_VISIBLE_DEVICES"] == "6,2"


def test_the_error_is_repeated_below_the_traceback(tmp_path):
    process = launched(tmp_path, "import sys; print('error: the reason'); print('Traceback ...'); sys.exit(1)")
    out, _ = process.communicate(timeout=120)
    lines = out.strip().splitlines()
    assert lines[-2] == "error: the reason" and lines.index("Traceback ...") < len(lines) - 2


def test_values_are_data_in_what_is_shown(capsys, gpus):
    gpus(0)
    hostile = "runs/a; rm -rf ~ $(id) `id` 'x'"
    assert launch_local.main(["testbed/alp", "--dry-run", "--run_dir", hostile]) == 0
    line = capsys.readouterr().out
    assert shlex.split(line)[-1] == hostile and shlex.quote(hostile) in line


def test_a_dry_run_writes_nothing_and_shows_no_secret(capsys, tmp_path, monkeypatch, gpus):
    gpus(0)
    monkeypatch.chdir(tmp_path)
    words = shown(capsys, "testbed/alp", "--env", "{HF_TOKEN: hf_secretsecret}")
    assert words[-1] == "{HF_TOKEN: [redacted]}" and not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("word", "message"),
    [
        ("--learning_rate=abc", "learning_rate.*'abc'"),
        ("--reward.beta=-1", "beta.* -1"),
        ("--top_p=1.5", "top_p.* 1.5"),
    ],
)
def test_a_dry_run_refuses_what_the_run_would_refuse(word, message, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ConfigError, match=message):
        launch_local.main(["testbed/alp", "--dry-run", word])
    assert not capsys.readouterr().out and not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--accelerate-config", "zero4"], "'zero"),
        (["--processes", "3"], "3 ranks"),
    ],
)
def test_what_cannot_be_meant_is_said(options, message):
    with pytest.raises(ConfigError, match=message):
        launch_local.main(["testbed/alp", "--dry-run", *options])


def test_output_goes_to_terminal_and_log_and_secrets_to_neither(tmp_path):
    (tmp_path / "final").mkdir()
    process = launched(tmp_path, "import sys; print('step 1 hf_secretsecret'); print('oh', file=sys.stderr)")
    out, _ = process.communicate(timeout=120)
    assert process.returncode == 0
    log = (tmp_path / "logs" / "attempt-1.log").read_text()
    for text in (out, log):
        assert "step 1 [redacted]" in text and "oh" in text and "hf_secretsecret" not in text
    assert "finished" in log


def test_a_failure_is_started_again_with_resume_and_each_attempt_has_its_log(tmp_path):
    rank = f"import sys, os; print(sys.argv[1:]); ok = '--resume' in sys.argv; ok and os.mkdir({str(tmp_path / 'final')!r}); "
    process = launched(tmp_path, rank + "sys.exit(0 if ok else 9)", retries=3)
    out, _ = process.communicate(timeout=120)
    assert process.returncode == 0 and "exit status 9; restarting with --resume, 3 of 3" in out
    logs = {path.name: path.read_text() for path in (tmp_path / "logs").iterdir()}
    assert sorted(logs) == ["attempt-1.log", "attempt-2.log"]
    assert "['--resume']" in logs["attempt-2.log"] and "[]" in logs["attempt-1.log"]


@pytest.mark.parametrize(
    ("said", "code", "status"),
    [
        ("returned non-zero exit status 2.", 1, 2),
        ("  exitcode  : 2 (pid: 7)", 1, 2),
        ("returned non-zero exit status 3.", 1, 3),
        ("returned non-zero exit status 75.", 1, 75),
        ("nothing", 0, 75),
    ],
)
def test_what_a_restart_would_not_mend_is_not_restarted(tmp_path, said, code, status):
    process = launched(tmp_path, f"import sys; print({said!r}); sys.exit({code})", retries=5)
    process.communicate(timeout=120)
    assert process.returncode == status
    assert [path.name for path in (tmp_path / "logs").iterdir()] == ["attempt-1.log"]


def test_retries_have_an_end(tmp_path):
    process = launched(tmp_path, "import sys; sys.exit(1)", retries=1)
    out, _ = process.communicate(timeout=120)
    assert process.returncode == 1 and len(list((tmp_path / "logs").iterdir())) == 2


SAVER = (
    "import signal, sys, time; signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGUSR1}); print('ready')\n"
    "while signal.SIGUSR1 not in signal.sigpending(): time.sleep(0.01)\n"
)


def until(process: subprocess.Popen, line: str) -> None:
    """Read until a line that is `line` alone: the command, which is shown, holds it too."""
    assert any(found == line + "\n" for found in iter(process.stdout.readline, ""))


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGUSR1])
def test_a_signal_asks_to_save_and_stop_and_nothing_is_restarted(tmp_path, number):
    process = launched(tmp_path, SAVER + "print('saved'); sys.exit(75)", retries=3)
    until(process, "ready")
    process.send_signal(number)
    out, errors = process.communicate(timeout=120)
    assert process.returncode == 75 and "saved" in out and "saving and stopping" in errors
    assert len(list((tmp_path / "logs").iterdir())) == 1


def test_a_signal_arrives_whatever_the_caller_blocks(tmp_path):
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGUSR1})
    try:
        process = launched(tmp_path, SAVER + "print('saved'); sys.exit(75)")
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
    until(process, "ready")
    process.send_signal(signal.SIGUSR1)
    assert process.communicate(timeout=120) and process.returncode == 75


def test_a_second_signal_ends_it(tmp_path):
    process = launched(tmp_path, SAVER + "print('pending'); time.sleep(300)")
    until(process, "ready")
    process.send_signal(signal.SIGINT)
    until(process, "pending")
    process.send_signal(signal.SIGINT)
    process.communicate(timeout=120)
    assert process.returncode == 128 + signal.SIGINT


def test_no_rank_outlives_a_launcher_that_was_killed(tmp_path):
    process = launched(tmp_path, "import os, time; print('rank', os.getpid()); time.sleep(300)")
    line = ""
    while not line.startswith("rank"):
        line = process.stdout.readline()
    process.kill()
    process.wait()
    for _ in range(200):
        if not Path(f"/proc/{line.split()[1]}").exists():
            return
        time.sleep(0.05)
    raise AssertionError("the rank lives")


def test_a_terminal_that_goes_away_does_not_end_the_run(tmp_path):
    (tmp_path / "final").mkdir()
    process = launched(tmp_path, "import time\nfor i in range(20): print('line', i); time.sleep(0.02)")
    process.stdout.readline()
    process.stdout.close()
    assert process.wait(30) == 0
    assert "line 19" in (tmp_path / "logs" / "attempt-1.log").read_text()


def test_visible_gpus_are_what_the_driver_has_and_the_environment_leaves(monkeypatch):
    monkeypatch.setattr(machine, "driver_gpus", lambda: 4)
    for value, number in (("0,2", 2), ("", 0), ("-1", 0), ("0,1,2,3,4,5", 4)):
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", value)
        assert machine.visible_gpus() == number
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES")
    assert machine.visible_gpus() == 4
