"""Safe `torch.load`: in this process it only loads tensors and plain values, or raises; no code runs.

Transformers already sets weights_only; DeepSpeed does not, and its optimizer states have three of its classes, which are
allowed by name. FSDP's sharded checkpoints have a table of contents that torch unpickles: it is checked here first, and may
only contain the types of such a table.
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
"""DeepSpeed's classes in the files of ZeRO 1 to 3."""
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
"""Allowed types of the table of contents; types of torch are allowed too."""


def weights_only() -> None:
    """Enable it. Idempotent; child processes inherit it, except for DeepSpeed's classes and FSDP's table."""
    os.environ[FORCE] = "1"
    if os.environ.get("ACCELERATE_USE_FSDP") == "true":
        _check_contents()
    if os.environ.get("ACCELERATE_USE_DEEPSPEED") != "true":
        return
    import torch

    for module, names in DEEPSPEED.items():
        torch.serialization.add_safe_globals([getattr(import_module(module), name) for name in names])


class _Contents(pickle.Unpickler):
    """Unpickler for the table of contents of a sharded checkpoint."""

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
            f"{self.path} contains {module}.{name}, which does not belong in a table of contents; loading it could run code. "
            "Resume from another checkpoint"
        )


def _check_contents() -> None:
    """Make torch's reader of sharded checkpoints check the table of contents with `_Contents` first."""
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
