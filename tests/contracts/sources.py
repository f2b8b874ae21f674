"""The Python files of a published wheel, unpacked once into a cache: contracts are tested against the real sources.

`python tests/contracts/sources.py vllm 0.31.0` prints the folder. vLLM's CUDA wheel is 300 MB and its Python files are
10 MB, so only these are read, by range requests over pip's own session and index. Where that does not work, pip downloads
the whole wheel. A package that has only a source archive, such as DeepSpeed, is taken from that.
"""

from __future__ import annotations

import contextlib
import io
import os
import shutil
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Iterable
from pathlib import Path

CACHE = Path(os.environ.get("XDG_CACHE_HOME", Path.home() / ".cache")) / "tersely" / "sources"
GAP_BYTES = 500_000
"""Bytes between two wanted files that are read along rather than asked for separately."""


class NoSources(Exception):
    """The sources are neither in the cache nor can they be downloaded."""


def python_files(package: str, version: str) -> Path:
    """The folder with the Python files and the metadata of this wheel. Raises `NoSources` where the index is out of reach."""
    folder = CACHE / f"{package}-{version}"
    if folder.is_dir():
        return folder
    CACHE.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=CACHE, prefix="unpacking-") as temporary:
        unpacked = Path(temporary) / "files"
        try:
            _by_ranges(package, version, unpacked)
        except Exception as first:  # pip's internals and the index's support of ranges may change
            shutil.rmtree(unpacked, ignore_errors=True)
            try:
                _by_download(package, version, Path(temporary), unpacked)
            except subprocess.CalledProcessError as second:
                reason = (second.stderr.strip().splitlines() or ["pip download failed"])[-1]
                raise NoSources(f"{package} {version}: {reason} (range requests: {first!r:.200})") from second
        with contextlib.suppress(OSError):  # another process was faster
            unpacked.rename(folder)
    return folder


def needed_beside(tree: Path, package: str) -> list[Path]:
    """Where the wheel at `tree` asks for another version of a compiled `package` than the installed one: a folder with it."""
    from importlib.metadata import version

    from packaging.requirements import Requirement

    lines = next(tree.glob("*.dist-info/METADATA")).read_text(encoding="utf-8").splitlines()
    wishes = [Requirement(line.partition(": ")[2]) for line in lines if line.startswith(f"Requires-Dist: {package}")]
    wish = next((one for one in wishes if one.name == package and one.marker is None), None)
    if wish is None or version(package) in wish.specifier:
        return []
    folder = CACHE / f"{package}{wish.specifier}"
    if not folder.is_dir():
        with tempfile.TemporaryDirectory(dir=CACHE, prefix="unpacking-") as temporary:
            words = [
                "install",
                "--quiet",
                "--no-deps",
                "--only-binary=:all:",
                "--target",
                f"{temporary}/files",
                str(wish),
            ]
            try:
                subprocess.run([sys.executable, "-m", "pip", *words], check=True, capture_output=True, text=True)
            except subprocess.CalledProcessError as error:
                raise NoSources(f"{wish}: {error.stderr.strip().splitlines()[-1:]}") from error
            with contextlib.suppress(OSError):  # another process was faster
                Path(temporary, "files").rename(folder)
    return [folder]


def wanted(name: str) -> bool:
    return name.endswith((".py", ".dist-info/METADATA", ".dist-info/entry_points.txt"))


def _by_ranges(package: str, version: str, folder: Path) -> None:
    from pip._internal.commands import create_command
    from pip._internal.network.lazy_wheel import LazyZipOverHTTP

    command = create_command("download")
    options, _ = command.parse_args(["--quiet"])
    with command.main_context(), contextlib.redirect_stdout(io.StringIO()):
        session = command.get_default_session(options)  # type: ignore[attr-defined]
        finder = command._build_package_finder(options=options, session=session)  # type: ignore[attr-defined]
        links = [one.link for one in finder.find_all_candidates(package) if str(one.version) == version]
        if not any(one.is_wheel for one in links):
            _from_archive(session.get(links[0].url_without_fragment).content, folder)
            return
        link = next(one for one in links if one.is_wheel)
        with LazyZipOverHTTP(link.url_without_fragment, session) as wheel:
            members = zipfile.ZipFile(wheel).infolist()
        headers = {"Accept-Encoding": "identity"}
        files = sorted((one for one in members if wanted(one.filename)), key=lambda one: one.header_offset)
        for start, end, inside in _spans(files):
            answer = session.get(link.url_without_fragment, headers={**headers, "Range": f"bytes={start}-{end - 1}"})
            if answer.status_code != 206:
                raise NoSources(f"the index answers a range with {answer.status_code}")
            _unpack(answer.content, start, inside, folder)


def _from_archive(content: bytes, folder: Path) -> None:
    """The Python files of a source archive, and what they read beside them."""
    import tarfile

    with tarfile.open(fileobj=io.BytesIO(content)) as archive:
        for member in archive:
            name = member.name.partition("/")[2]
            data = archive.extractfile(member) if member.isfile() and name.endswith((".py", "version.txt")) else None
            if data is not None and ".." not in Path(name).parts:
                path = folder / name
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_bytes(data.read())


def _spans(files: Iterable[zipfile.ZipInfo]) -> list[tuple[int, int, list[zipfile.ZipInfo]]]:
    """Ranges of the wheel that hold the files, near ones together. A local header may be longer than the central one."""
    spans: list[tuple[int, int, list[zipfile.ZipInfo]]] = []
    for one in files:
        start, end = one.header_offset, one.header_offset + 30 + len(one.filename.encode()) + 1024 + one.compress_size
        if spans and start - spans[-1][1] < GAP_BYTES:
            first, _, inside = spans[-1]
            spans[-1] = (first, end, [*inside, one])
        else:
            spans.append((start, end, [one]))
    return spans


def _unpack(content: bytes, start: int, files: Iterable[zipfile.ZipInfo], folder: Path) -> None:
    """Write files whose local headers lie in `content`, the wheel's bytes from `start` on."""
    import zlib

    for one in files:
        at = one.header_offset - start
        name, extra = (int.from_bytes(content[at + i : at + i + 2], "little") for i in (26, 28))
        body = content[at + 30 + name + extra :][: one.compress_size]
        data = zlib.decompress(body, -15) if one.compress_type == zipfile.ZIP_DEFLATED else body
        if zlib.crc32(data) != one.CRC:
            raise NoSources(f"{one.filename}: wrong checksum")
        path = folder / one.filename
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)


def _by_download(package: str, version: str, temporary: Path, folder: Path) -> None:
    words = ["download", "--no-deps", "--only-binary=:all:", "--dest", str(temporary), f"{package}=={version}"]
    subprocess.run([sys.executable, "-m", "pip", *words], check=True, capture_output=True, text=True)
    with zipfile.ZipFile(next(temporary.glob("*.whl"))) as wheel:
        wheel.extractall(folder, [name for name in wheel.namelist() if wanted(name)])


if __name__ == "__main__":
    print(python_files(*sys.argv[1:3]))
