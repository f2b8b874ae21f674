"""Supported TRL versions, checked when the trainer is imported, because it overrides private methods of TRL."""

from __future__ import annotations

import warnings
from importlib.metadata import PackageNotFoundError, version

TRL_WINDOW = ("1.16", "1.17")
"""First supported release, first unsupported one."""


def check_window() -> None:
    """Raise if TRL is missing, warn if its version is outside the window."""
    from packaging.version import Version

    try:
        installed = version("trl")
    except PackageNotFoundError:
        raise ImportError(
            "tersely trains with TRL, which is not installed. Run pip install 'trl>=1.16,<1.17'"
        ) from None
    low, high = (Version(bound) for bound in TRL_WINDOW)
    if not low <= Version(installed) < high:
        warnings.warn(
            f"trl {installed} is outside the supported window {TRL_WINDOW[0]} <= trl < {TRL_WINDOW[1]}; the trainer "
            "overrides its private methods. Run pip install 'trl>=1.16,<1.17'",
            stacklevel=2,
        )
