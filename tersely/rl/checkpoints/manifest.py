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
"""A file of this name in a checkpoint: why it must not be taken again."""
DIGEST = "xxh3_128"
"""Finds damage, not forgery, and is faster than the disk: a checkpoint holds tens of gigabytes."""
DIGESTS: dict[str, Any] = {DIGEST: xxhash.xxh3_128, "blake2b": hashlib.blake2b}
"""The second is that of checkpoints written before."""


def folder(run_dir: str | Path, step: int) -> Path:
    return Path(run_dir) / f"checkpoint-{step}"


def complete(run_dir: str | Path, step: int, state: dict[str, Any]) -> None:
    """Add the component state to a saved checkpoint and seal it."""
    seal(folder(run_dir, step), step, state)


def seal(path: Path, step: int, state: dict[str, Any]) -> None:
    """The same for any folder of saved weights."""
    write_json(path / STATE, state)
    files = sorted(p for p in path.rglob("*") if p.is_file() and p.name != MANIFEST)
    manifest = {str(p.relative_to(path)): {"bytes": p.stat().st_size, DIGEST: file_hash(p)} for p in files}
    write_json(path / MANIFEST, {"step": step, "files": manifest})


def fault(path: Path) -> str | None:
    """What is wrong with a checkpoint folder, or None where it is whole."""
    manifest, mark = path / MANIFEST, path / MARK
    if mark.is_file():
        return mark.read_text().strip()
    if not manifest.is_file():
        return "it was not finished"
    try:
        files = json.loads(manifest.read_text())["files"]
    except (ValueError, KeyError) as error:
        return f"its manifest cannot be read ({error})"
    for name, facts in files.items():
        file = path / name
        if not file.is_file():
            return f"{name} is missing"
        if file.stat().st_size != facts["bytes"]:
            return f"{name} has {file.stat().st_size} bytes, not {facts['bytes']}"
        algorithm = next((name for name in DIGESTS if name in facts), None)
        if algorithm is None or file_hash(file, algorithm) != facts[algorithm]:
            return f"{name} has changed since it was written"
    return None


def latest_whole(run_dir: str | Path, until: int | None = None) -> tuple[Path | None, list[str]]:
    """(newest whole checkpoint or None, one line for each newer folder that was passed over); `until` a step, if given."""
    passed_over: list[str] = []
    for step, path in _numbered(run_dir):
        if until is not None and step > until:
            continue
        problem = fault(path)
        if problem is None:
            return path, passed_over
        passed_over.append(f"{path.name} is left aside: {problem}")
    return None, passed_over


def mark_behind(path: Path, why: str) -> None:
    """Every checkpoint newer than `path` is never taken again."""
    number = int(path.name.rpartition("-")[2])
    for step, other in _numbered(path.parent):
        if step > number and not (other / MARK).exists():
            (other / MARK).write_text(why + "\n")


def make_room(run_dir: str | Path, limit: int | None, resumed: int, own: Collection[int]) -> None:
    """Before a save: what cannot be gone on from is put out of the way, and `limit` - 1 sealed checkpoints stay.

    A run that went on from step `resumed` and has since saved at the steps `own` passed over every other newer folder.
    One of those that was finished once is renamed to aside-checkpoint-<step>, for whoever wants to look at it. What was
    never finished, and what the run went back behind, is deleted. Deleting by age alone, as Trainer does, could take the
    last whole checkpoint before the next one is sealed.
    """
    kept = 0
    for step, path in _numbered(run_dir):
        sealed, marked = (path / MANIFEST).is_file(), (path / MARK).is_file()
        if sealed and not marked and step > resumed and step not in own:
            aside = path.with_name(f"aside-{path.name}")
            shutil.rmtree(aside, ignore_errors=True)
            path.rename(aside)
        elif not sealed or marked or (limit is not None and kept >= limit - 1):
            (path / MANIFEST).unlink(missing_ok=True)  # first, so that a half deleted one is not taken for whole
            shutil.rmtree(path, ignore_errors=True)
        else:
            kept += 1


def _numbered(run_dir: str | Path) -> list[tuple[int, Path]]:
    """(step, folder) of everything that looks like a checkpoint, newest first."""
    paths = [path for path in Path(run_dir).glob("checkpoint-*") if path.is_dir()]
    found = [(re.fullmatch(r"checkpoint-(\d+)", path.name), path) for path in paths]
    return sorted(((int(match.group(1)), path) for match, path in found if match), reverse=True)


def component_state(path: str | Path) -> dict[str, Any]:
    """Prompt memory and the state of the components, as `complete` stored them."""
    return json.loads((Path(path) / STATE).read_text())


def file_hash(path: Path, algorithm: str = DIGEST) -> str:
    """Hexadecimal digest of a file's bytes, read in pieces of 4 MiB."""
    digest = DIGESTS[algorithm]()
    with open(path, "rb") as file:
        while block := file.read(1 << 22):
            digest.update(block)
    return digest.hexdigest()
