"""Workers that can be killed: deadlines, memory, crashes, forks, threads, and an owner that dies by SIGKILL."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from tersely.rewards import Verifier
from tersely.rewards.verify import verifier as module
from tersely.rewards.verify.compare import math_verify as engine
from tersely.rewards.verify.workers import fork_server
from tersely.rewards.verify.workers.fork_server import WorkerError
from tersely.rewards.verify.workers.pool import Pool

ROOT = Path(__file__).parents[4]
SLOW = "\\boxed{9^{9^9}}"
NEEDS_WORKER = ("\\tan^2(y)+1", "\\boxed{\\sec^2(y)}")


def alive(pid: int) -> bool:
    """A process that runs: a zombie has ended."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] != "Z"
    except (OSError, IndexError):
        return False


def wait_until(condition, seconds: float = 20.0) -> bool:
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        if condition():
            return True
        time.sleep(0.05)
    return False


@pytest.fixture
def unguarded(monkeypatch):
    """The static guard off, so that bombs reach the workers."""
    monkeypatch.setattr(module, "exceeded_limit", lambda text: None)


def test_no_process_is_started_for_what_needs_none():
    with Verifier(workers=2) as verifier:
        verifier.verify(["18", "x+1"], ["The answer is 18.", "\\boxed{1+x}"])
        assert verifier.pids() == []


def test_a_bomb_is_killed_from_outside_and_the_others_are_decided(unguarded):
    with Verifier(workers=1, timeout=1.0) as verifier:
        began = time.monotonic()
        verdicts = verifier.verify(["7", NEEDS_WORKER[0], "7"], [SLOW, NEEDS_WORKER[1], "\\boxed{\\binom{7}{1}}"])
        assert [verdict.status for verdict in verdicts] == ["undecided", "correct", "correct"]
        assert verdicts[0].path in ("timeout", "memory")
        assert verdicts[0].correct != verdicts[0].correct
        assert verifier.stats()["restarts"] >= 1
        assert time.monotonic() - began < 60


def test_memory_is_limited(unguarded):
    with Verifier(workers=1, timeout=20, memory_mb=400) as verifier:
        verdict = verifier.verify(["7"], ["\\boxed{2^{3000000000}+0.5}"])[0]
        assert verdict.status == "undecided"
        assert verifier.verify(["7"], ["\\boxed{\\binom{7}{1}}"])[0].status == "correct"


def test_a_worker_that_dies_is_replaced_and_its_item_tried_again():
    with Verifier(workers=1, cache=0) as verifier:
        assert verifier.verify([NEEDS_WORKER[0]], [NEEDS_WORKER[1]])[0].status == "correct"
        for pid in verifier.pids()[1:]:
            os.kill(pid, signal.SIGKILL)
        assert verifier.verify([NEEDS_WORKER[0]], [NEEDS_WORKER[1]])[0].status == "correct"
        os.kill(verifier.pids()[0], signal.SIGKILL)  # the fork server
        assert wait_until(lambda: len(list(filter(alive, verifier.pids()))) == 0)
        assert verifier.verify([NEEDS_WORKER[0]], [NEEDS_WORKER[1]])[0].status == "correct"


def test_workers_are_recycled():
    with Verifier(workers=1, cache=0, recycle=2) as verifier:
        seen = set()
        for _ in range(5):
            verifier.verify([NEEDS_WORKER[0]], [NEEDS_WORKER[1]])
            seen.update(verifier.pids()[1:])
        assert len(seen) >= 2


def test_close_leaves_no_process():
    verifier = Verifier(workers=2)
    verifier.verify([NEEDS_WORKER[0], "\\cos(2x)"], [NEEDS_WORKER[1], "\\boxed{1-2\\sin^2 x}"])
    pids = verifier.pids()
    assert len(pids) >= 2
    verifier.close()
    assert wait_until(lambda: not any(map(alive, pids)))
    with pytest.raises(RuntimeError, match="closed"):
        verifier.verify(["1"], ["1"])


def test_no_process_outlives_an_owner_killed_by_sigkill():
    code = (
        "import sys, time\n"
        "from tersely.rewards import Verifier\n"
        "from tersely.rewards.verify import verifier as module\n"
        "module.exceeded_limit = lambda text: None\n"
        "import threading\n"
        "v = Verifier(workers=2, timeout=300)\n"
        f"v.verify([{NEEDS_WORKER[0]!r}], [{NEEDS_WORKER[1]!r}])\n"
        f"threading.Thread(target=v.verify, args=(['7', '8'], [{SLOW!r}, {SLOW!r} + ' ']), daemon=True).start()\n"
        "time.sleep(1.5)\n"
        "print(*v.pids(), flush=True)\n"
        "time.sleep(300)\n"
    )
    owner = subprocess.Popen([sys.executable, "-c", code], cwd=ROOT, stdout=subprocess.PIPE, text=True)
    pids = list(map(int, owner.stdout.readline().split()))
    assert len(pids) >= 2 and all(map(alive, pids))
    owner.kill()
    owner.wait()
    assert wait_until(lambda: not any(map(alive, pids))), "worker processes outlived their owner"


def test_many_threads_share_one_verifier():
    golds = [f"\\log_{{2}}(x+{k})" for k in range(4)]
    results: dict[int, list[str]] = {}
    with Verifier(workers=2, cache=0) as verifier:

        def work(number: int) -> None:
            texts = [f"\\boxed{{\\log_{{2}}({k + (k == number)}+x)}}" for k in range(4)]
            results[number] = [verdict.status for verdict in verifier.verify(golds, texts)]

        threads = [threading.Thread(target=work, args=(number,)) for number in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    for number in range(4):
        assert results[number] == ["incorrect" if k == number else "correct" for k in range(4)]


def test_a_forked_child_has_its_own_workers():
    with Verifier(workers=1, cache=0) as verifier:
        verifier.verify([NEEDS_WORKER[0]], [NEEDS_WORKER[1]])
        before = verifier.pids()
        read, write = os.pipe()
        pid = os.fork()
        if pid == 0:
            try:
                status = verifier.verify([NEEDS_WORKER[0]], [NEEDS_WORKER[1]])[0].status
                own = not set(verifier.pids()) & set(before)
                verifier.close()
                os.write(write, f"{status} {own}".encode())
            finally:
                os._exit(0)
        os.close(write)
        os.waitpid(pid, 0)
        assert os.read(read, 100).decode() == "correct True"
        os.close(read)
        assert verifier.verify([NEEDS_WORKER[0]], [NEEDS_WORKER[1]])[0].status == "correct"
        assert verifier.pids() == before


def test_somebody_elses_alarm_is_left_alone():
    rang = []
    previous = signal.signal(signal.SIGALRM, lambda *_: rang.append(True))
    try:
        signal.setitimer(signal.ITIMER_REAL, 300)
        with Verifier(workers=1) as verifier:
            verifier.verify([NEEDS_WORKER[0]], [NEEDS_WORKER[1]])
        left, _ = signal.setitimer(signal.ITIMER_REAL, 0)
        assert 0 < left <= 300 and not rang
        assert signal.getsignal(signal.SIGALRM) is not None
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, previous)


def test_a_file_named_like_a_module_in_the_current_folder_is_not_imported(tmp_path, monkeypatch):
    for name in ("sympy", "json", "math_verify"):
        (tmp_path / f"{name}.py").write_text("raise SystemExit('imported from the current folder')")
    monkeypatch.chdir(tmp_path)
    with Verifier(workers=1) as verifier:
        assert verifier.verify([NEEDS_WORKER[0]], [NEEDS_WORKER[1]])[0].status == "correct"


def test_the_cache_answers_the_second_time_and_is_bounded():
    with Verifier(workers=1, cache=1) as verifier:
        for _ in range(2):
            verifier.verify([NEEDS_WORKER[0]] * 2, [NEEDS_WORKER[1]] * 2)
        stats = verifier.stats()
        assert (stats["cache/misses"], stats["cache/hits"], stats["cache/entries"]) == (1, 3, 1)
        verifier.verify(["\\cos(2x)"], ["\\boxed{1-2\\sin^2 x}"])
        assert verifier.stats()["cache/entries"] == 1


def test_an_engine_that_raises_makes_its_item_undecided(monkeypatch):
    monkeypatch.setattr(module, "find_answer", lambda text, contract: 1 / 0)
    with Verifier() as verifier:
        verdict = verifier.verify(["7"], ["\\boxed{7}"])[0]
    assert (verdict.status, verdict.path) == ("undecided", "error:ZeroDivisionError")


def test_items_are_undecided_where_no_worker_comes_up(monkeypatch):
    def silent(self):
        raise WorkerError("said nothing")

    monkeypatch.setattr(fork_server.ForkServer, "worker", silent)
    with Verifier(workers=1) as verifier:
        verdicts = verifier.verify(
            [NEEDS_WORKER[0]] * 2 + ["7"], [NEEDS_WORKER[1], "\\boxed{\\gcd(6, y)}", "\\boxed{7}"]
        )
        assert [(verdict.status, verdict.path) for verdict in verdicts] == [("undecided", "no_worker")] * 2 + [
            ("correct", "exact")
        ]
        monkeypatch.undo()
        assert verifier.verify([NEEDS_WORKER[0]], [NEEDS_WORKER[1]])[0].status == "correct"


def test_wrong_settings_name_the_field():
    for options, name in (({"timeout": 0}, "timeout"), ({"workers": 0}, "workers"), ({"contract": "x"}, "contract")):
        with pytest.raises(ValueError, match=f"verifier.{name}"):
            Verifier(**options)
    with pytest.raises(ValueError, match="percent"):
        Verifier(policy={"percents": "ratio"})


def test_lengths_must_agree(verifier):
    with pytest.raises(ValueError, match="2 golds and 1 responses"):
        verifier.verify(["1", "2"], ["1"])


def test_engine_and_pool_agree_on_the_default_policy():
    assert engine.Engine().policy == Verifier().policy
    assert Pool(workers=1, timeout=1, memory=1 << 30, recycle=1, policy={}).pids() == []


def test_start_does_not_wait_and_the_workers_are_there_when_needed():
    with Verifier(workers=1) as verifier:
        began = time.monotonic()
        verifier.start()
        assert time.monotonic() - began < 1.0  # the imports take longer
        assert len(verifier.pids()) == 1
        assert verifier.verify([r"\max(x,3)"], [r"\boxed{\max(3,x)}"])[0].correct == 1.0
