"""Checkpoint manifests: they mark a checkpoint as complete, so that partial ones are never used.

A checkpoint folder is complete when it has a manifest and every file has the size and the hash that the manifest lists.
The manifest is written last and renamed into place, so a run that is killed while saving leaves a folder without one.
"""

from __future__ import annotations

import hashlib
import json
import re
import shutil
from collections.abc import Collection
from pathlib import Path
from typing import Any

import xxhash

from tersely.core.files import write_json

MANIFEST = "tersely_manifest.json"
STATE = "tersely_state.json"
MARK = "tersely_left_aside.txt"
"""Name of a file in a checkpoint with the reason why it must not be used again."""
DIGEST = "xxh3_128"
"""Detects damage, not forgery; faster than the disk, because a checkpoint has tens of gigabytes."""
DIGESTS: dict[str, Any] = {DIGEST: xxhash.xxh3_128, "blake2b": hashlib.blake2b}
"""Manifest names; the second is of older checkpoints."""


def folder(run_dir: str | Path, step: int) -> Path:
    return Path(run_dir) / f"checkpoint-{step}"


def complete(run_dir: str | Path, step: int, state: dict[str, Any]) -> None:
    """Add the component state to a saved checkpoint and write its manifest."""
    seal(folder(run_dir, step), step, state)


def seal(path: Path, step: int, state: dict[str, Any]) -> None:
    """Write the component state and the manifest to any folder of saved weights."""
    write_json(path / STATE, state)
    files = sorted(p for p in path.rglob("*") if p.is_file() and p.name != MANIFEST)
    manifest = {str(p.relative_to(path)): {"bytes": p.stat().st_size, DIGEST: file_hash(p)} for p in files}
    write_json(path / MANIFEST, {"step": step, "files": manifest})


def fault(path: Path) -> str | None:
    """Error text for a checkpoint folder; None if it is complete."""
    manifest, mark = path / MANIFEST, path / MARK
    if mark.is_file():
        return mark.read_text().strip()
    if not manifest.is_file():
        return "not finished"
    try:
        files = json.loads(manifest.read_text())["files"]
    except (ValueError, KeyError) as error:
        return f"its manifest cannot be read ({error})"
    for name, entry in files.items():
        file = path / name
        if not file.is_file():
            return f"{name} is missing"
        if file.stat().st_size != entry["bytes"]:
            return f"{name} has {file.stat().st_size} bytes; expected {entry['bytes']}"
        algorithm = next((name for name in DIGESTS if name in entry), None)
        if algorithm is None or file_hash(file, algorithm) != entry[algorithm]:
            return f"{name} has changed since it was written"
    return None


def latest_whole(run_dir: str | Path, until: int | None = None) -> tuple[Path | None, list[str]]:
    """(newest complete checkpoint or None, one line for each newer folder that was skipped); `until`: a maximum step."""
    passed_over: list[str] = []
    for step, path in _numbered(run_dir):
        if until is not None and step > until:
            continue
        problem = fault(path)
        if problem is None:
            return path, passed_over
        passed_over.append(f"skipping {path.name}: {problem}")
    return None, passed_over


def mark_behind(path: Path, why: str) -> None:
    """Mark every checkpoint newer than `path` as unusable."""
    number = int(path.name.rpartition("-")[2])
    for step, other in _numbered(path.parent):
        if step > number and not (other / MARK).exists():
            (other / MARK).write_text(why + "\n")


def make_room(run_dir: str | Path, limit: int | None, resumed: int, saved: Collection[int]) -> None:
    """Before a save: moves incomplete checkpoints aside and keeps the newest `limit` - 1 complete ones.

    A run that resumed from step `resumed` and has since saved at the steps `saved` skipped every other newer folder. A skipped
    folder that was once complete is renamed to aside-checkpoint-<step>, so that you can look at it. Folders that were never
    complete, or that a rollback skipped, are deleted. Deleting by age alone, as Trainer does, could delete the last complete
    checkpoint before the next one is complete.
    """
    kept = 0
    for step, path in _numbered(run_dir):
        sealed, marked = (path / MANIFEST).is_file(), (path / MARK).is_file()
        if sealed and not marked and step > resumed and step not in saved:
            aside = path.with_name(f"aside-{path.name}")
            shutil.rmtree(aside, ignore_errors=True)
            path.rename(aside)
        elif not sealed or marked or (limit is not None and kept >= limit - 1):
            (path / MANIFEST).unlink(missing_ok=True)  # first, so that a partly deleted one does not count as complete
            shutil.rmtree(path, ignore_errors=True)
        else:
            kept += 1


def _numbered(run_dir: str | Path) -> list[tuple[int, Path]]:
    """(step, folder) of all checkpoint folders, newest first."""
    paths = [path for path in Path(run_dir).glob("checkpoint-*") if path.is_dir()]
    found = [(re.fullmatch(r"checkpoint-(\d+)", path.name), path) for path in paths]
    return sorted(((int(match.group(1)), path) for match, path in found if match), reverse=True)


def component_state(path: str | Path) -> dict[str, Any]:
    """Prompt memory and component state, as stored by `complete`."""
    return json.loads((Path(path) / STATE).read_text())


def file_hash(path: Path, algorithm: str = DIGEST) -> str:
    """Hexadecimal digest of a file, read in chunks of 4 MiB."""
    digest = DIGESTS[algorithm]()
    with open(path, "rb") as file:
        while block := file.read(1 << 22):
            digest.update(block)
    return digest.hexdigest()
