"""Safe `torch.load`: in this process it returns tensors and plain values only, or raises; no code runs.

Transformers asks for weights alone by itself; DeepSpeed does not, and its optimiser states hold three classes of its own,
which are let through by name. FSDP's sharded checkpoints have a table of contents that torch unpickles: it is read here
first, and may name nothing but what such a table is made of.
"""

from __future__ import annotations

import os
import pickle
from importlib import import_module
from typing import IO, Any

from tersely.core.errors import ConfigError

FORCE = "TORCH_FORCE_WEIGHTS_ONLY_LOAD"
DEEPSPEED = {
    "deepspeed.runtime.fp16.loss_scaler": ("LossScaler", "DynamicLossScaler"),
    "deepspeed.runtime.zero.config": ("ZeroStageEnum",),
    "deepspeed.utils.tensor_fragment": ("fragment_address",),
}
"""Numbers and enumerations in the files of ZeRO 1 to 3."""
CONTENTS = {
    "torch.distributed.checkpoint.metadata": (
        "Metadata",
        "MetadataIndex",
        "ChunkStorageMetadata",
        "TensorStorageMetadata",
        "TensorProperties",
        "BytesStorageMetadata",
        "StorageMeta",
        "_MEM_FORMAT_ENCODING",
    ),
    "torch.distributed.checkpoint.filesystem": ("_StorageInfo",),
    "torch.serialization": ("_get_layout",),
    "torch": ("Size",),
    "pathlib": ("Path", "PosixPath", "PurePosixPath"),
    "collections": ("OrderedDict",),
}
"""Records of names, shapes, places and types; types of torch come on top."""


def weights_only() -> None:
    """From now on. Idempotent; inherited by child processes, but for DeepSpeed's classes and FSDP's table."""
    os.environ[FORCE] = "1"
    if os.environ.get("ACCELERATE_USE_FSDP") == "true":
        _check_contents()
    if os.environ.get("ACCELERATE_USE_DEEPSPEED") != "true":
        return
    import torch

    for module, names in DEEPSPEED.items():
        torch.serialization.add_safe_globals([getattr(import_module(module), name) for name in names])


class _Contents(pickle.Unpickler):
    """The table of contents of a sharded checkpoint, and nothing else."""

    def __init__(self, file: IO[bytes], path: Any):
        super().__init__(file)
        self.path = path

    def find_class(self, module: str, name: str) -> Any:
        import torch

        plain = name in CONTENTS.get(module, ()) or (
            module == "torch" and isinstance(getattr(torch, name, None), torch.dtype)
        )
        if plain:
            return super().find_class(module, name)
        raise ConfigError(
            f"{self.path} names {module}.{name}, which no table of contents needs, and reading it could run code: "
            "resume from another checkpoint"
        )


def _check_contents() -> None:
    """torch's reader of sharded checkpoints reads the table of contents only where `_Contents` could."""
    from torch.distributed.checkpoint import FileSystemReader

    read = FileSystemReader.read_metadata
    if getattr(read, "checks_contents", False):
        return

    def read_metadata(self: Any, *args: Any, **kwargs: Any) -> Any:
        path = self._get_metadata_path(kwargs.get("rank"))
        with self.fs.create_stream(path, "rb") as file:
            _Contents(file, path).load()
        return read(self, *args, **kwargs)

    read_metadata.checks_contents = True  # type: ignore[attr-defined]
    FileSystemReader.read_metadata = read_metadata  # type: ignore[method-assign]
