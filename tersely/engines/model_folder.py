"""Locates a model, and detects damage in its folder from file sizes and headers, before anything is loaded."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any
from zipfile import is_zipfile

from tersely.core.errors import ConfigError
from tersely.core.paths import expanded

POINTER = b"version https://git-lfs"


CONFIG = "adapter_config.json"
"""File that marks the folder of an adapter, and names its base model."""
EMBEDDINGS = ("embed_tokens.weight", "wte.weight", "word_embeddings.weight", "embed_in.weight")
"""Names of the input embeddings in transformers' model families."""


def model_location(name: str) -> str:
    """Location of a model: `testbed` is the embedded model; anything else is a hub id or a folder, unchanged."""
    if name != "testbed":
        return expanded(name, "model")
    from tersely.testbed import model_path

    return str(model_path())


def folder_fault(folder: Path) -> str | None:
    """One line about the first fault: git-lfs pointers, truncated or missing weights."""
    if not any((folder / name).is_file() for name in ("config.json", CONFIG)):
        return None
    for path in sorted(path for path in folder.iterdir() if path.is_file()):
        if _starts(path, POINTER):
            return f"{path.name} is a git-lfs pointer, not the file itself. Run `git lfs pull` in the folder"
    weights = sorted([*folder.glob("*.safetensors"), *folder.glob("pytorch_model*.bin")])
    for path in weights:
        if missing := cut_bytes(path) if path.suffix == ".safetensors" else cut_archive(path):
            return f"{path.name} is incomplete: {missing}. Copy or download it again"
    if (folder / CONFIG).is_file():
        lost = not any(path.name.startswith("adapter_model.") for path in folder.iterdir())
        return f"has an {CONFIG} but no weights (adapter_model.safetensors)" if lost else None
    return _missing_shard(folder) or (None if weights else "has a config.json but no weights (model.safetensors)")


def is_adapter(location: str) -> bool:
    """True for the folder or hub id of an adapter; False for any other model, and if the hub is not reachable."""
    folder = Path(location)
    if folder.is_dir():
        return (folder / CONFIG).is_file()
    if location.startswith((".", "/")) or location.count("/") > 1:
        return False
    import huggingface_hub

    def cached(name: str) -> bool:
        return isinstance(huggingface_hub.try_to_load_from_cache(location, name), str)

    try:
        if cached(CONFIG):
            return True
        if cached("config.json") or huggingface_hub.is_offline_mode():
            return False
        return huggingface_hub.file_exists(location, CONFIG)
    except Exception:  # no such repository, no access, no network: what loads the model reports it
        return False


def adapter_config(location: str) -> dict[str, Any] | None:
    """The config of an adapter, downloaded if needed; None for any other model."""
    if not is_adapter(location):
        return None
    path = Path(location) / CONFIG
    if not path.is_file():
        import huggingface_hub

        path = Path(huggingface_hub.hf_hub_download(location, CONFIG))
    try:
        stored = json.loads(path.read_text(encoding="utf-8"))
        if isinstance(stored["base_model_name_or_path"], str):
            return stored
    except (ValueError, KeyError, TypeError):
        pass
    raise ConfigError(f"{location}: {CONFIG} names no base model. Add base_model_name_or_path: a folder or a hub id")


def base_name(name: str) -> str:
    """The base model that an adapter names; any other model unchanged."""
    stored = adapter_config(model_location(name))
    return name if stored is None else str(stored["base_model_name_or_path"])


def base_location(name: str) -> str:
    """Location of the base model of an adapter, or of any other model."""
    return model_location(base_name(name))


def tokenizer_location(name: str) -> str:
    """Location of a model's tokenizer: an adapter without one has its base model's."""
    location = model_location(name)
    if not is_adapter(location):
        return location
    names = ("tokenizer_config.json", "tokenizer.json")
    if Path(location).is_dir():
        return location if any((Path(location) / file).is_file() for file in names) else base_location(name)
    import huggingface_hub

    def there(file: str) -> bool:
        cached = huggingface_hub.try_to_load_from_cache(location, file)
        if isinstance(cached, str) or huggingface_hub.is_offline_mode():
            return isinstance(cached, str)
        return huggingface_hub.file_exists(location, file)

    return location if any(there(file) for file in names) else base_location(name)


def embedding_rows(folder: Path) -> int | None:
    """Rows of the input embedding, from the headers of the weights; None if unknown."""
    for path in sorted(folder.glob("*.safetensors")):
        for name, entry in (_header(path) or {}).items():
            if name.endswith(EMBEDDINGS) and isinstance(entry, dict) and entry.get("shape"):
                return int(entry["shape"][0])
    return None


def _starts(path: Path, mark: bytes) -> bool:
    with path.open("rb") as file:
        return file.read(len(mark)) == mark


def cut_bytes(path: Path) -> str | None:
    """Error text if a safetensors file is shorter than its header says."""
    size = path.stat().st_size
    with path.open("rb") as file:
        head = int.from_bytes(file.read(8), "little")
    if size < 8 + head or not head:
        return f"it has {size} bytes, less than its header needs"
    entries = _header(path)
    try:
        ends = [entry["data_offsets"][1] for name, entry in (entries or {}).items() if name != "__metadata__"]
        needed = 8 + head + max(ends, default=0)
    except (KeyError, IndexError, TypeError):
        entries = None
    if entries is None:
        return "its header cannot be read"
    return f"it has {size} of {needed} bytes" if size < needed else None


def cut_archive(path: Path) -> str | None:
    """Error text if a torch.save file has lost its end, which has the zip directory."""
    return "its end is missing" if not path.stat().st_size or (_starts(path, b"PK") and not is_zipfile(path)) else None


def _header(path: Path) -> dict[str, Any] | None:
    """The header of a safetensors file; None if it cannot be read."""
    with path.open("rb") as file:
        head = int.from_bytes(file.read(8), "little")
        if head > path.stat().st_size:
            return None
        try:
            entries = json.loads(file.read(head))
        except ValueError:
            return None
    return entries if isinstance(entries, dict) else None


def _missing_shard(folder: Path) -> str | None:
    index = folder / "model.safetensors.index.json"
    if not index.is_file():
        index = folder / "pytorch_model.bin.index.json"
    if not index.is_file():
        return None
    try:
        names = sorted(set(json.loads(index.read_text(encoding="utf-8"))["weight_map"].values()))
    except (ValueError, KeyError, AttributeError):
        return f"{index.name} cannot be read. Copy or download it again"
    lost = [name for name in names if not (folder / name).is_file()]
    return f"{len(lost)} of {len(names)} weight files are missing, the first {lost[0]}" if lost else None
