r"""The testbed's tokenizer: bytes, the numbers 0..99, the steps, and the words of its traces and of common prompts.

Byte-level, so any text survives encoding and decoding. A vocabulary word is one token (`ignore_merges`); there are no
merges, and other text is encoded as bytes. Two-digit numbers, an operator with
its number (`*37`), words with the space that follows them and `\boxed{` are one token each.

`<think>` and `</think>` are added tokens but not special ones: decoding with skip_special_tokens=True keeps them, as
verifiers and mode detectors need.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from tersely.testbed import neutral
from tersely.testbed.families.writing import SENTENCES, step_tokens

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerFast

PAD, END = "<|pad|>", "<|end|>"
ROLES = ("<|system|>", "<|user|>", "<|assistant|>")
THINK = ("<think>", "</think>")
MAX_LENGTH = 1024

# One piece is one token if it is in the vocabulary. Numbers are split in pairs of digits from the left.
PIECES = r"\d{1,2}|\\boxed\{| [+\-=] |[A-Za-z']+ ?|</?[A-Za-z_]+>|[.,:;?!](?: |\n)?|\n+"

CHAT_TEMPLATE = """\
{%- for message in messages -%}
{%- if message['role'] == 'assistant' -%}
<|assistant|>{{ message['content'].split('</think>')[-1].strip('\\n') }}<|end|>
{%- else -%}
<|{{ message['role'] }}|>{{ message['content'] }}
{%- endif -%}
{%- endfor -%}
{%- if add_generation_prompt -%}
<|assistant|><think>{{ '\\n' }}
{%- endif -%}"""


def words() -> list[str]:
    """The numbers, the steps, and all pieces of the fixed sentences in order of first use: the vocabulary beyond bytes."""
    numbers = [str(number) for number in range(100)]
    found = [piece for sentence in (*SENTENCES, *neutral.SENTENCES) for piece in re.findall(PIECES, sentence)]
    return list(dict.fromkeys([*numbers, *step_tokens(), *found]))


def build_tokenizer() -> PreTrainedTokenizerFast:
    """Build the tokenizer for what the model reads and writes; deterministic."""
    from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers
    from transformers import PreTrainedTokenizerFast

    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    tokenizer = Tokenizer(models.BPE(vocab={char: index for index, char in enumerate(alphabet)}, merges=[]))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    longer = [word for word in words() if len(word.encode()) > 1]
    tokenizer.add_tokens([AddedToken(word, special=False, normalized=False) for word in longer])
    tokenizer.add_special_tokens([AddedToken(name, special=True, normalized=False) for name in (PAD, END, *ROLES)])
    tokenizer.add_tokens([AddedToken(name, special=False, normalized=False) for name in THINK])
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        eos_token=END,
        pad_token=PAD,
        padding_side="left",
        model_max_length=MAX_LENGTH,
        clean_up_tokenization_spaces=False,
        chat_template=CHAT_TEMPLATE,
    )
