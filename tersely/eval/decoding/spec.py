"""Parses `NAME[:key=value,...]` into a strategy. Values are YAML; commas inside brackets and quotes are part of the value."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from tersely.core.errors import ConfigError, check_fields, nearest
from tersely.core.parse_completion import END_OF_THINKING
from tersely.core.paths import expanded
from tersely.engines.base import Engine
from tersely.engines.phases import has_marker
from tersely.engines.registry import evaluation_engines
from tersely.eval.decoding.base import Strategy

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

FILES = ("vector", "probe")
"""Parameters that are paths to fitted files."""


@dataclass(frozen=True)
class Chosen:
    """A strategy with the name and parameters that selected it."""

    name: str
    given: dict[str, Any]
    strategy: Strategy

    @property
    def label(self) -> str | None:
        """Label such as `forced_answer(budget=64)` for reports and folders; None for vanilla sampling."""
        from tersely.eval.run_arrays import strategy_label

        return strategy_label(self.record)

    @property
    def record(self) -> dict[str, Any] | None:
        """Name and given parameters, for the records."""
        return None if self.name == "vanilla" else {"name": self.name, **self.given}

    @property
    def parameters(self) -> dict[str, Any]:
        """All parameters, with defaults."""
        return asdict(self.strategy)

    @property
    def settings(self) -> dict[str, Any] | None:
        """Name and all parameters, for the run card."""
        return None if self.label is None else {"name": self.name, **self.parameters}

    def variants(self) -> list[Chosen]:
        """One variant per recorded strategy: `budgets` of forced_answer are several strategies on one trace."""
        return [Chosen(self.name, one.recorded(self.given), one) for one in self.strategy.variants()]


def parse(text: str) -> Chosen:
    """Parse a strategy from the command line; raises `ConfigError`."""
    name, _, rest = text.partition(":")
    return choose(name.strip(), _parameters(name.strip(), rest))


def choose(name: str, given: Mapping[str, Any]) -> Chosen:
    """Build a strategy from a name and parameters."""
    from tersely.eval.decoding.registry import STRATEGIES

    if name not in STRATEGIES:
        raise ConfigError(f"unknown decoding strategy {name!r}; {nearest(name, STRATEGIES)}")
    kind = STRATEGIES[name]
    given = {
        key: expanded(value, f"{name}.{key}") if key in FILES and isinstance(value, str) else value
        for key, value in given.items()
    }
    return Chosen(name, dict(given), kind(**check_fields(kind, given, f"strategy {name}")))


def check(chosen: Chosen, tokenizer: PreTrainedTokenizerBase, engine: Engine) -> None:
    """Raise if the strategy does not support the engine or the model."""
    if engine.capabilities.lacks(chosen.strategy.needs):
        able = " or ".join(evaluation_engines(chosen.strategy.needs))
        raise ConfigError(f"strategy {chosen.name} needs the engine {able}; got {engine.name}")
    if chosen.strategy.needs_marker and not has_marker(tokenizer):
        raise ConfigError(
            f"strategy {chosen.name} needs a model that ends its thinking with {END_OF_THINKING}; neither this model's "
            "vocabulary nor its chat template has it"
        )


def _parameters(name: str, text: str) -> dict[str, Any]:
    import yaml

    found = {}
    for part in _split(text):
        key, equals, value = part.partition("=")
        if not equals:
            raise ConfigError(f"strategy {name}: got {part.strip()!r}; expected a parameter such as budget=512")
        if key.strip() in found:
            raise ConfigError(
                f"strategy {name}: {key.strip()} is given twice; expected one value. Leave one of them out"
            )
        try:
            found[key.strip()] = yaml.safe_load(value) if value.strip() else ""
        except yaml.YAMLError as error:
            raise ConfigError(
                f"strategy {name}: {key.strip()}: invalid YAML value {value!r}. "
                "Put quotes around a text with any of : # , [ ] { } ?"
            ) from error
    return found


def _split(text: str) -> list[str]:
    """Split at commas outside brackets and quotes."""
    parts, depth, quote = [""], 0, ""
    for char in text:
        if quote:
            quote = "" if char == quote else quote
        elif char in "\"'":
            quote = char
        else:
            depth += (char in "[{(") - (char in "]})")
        if char == "," and depth == 0 and not quote:
            parts.append("")
        else:
            parts[-1] += char
    return [part for part in parts if part.strip()]
