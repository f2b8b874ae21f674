"""Renders chats with the chat template, and saves the prompting with a trained model.

Training, held-out evaluation, `tersely eval` and `tersely preflight` all use `prompt_ids`. Each saved model has a
`prompting.json` next to its weights; `tersely eval` uses it unless the command line overrides it.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tersely.core.errors import ConfigError, check_fields
from tersely.core.files import write_json
from tersely.core.findings import Finding
from tersely.core.paths import expanded
from tersely.core.strict_json import strict_json

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

FILE = "prompting.json"
Chat = Sequence[Mapping[str, str]]


def prompt_ids(
    tokenizer: PreTrainedTokenizerBase, chat: Chat, chat_template_kwargs: Mapping[str, Any] | None = None
) -> list[int]:
    """Token ids of one chat, up to the start of the assistant's turn."""
    return all_prompt_ids(tokenizer, [chat], chat_template_kwargs)[0]


def all_prompt_ids(
    tokenizer: PreTrainedTokenizerBase, chats: Sequence[Chat], chat_template_kwargs: Mapping[str, Any] | None = None
) -> list[list[int]]:
    """The same for many chats, tokenised together."""
    if not chats:
        return []
    found = tokenizer.apply_chat_template(
        [list(chat) for chat in chats],
        add_generation_prompt=True,
        return_dict=False,
        **dict(chat_template_kwargs or {}),
    )
    return [list(ids) for ids in found]


def prompt_text(
    tokenizer: PreTrainedTokenizerBase, chat: Chat, chat_template_kwargs: Mapping[str, Any] | None = None
) -> str:
    """The text that `prompt_ids` tokenises."""
    return tokenizer.apply_chat_template(
        list(chat), add_generation_prompt=True, tokenize=False, **dict(chat_template_kwargs or {})
    )


def with_instruction(messages: Chat, instruction: str | None) -> list[dict[str, str]]:
    """The chat with `instruction` appended to the last message, on a separate line."""
    chat = [dict(message) for message in messages]
    if instruction:
        chat[-1]["content"] = f"{chat[-1]['content']}\n{instruction}"
    return chat


def after_instruction(messages: Chat, instruction: str) -> list[dict[str, str]]:
    """The chat with `instruction` before the last message, with a blank line between."""
    chat = [dict(message) for message in messages]
    chat[-1]["content"] = f"{instruction}\n\n{chat[-1]['content']}"
    return chat


def opened_by(prefill: str | None, tail: str) -> str:
    """The prefill after the template's opening, without a second `<think>`."""
    text = prefill or ""
    if text.startswith("<think>") and tail.rstrip().endswith("<think>"):
        return text.removeprefix("<think>").lstrip()
    return text


@dataclass(frozen=True)
class Prompting:
    """Texts around a problem. An empty one keeps the data's instruction and the template's defaults."""

    system_prompt: str | None = None
    instruction: str | None = None
    """Instruction appended to every problem. None: the dataset's or benchmark's instruction; "": none."""
    chat_template_kwargs: dict = field(default_factory=dict)
    """Chat template variables, for example {enable_thinking: false}."""
    prompting_instruction: str | None = None
    """Second instruction, from the method's prompting, if it is the same for every rollout."""
    prefill: str | None = None
    """Prefill of the assistant's turn, from the method's prompting."""

    def without_prompting(self) -> Prompting:
        """The prompting without the method's instruction and prefill, for a decoding strategy that has its own."""
        return replace(self, prompting_instruction=None, prefill=None)

    def ids(self, tokenizer: PreTrainedTokenizerBase, chat: Chat) -> list[int]:
        """Token ids of a chat with system prompt and instruction, plus the method's instruction and prefill."""
        ids = prompt_ids(tokenizer, with_instruction(chat, self.prompting_instruction), self.chat_template_kwargs)
        if self.prefill:
            opening = opened_by(self.prefill, tokenizer.decode(ids[-16:]))
            ids += tokenizer.encode(opening, add_special_tokens=False)
        return ids

    def text(self, tokenizer: PreTrainedTokenizerBase, chat: Chat) -> str:
        """The whole prompt as text."""
        text = prompt_text(tokenizer, with_instruction(chat, self.prompting_instruction), self.chat_template_kwargs)
        return text + opened_by(self.prefill, text)

    def words(self) -> str:
        """One-line description, such as `instruction 'Be brief.', enable_thinking=False`."""
        parts = [f"system prompt {self.system_prompt!r}" if self.system_prompt else ""]
        if self.instruction is not None:
            parts.append(f"instruction {self.instruction!r}" if self.instruction else "no instruction")
        parts.append(f"the method's instruction {self.prompting_instruction!r}" if self.prompting_instruction else "")
        parts.append(f"prefill {self.prefill!r}" if self.prefill else "")
        parts += [f"{key}={value!r}" for key, value in self.chat_template_kwargs.items()]
        return ", ".join(filter(None, parts)) or "the data's instruction and the template's defaults"

    def save(self, folder: str | Path) -> None:
        write_json(Path(folder) / FILE, asdict(self))


def read_prompting(place: str | Path) -> Prompting | None:
    """The prompting saved in a model folder (or in the file itself); None if there is none."""
    path = Path(expanded(place))
    path = path / FILE if path.is_dir() else path
    if not path.is_file():
        return None
    try:
        values = strict_json(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise ConfigError(f"{path}: not valid JSON ({error}). Fix or delete the file") from error
    if not isinstance(values, dict):
        raise ConfigError(f"{path}: got {type(values).__name__}; expected an object with {_names()}")
    return Prompting(**check_fields(Prompting, values, str(path)))


def _names() -> str:
    return ", ".join(f.name for f in fields(Prompting))


def unread_variables(tokenizer: PreTrainedTokenizerBase, chat_template_kwargs: Mapping[str, Any] | None) -> list[str]:
    """Names in `chat_template_kwargs` that the chat template never reads, so they have no effect."""
    known = template_variables(str(getattr(tokenizer, "chat_template", None) or ""))
    return [name for name in chat_template_kwargs or {} if name not in known]


def template_variables(template: str) -> set[str]:
    """Variables of a chat template; all words of it if it cannot be parsed."""
    import jinja2
    from jinja2 import meta

    environment = jinja2.Environment(extensions=["jinja2.ext.loopcontrols"])
    plain = re.sub(r"{%-?\s*(end)?generation\s*-?%}", "", template)  # a tag that transformers adds to jinja
    try:
        return meta.find_undeclared_variables(environment.parse(plain))
    except jinja2.TemplateError:
        return set(re.findall(r"[A-Za-z_]\w*", template))


def variable_warnings(
    tokenizer: PreTrainedTokenizerBase, chat_template_kwargs: Mapping[str, Any] | None
) -> list[Finding]:
    """Warning about variables without effect, with the nearest valid one."""
    from tersely.core.errors import nearest

    names = unread_variables(tokenizer, chat_template_kwargs)
    if not names:
        return []
    standard = {"messages", "tools", "documents", "add_generation_prompt", "raise_exception", "strftime_now"}
    known = template_variables(str(tokenizer.chat_template or "")) - standard - _special_tokens(tokenizer)
    hint = nearest(names[0], known) if known else "this template has no variables"
    text = f"the chat template does not read {', '.join(map(repr, names))}"
    return [Finding("warn", "chat_template_kwargs", text, hint)]


def _special_tokens(tokenizer: PreTrainedTokenizerBase) -> set[str]:
    return set(getattr(tokenizer, "special_tokens_map", {}))
