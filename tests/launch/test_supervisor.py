"""No process of a supervised command is left, however it or its supervisor ends. Real processes, real signals."""

from __future__ import annotations

import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tersely.launch import supervisor as guard

pytestmark = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="prctl is Linux's")
# a child in a session of its own that ignores SIGTERM, as a server may be; then the command goes on or ends
STUBBORN = (
    "import subprocess, sys, time, os, pathlib\n"
    "c = subprocess.Popen([sys.executable, '-c', "
    "'import signal, time; signal.signal(15, signal.SIG_IGN); print(1, flush=True); time.sleep(300)'], "
    "start_new_session=True, stdout=subprocess.PIPE)\n"
    "c.stdout.readline()\n"
    "f = pathlib.Path(sys.argv[1]); f.with_suffix('.tmp').write_text(f'{os.getpid()} {c.pid}')\n"
    "f.with_suffix('.tmp').rename(f)\n"
)
GUARD = "import sys; from tersely.launch import supervisor as guard; guard.GRACE_S = 0.5; sys.exit(guard.main(sys.argv[1:]))"


def guarded(*command: str, **options) -> subprocess.Popen:
    return subprocess.Popen([sys.executable, "-c", GUARD, *command], **options)


def pids(path: Path) -> list[int]:
    for _ in range(400):
        if path.exists():
            return [int(word) for word in path.read_text().split()]
        time.sleep(0.05)
    raise AssertionError("the command did not start")


def gone(pid: int, within_s: float = 10) -> bool:
    for _ in range(int(within_s / 0.05)):
        try:
            state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
        except OSError:
            return True
        if state == "Z":
            return True
        time.sleep(0.05)
    return False


@pytest.mark.parametrize("code", [0, 3])
def test_the_commands_status_is_the_guards_and_its_children_end_with_it(tmp_path, code):
    guardian = guarded(sys.executable, "-c", STUBBORN + f"sys.exit({code})", str(tmp_path / "pids"))
    command, child = pids(tmp_path / "pids")
    assert guardian.wait(20) == code
    assert gone(command, 1) and gone(child, 1)


def test_a_command_killed_by_a_signal_is_128_and_the_signal():
    assert guarded(sys.executable, "-c", "import os; os.kill(os.getpid(), 9)").wait(20) == 137


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])
def test_told_to_end_it_ends_all(tmp_path, number):
    guardian = guarded(sys.executable, "-c", STUBBORN + "time.sleep(300)", str(tmp_path / "pids"))
    command, child = pids(tmp_path / "pids")
    guardian.send_signal(number)
    assert guardian.wait(20) == 128 + number
    assert gone(command, 1) and gone(child, 1)


def test_no_orphan_after_sigkill_of_the_owner(tmp_path):
    owner = subprocess.Popen(
        [
            sys.executable,
            "-c",
            "import subprocess, sys; subprocess.Popen(sys.argv[1:], start_new_session=True).wait()",
            *(sys.executable, "-c", GUARD),
            *(sys.executable, "-c", STUBBORN + "time.sleep(300)", str(tmp_path / "pids")),
        ]
    )
    command, child = pids(tmp_path / "pids")
    owner.kill()
    owner.wait()
    assert gone(command) and gone(child)


def test_a_rank_that_must_not_outlive_its_parent_dies_even_where_the_guard_was_killed(tmp_path):
    rank = (
        "import os, sys, time, pathlib\nfrom tersely.launch.supervisor import die_with_parent\ndie_with_parent()\n"
        "f = pathlib.Path(sys.argv[1]); f.with_suffix('.t').write_text(str(os.getpid()))\n"
        "f.with_suffix('.t').rename(f); time.sleep(300)"
    )
    guardian = guarded(sys.executable, "-c", rank, str(tmp_path / "pids"))
    (pid,) = pids(tmp_path / "pids")
    guardian.kill()
    guardian.wait()
    assert gone(pid)


def test_a_request_to_save_reaches_those_that_wait_for_it_and_no_other(tmp_path):
    saver = (
        "import signal, subprocess, sys, os, pathlib, time\n"
        "c = subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(300)'])\n"
        "signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGUSR1})\n"
        "f = pathlib.Path(sys.argv[1]); f.with_suffix('.t').write_text(f'{os.getpid()} {c.pid}')\n"
        "f.with_suffix('.t').rename(f)\n"
        "while signal.SIGUSR1 not in signal.sigpending(): time.sleep(0.01)\n"
        "sys.exit(75 if c.poll() is None else 9)\n"
    )
    guardian = guarded(sys.executable, "-c", saver, str(tmp_path / "pids"))
    _, child = pids(tmp_path / "pids")
    guardian.send_signal(signal.SIGUSR1)
    assert guardian.wait(20) == 75
    assert gone(child, 1)


def test_a_request_that_nobody_waits_for_ends_the_command(tmp_path):
    guardian = guarded(sys.executable, "-c", STUBBORN + "time.sleep(300)", str(tmp_path / "pids"))
    command, child = pids(tmp_path / "pids")
    guardian.send_signal(signal.SIGUSR1)
    assert guardian.wait(20) == guard.NOBODY_SAVES
    assert gone(command, 1) and gone(child, 1)


def test_descendants_are_listed_parents_first():
    inner = "import time; print(1, flush=True); time.sleep(60)"
    outer = f"import subprocess, sys; subprocess.Popen([sys.executable, '-c', {inner!r}]).wait()"
    with subprocess.Popen([sys.executable, "-c", outer], stdout=subprocess.PIPE) as process:
        process.stdout.readline()
        found, (inner_process,) = [one.pid for one in guard.descendants()], guard.descendants(process.pid)
        assert found.index(process.pid) < found.index(inner_process.pid)
        inner_process.kill()
        process.kill()
