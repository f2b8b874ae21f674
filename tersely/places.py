"""Words about paths in messages: what a path is, where something else was meant, and what lies near one that is not there."""

from __future__ import annotations

import argparse
import difflib
import os
import re
from pathlib import Path

from tersely.checks import SpecError


def beside(path: str | Path) -> str:
    """Why there is nothing at `path`: `did you mean runs/base?`, or the first folder on the way that is missing; else ""."""
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
    """The error in words that name the path, what it is, and what was needed; its own text where it has no path."""
    name = error.filename
    if not isinstance(name, str):
        return str(error)
    if isinstance(error, FileNotFoundError):
        return "; ".join(filter(None, (f"there is no file or folder {name}", beside(name))))
    if isinstance(error, IsADirectoryError):
        return f"{name} is a folder; a file is needed here"
    if isinstance(error, (NotADirectoryError, FileExistsError)):
        return f"{name} is, or lies below, a file; a folder is needed here"
    if isinstance(error, PermissionError):
        return f"{name}: permission denied; another place, or other rights (`ls -ld {name}`)"
    return str(error)


def expanded(path: str | Path, where: str = "path") -> str:
    """The path with `~` and `$VARIABLES` replaced; `SpecError` for a variable that is not set."""
    text = os.path.expandvars(os.path.expanduser(str(path)))
    if missing := re.search(r"\$(\{\w+\}|[A-Za-z_]\w*)", text):
        raise SpecError(
            f"{where}: got {str(path)!r}, and the environment has no variable {missing[1].strip('{}')}; export it"
        )
    return text


def path_option(text: str) -> Path:
    """`type=` of an option that is a path."""
    return Path(place_option(text))


def place_option(text: str) -> str:
    """`type=` of an option that is a path or a name: a hub id stays as it is."""
    try:
        return expanded(text)
    except SpecError as error:
        raise argparse.ArgumentTypeError(str(error)) from None
