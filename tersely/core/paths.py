"""Checks paths: expands variables, explains why a path is missing, and suggests near matches."""

from __future__ import annotations

import argparse
import difflib
import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tersely.core.errors import ConfigError

PATH_KEYS = (
    *("run_dir", "model_name_or_path", "method"),
    *("deepspeed", "fsdp_config", "accelerator_config", "cache_dir"),
)
"""Recipe keys whose text is or may be a path."""
SECTIONS = ("evaluation", "stages", "settings", "model_init_kwargs")
"""Recipe keys with sections that contain keys of `PATH_KEYS`."""


def beside(path: str | Path) -> str:
    """Hint for a missing path: `did you mean runs/base?`, or the first missing parent folder, or ""."""
    path = Path(path)
    missing = [folder for folder in path.absolute().parents if not folder.exists()]
    if missing:
        return f"the folder {missing[-1]} does not exist"
    try:
        names = sorted(os.listdir(path.absolute().parent))
    except OSError:
        return ""
    close = difflib.get_close_matches(path.name, names, n=1, cutoff=0.75)
    return f"did you mean {path.with_name(close[0])}?" if close else ""


def fault_of(error: OSError) -> str:
    """Message of a file error: the path, the problem, and a hint; the error's own text if it has no path."""
    name = error.filename
    if not isinstance(name, str):
        return str(error)
    if isinstance(error, FileNotFoundError):
        return "; ".join(filter(None, (f"no such file or folder: {name}", beside(name))))
    if isinstance(error, IsADirectoryError):
        return f"{name}: is a folder; expected a file"
    if isinstance(error, (NotADirectoryError, FileExistsError)):
        return f"{name}: is a file, or a path below a file; expected a folder"
    if isinstance(error, PermissionError):
        return f"{name}: permission denied. Choose another path, or change the permissions (`ls -ld {name}`)"
    return str(error)


def expanded(path: str | Path, where: str = "path") -> str:
    """The path with `~` and `$VARIABLES` expanded; raises `ConfigError` for a variable that is unset or empty."""

    def value(found: re.Match[str]) -> str:
        name = found[1] or found[2]
        if not os.environ.get(name):
            raise ConfigError(f"{where}: got {str(path)!r}; the variable {name} is not set. Export it")
        return os.environ[name]

    text = re.sub(r"\$(?:\{(\w+)\}|([A-Za-z_]\w*))", value, str(path))
    text = os.path.expanduser(text)
    if re.match(r"~[\w.-]*(/|$)", text):
        raise ConfigError(f"{where}: got {str(path)!r}; this user has no home folder. Write the full path")
    return text


def expanded_values(values: Any, where: str = "path") -> Any:
    """The values of a YAML section with the paths of `PATH_KEYS` expanded, at any depth."""
    if isinstance(values, Mapping):
        return {key: _expanded_value(str(key), value) for key, value in values.items()}
    if isinstance(values, list):
        return [expanded_values(item, where) for item in values]
    return values


def _expanded_value(key: str, value: Any) -> Any:
    if key in PATH_KEYS and isinstance(value, str):
        return expanded(value, key)
    if key == "dataset":
        return [_data(item) for item in value] if isinstance(value, list) else _data(value)
    return expanded_values(value, key) if key in SECTIONS else value


def _data(spec: Any) -> Any:
    """Expand the paths of a dataset's spec: a name, a path, or a mapping."""
    if isinstance(spec, str):
        return expanded(spec, "dataset")
    if isinstance(spec, Mapping):
        return {
            key: expanded(value, f"dataset.{key}") if key in ("name", "path") and isinstance(value, str) else value
            for key, value in spec.items()
        }
    return spec


def path_option(text: str) -> Path:
    """`type=` for a path option."""
    return Path(place_option(text))


def place_option(text: str) -> str:
    """`type=` for an option that is a path or a name; a hub id stays as it is."""
    try:
        return expanded(text)
    except ConfigError as error:
        raise argparse.ArgumentTypeError(str(error)) from None
