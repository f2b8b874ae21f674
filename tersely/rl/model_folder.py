"""What is wrong with a local model folder, found from file sizes and headers before anything is loaded."""

from __future__ import annotations

import json
from pathlib import Path

POINTER = b"version https://git-lfs"


def folder_fault(folder: Path) -> str | None:
    """One line about the first fault: an adapter, git-lfs pointers, cut or missing weights, no tokenizer."""
    if (folder / "adapter_config.json").is_file() and not (folder / "config.json").is_file():
        return "is a LoRA adapter without its base model. Merge it into the base (peft: merge_and_unload) and save that"
    if not (folder / "config.json").is_file():
        return None
    weights = sorted([*folder.glob("*.safetensors"), *folder.glob("pytorch_model*.bin")])
    for path in [*weights, *folder.glob("tokenizer*.json"), *folder.glob("tokenizer.model")]:
        if _starts(path, POINTER):
            return f"{path.name} is a git-lfs pointer, not the file itself. Run `git lfs pull` in the folder"
    for path in weights:
        if path.suffix == ".safetensors" and (missing := cut_bytes(path)):
            return f"{path.name} is incomplete: {missing}. Copy or download it again"
    return _missing_shard(folder)


def _starts(path: Path, mark: bytes) -> bool:
    with path.open("rb") as file:
        return file.read(len(mark)) == mark


def cut_bytes(path: Path) -> str | None:
    """What a safetensors file lacks against its own header."""
    size = path.stat().st_size
    with path.open("rb") as file:
        head = int.from_bytes(file.read(8), "little")
        if size < 8 + head or not head:
            return f"it has {size} bytes, less than its header needs"
        try:
            entries = json.loads(file.read(head))
        except ValueError:
            return "its header cannot be read"
    ends = [entry["data_offsets"][1] for name, entry in entries.items() if name != "__metadata__"]
    needed = 8 + head + max(ends, default=0)
    return f"it has {size} of {needed} bytes" if size < needed else None


def _missing_shard(folder: Path) -> str | None:
    index = folder / "model.safetensors.index.json"
    if not index.is_file():
        return None
    try:
        names = sorted(set(json.loads(index.read_text(encoding="utf-8"))["weight_map"].values()))
    except (ValueError, KeyError, AttributeError):
        return f"{index.name} cannot be read. Copy or download it again"
    lost = [name for name in names if not (folder / name).is_file()]
    return f"{len(lost)} of {len(names)} weight files are missing, the first {lost[0]}" if lost else None
