"""Prepares the run directory: checks that it belongs to this recipe, writes the resolved config and the environment."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from tersely.configs.recipe import Recipe
from tersely.core.environment import environment
from tersely.core.errors import ConfigError
from tersely.core.files import replace, write_json
from tersely.core.redact import redacted, secret_values
from tersely.rl.checkpoints.resume import Start, begun, changes_between, refused, require_folder


def prepare(recipe: Recipe, resume: bool) -> Start:
    """Create the folder of the run, or check that an existing one belongs to this recipe. Secrets are not written.

    Raises `ConfigError` if the folder cannot be written, contains a run and `--resume` is not set, or
    contains a run whose recipe differs in a rejected key (`rl/checkpoints/resume.py`). A start that failed before its first
    step does not count as a run.
    """
    import yaml

    secrets, config = secret_values(recipe.written), redacted(recipe.to_dict())
    path = Path(recipe.run_dir)
    if resume:
        require_folder(path)
    try:
        path.mkdir(parents=True, exist_ok=True)
        probe = path / ".writable"
        probe.write_text("")
        probe.unlink()
    except OSError as error:
        raise ConfigError(
            f"run_dir: cannot write to {path} ({error.strerror}). Choose another folder with --run_dir"
        ) from None
    start = _start(path, path / "config.yaml", config, resume)
    replace(path / "config.yaml", yaml.safe_dump(config, sort_keys=False, allow_unicode=True))
    write_json(path / "environment.json", environment(secrets))
    return start


def _start(path: Path, stored: Path, config: dict[str, Any], resume: bool) -> Start:
    import yaml

    if not stored.exists():
        return Start(resume=False)
    before = yaml.safe_load(stored.read_text()) or {}
    changes = changes_between(before, config)
    if not begun(path):
        return Start(resume=resume and not changes)  # a cold start may have stored its examples
    if other := refused(changes, staged=bool(config.get("stages"))):
        lines = "; ".join(f"{key}: {old!r} there, {new!r} now" for key, (old, new) in list(other.items())[:4])
        raise ConfigError(f"run_dir {path} belongs to another config ({lines}). Choose another --run_dir")
    if not resume:
        raise ConfigError(
            f"run_dir {path} already contains a run with this config; pass --resume to continue it, or choose another "
            "--run_dir"
        )
    return Start(resume=True, changes=changes)
