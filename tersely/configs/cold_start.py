"""The keys of a stage of kind `sft`: supervised training on correct answers that are rewritten into a method's form.

- {name: warm, kind: sft, steps: 60, rewrite: selfbudgeter, prompts: 256, samples: 4}     # the model's own answers
- {name: warm, kind: sft, steps: 60, rewrite: sbt, traces: openr1.jsonl}                  # answers of a file
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from tersely.configs.dataset import SourceSpec, parse_sources
from tersely.core.component_spec import ComponentSpec
from tersely.core.errors import ConfigError, check_fields, require_range

WHERE = "cold start"
OF_SAMPLING = ("prompts", "samples", "temperature")
"""Keys about answers that the model samples."""


@dataclass(frozen=True)
class TracesSpec:
    """A file or dataset with completions, several per problem if it has them."""

    source: SourceSpec
    text: str = "text"
    """Column of the completion, or a dotted path such as `generations.0`."""

    @classmethod
    def of(cls, value: TracesSpec | str | Mapping[str, Any] | None) -> TracesSpec | None:
        """From a path, or from the keys of a dataset and `text`."""
        if value is None or isinstance(value, cls):
            return value
        if not isinstance(value, str | Mapping) or not value:
            raise ConfigError(
                f"{WHERE} traces: got {value!r}; expected a file such as traces.jsonl, or a mapping such as "
                "{path: traces.jsonl, columns: {answer: gold}, text: generation}"
            )
        stated = {"path": value} if isinstance(value, str) else dict(value)
        text = stated.pop("text", "text")
        if not isinstance(text, str) or not text:
            raise ConfigError(f"{WHERE} traces: text: got {text!r}; expected the name of the completion's column")
        try:
            (source,) = parse_sources(stated)
        except ConfigError as error:
            raise ConfigError(f"{WHERE} traces: {error}") from error
        if source.procedural:
            raise ConfigError(
                f"{WHERE} traces: got {source.path!r}, which has no completions; expected a file of traces"
            )
        return cls(replace(source, keep_duplicates=True), text)


@dataclass(frozen=True)
class ColdStart:
    """Settings of a stage of kind `sft`, in addition to name and steps."""

    rewrite: ComponentSpec = ComponentSpec("plain")
    """How a correct, complete answer is rewritten, see `tersely.rl.sft.rewrites`."""
    traces: TracesSpec | None = None
    """Where the answers come from: a file or dataset. None: the model samples them."""
    prompts: int = 256
    """Number of prompts to sample, from the start of the dataset."""
    samples: int = 4
    """Samples per prompt."""
    temperature: float = 1.0
    """Sampling temperature."""
    batch_size: int = 16
    """Examples per step on each rank."""
    sft_loss: ComponentSpec | None = None
    """A component of `SFT_LOSSES`; null for the weighted mean over tokens."""
    settings: Mapping[str, Any] = field(default_factory=dict)
    """Fields of TRL's SFTConfig by name; `tersely.rl.sft.settings` checks them."""

    def __post_init__(self) -> None:
        for name in ("prompts", "samples", "batch_size"):
            require_range(f"{WHERE} {name}", getattr(self, name), at_least=1, at_most=2**30)
        require_range(f"{WHERE} temperature", self.temperature, above=0, at_most=100)

    @classmethod
    def of(cls, stated: Mapping[str, Any]) -> ColdStart:
        """Parse the keys of a stage. Raises `ConfigError` with the key, the value and the nearest name."""
        values = dict(stated)
        if values.get("rewrite") is not None:
            values["rewrite"] = ComponentSpec.of("rewrite", values["rewrite"])
        if values.get("sft_loss") is not None:
            values["sft_loss"] = ComponentSpec.of("sft_loss", values["sft_loss"])
        if "traces" in values:
            values["traces"] = TracesSpec.of(values["traces"])
        unused = [key for key in OF_SAMPLING if key in values] if values.get("traces") is not None else []
        if unused:
            raise ConfigError(
                f"{WHERE} {unused[0]}: has no effect with traces, which are not sampled. Remove {', '.join(unused)}; a "
                "`limit` in traces takes fewer of them"
            )
        return cls(**check_fields(cls, values, WHERE))

    def to_dict(self) -> dict[str, Any]:
        """The keys without the defaults, as YAML has them."""
        default, found = ColdStart(), {}
        for name, value in vars(self).items():
            if value == getattr(default, name):
                continue
            if isinstance(value, ComponentSpec):
                value = {"name": value.name, **value.parameters} if value.parameters else value.name
            found[name] = value.source.path if isinstance(value, TracesSpec) else value
        return found

    def table(self) -> str:
        """One line per key as a dry run prints it, without the settings."""
        shown = {name: value for name, value in vars(self).items() if name != "settings"} | self.to_dict()
        if self.traces is None:
            del shown["traces"]
        else:
            shown = {name: value for name, value in shown.items() if name not in OF_SAMPLING}
        shown["rewrite"] = self.to_dict().get("rewrite", self.rewrite.name)
        return "\n".join(f"{name:>18} {value!s:>8}" for name, value in shown.items() if name != "settings")
