"""Writes the README.md of a trained model: base model, method and slots, data, settings, how to evaluate it."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

from tersely.configs.load import SLOT_KEYS
from tersely.configs.overrides import DEFAULTS
from tersely.configs.recipe import KEYS, SECTIONS, Recipe
from tersely.engines.chat import Prompting

SETTINGS = (
    *("prompts_per_step", "group_size", "updates_per_batch", "max_steps", "learning_rate", "lr_scheduler_type"),
    *("max_completion_length", "beta", "peft", "engine", "seed"),
)
"""Recipe keys that the card shows."""


def root_of(output_dir: str | Path) -> Path:
    """Folder of the whole run; a stage has the folder <run>/stages/<n>-<name>."""
    folder = Path(output_dir)
    return folder.parents[1] if folder.parent.name == "stages" else folder


def card_of(run_dir: str | Path, steps: int, tags: tuple[str, ...] = (), prompting: Prompting | None = None) -> str:
    """Model card as Markdown, from the run's config.yaml (without secrets), data.json and environment.json.

    prompting: the prompting, as in prompting.json.
    """
    import yaml

    root = root_of(run_dir)
    recipe = _read(root / "config.yaml") or {}
    data, environment = _read(root / "data.json") or {}, _read(root / "environment.json") or {}
    base, method = str(recipe.get("model_name_or_path", "unknown")), recipe.get("method")
    library = "peft" if recipe.get("peft") else "transformers"
    front: dict[str, Any] = {"library_name": library, "tags": ["tersely", "grpo", *tags]}
    if _on_hub(base):
        front["base_model"] = base
    if hub := [path for path in _paths(recipe.get("dataset")) if _on_hub(path)]:
        front["datasets"] = hub
    slots = {key: recipe[key] for key in (*SLOT_KEYS, "stages") if recipe.get(key) not in (None, [])}
    settings = {key: recipe[key] for key in SETTINGS if key in recipe}
    title, reference = _title(method)
    return "\n".join(
        [
            f"---\n{yaml.safe_dump(front, sort_keys=False)}---\n",
            f"# {root.name}\n",
            f"{base}, trained with {title} for {steps} optimizer steps to reason in fewer tokens.{reference}\n",
            f"## Method\n\n```yaml\nmethod: {method}\n{_yaml(slots)}```\n",
            f"## Data\n\n{_data(recipe, data)}\n",
            f"## Training\n\n```yaml\n{_yaml(settings)}```\n\n{_versions(environment)}\n",
            f"## Prompting\n\n```yaml\n{_yaml(_prompting(prompting))}```\n",
            "## Evaluation\n\nNot evaluated. Run `tersely eval FOLDER --benchmarks math500 --out OUT`.\n",
        ]
    )


def recorded(recipe: Recipe) -> dict[str, Any]:
    """Values for wandb, trackio and other loggers in addition to TRL's arguments: method, slots, beta, batch."""
    from tersely.algorithms.objective import SLOT_DEFAULTS
    from tersely.core.redact import redacted

    values = {key: getattr(recipe, key) for key in KEYS if key not in ("env", "stages", *SECTIONS)}
    values |= {key: recipe.written.get(key, DEFAULTS.get(key, {})) for key in SECTIONS}
    values |= {key: recipe.written[key] for key in (*SLOT_DEFAULTS, "stages") if recipe.states(key)}
    values |= {slot: values[slot] or default for slot, default in SLOT_DEFAULTS.items()}
    return {**redacted(values), "beta": float(recipe.trl.get("beta") or 0.0)}


def _read(path: Path) -> Any:
    import yaml

    if not path.is_file():
        return None
    text = path.read_text(encoding="utf-8")
    return json.loads(text) if path.suffix == ".json" else yaml.safe_load(text)


def _yaml(values: Mapping[str, Any]) -> str:
    import yaml

    return yaml.safe_dump(dict(values), sort_keys=False, allow_unicode=True) if values else "{}\n"


def _title(method: Any) -> tuple[str, str]:
    from tersely.configs.load import load_method
    from tersely.core.errors import ConfigError

    try:
        preset = load_method(str(method)) if method else {}
    except ConfigError:
        preset = {}
    paper = preset.get("paper")
    reference = f" Paper: https://arxiv.org/abs/{paper}." if paper else ""
    return str(preset.get("title") or method or "a custom objective"), reference


def _on_hub(name: str) -> bool:
    """True for a name like `owner/name` that is not a folder."""
    return name.count("/") == 1 and not name.startswith((".", "/", "~")) and not Path(name).exists()


def _paths(spec: Any) -> list[str]:
    from tersely.core.errors import ConfigError
    from tersely.data import parse_sources

    try:
        return [str(source.path) for source in parse_sources(spec)]
    except ConfigError:
        return []


def _data(recipe: Mapping[str, Any], data: Mapping[str, Any]) -> str:
    rows = [f"- {s['source']}: {s['used']} problems of {s['read']} read" for s in data.get("sources", ())]
    rows = rows or [f"- {path}" for path in _paths(recipe.get("dataset"))]
    if data.get("fingerprint"):
        rows.append(f"\n{data.get('rows')} problems, fingerprint `{data['fingerprint']}`.")
    return "\n".join(rows)


def _prompting(prompting: Prompting | None) -> dict[str, Any]:
    values = asdict(prompting) if prompting else {}
    return {key: value for key, value in values.items() if value not in (None, {})}


def _versions(environment: Mapping[str, Any]) -> str:
    found = environment.get("versions") or {}
    words = ", ".join(f"{name} {version}" for name, version in found.items())
    return f"Versions: {words}." if words else ""
