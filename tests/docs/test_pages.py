"""The pages hold: links lead somewhere, commands and make targets exist, recipes in them are recipes."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import yaml

from tersely.launch.cli.main import COMMANDS, TESTBED

ROOT = Path(__file__).parents[2]
PAGES = sorted([*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md"), *ROOT.glob("tersely/**/*.md")])
NAMES = [page.relative_to(ROOT).as_posix() for page in PAGES]
MAKEFILE = (ROOT / "Makefile").read_text()


def blocks(text: str, language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", text, flags=re.DOTALL)


def outside_blocks(text: str) -> str:
    return re.sub(r"```.*?```", "", text, flags=re.DOTALL)


@pytest.mark.parametrize("name", NAMES)
def test_links_within_the_project_lead_to_files(name):
    page = ROOT / name
    links = re.findall(r"\]\(([^)#\s]+)", outside_blocks(page.read_text()))
    missing = [link for link in links if "://" not in link and not (page.parent / link).exists()]
    assert not missing


@pytest.mark.parametrize("name", NAMES)
def test_commands_and_targets_exist(name):
    text = (ROOT / name).read_text()
    code = "\n".join([*blocks(text, "bash"), *re.findall(r"`([^`\n]+)`", outside_blocks(text))])
    for command, second in re.findall(
        r"^(?:\$ )?tersely ([a-z][a-z0-9-]*)(?: ([a-z][a-z0-9-]*))?", code, flags=re.MULTILINE
    ):
        assert command in COMMANDS, command
        assert command != "testbed" or not second or second in TESTBED, second
    for target in re.findall(r"^make (?:[A-Z]+=\S+ )*([a-z][a-z0-9-]*)", code, flags=re.MULTILINE):
        assert re.search(rf"^{target}:", MAKEFILE, flags=re.MULTILINE), target


@pytest.mark.parametrize("name", ["README.md", "docs/quickstart.md"])
def test_recipes_in_the_pages_are_recipes(name, tmp_path):
    from tersely.configs.load import load_recipe
    from tersely.data import parse_sources
    from tersely.rl.config import checked, grpo_config, objective_of

    found = [block for block in blocks((ROOT / name).read_text(), "yaml") if "model_name_or_path" in block]
    assert found
    for block in found:
        path = tmp_path / "recipe.yaml"
        path.write_text(block)
        run = checked(load_recipe(path))
        assert grpo_config(run, objective_of(run), 1).num_generations == run.group_size
        assert parse_sources(run.dataset)


def test_data_in_the_concepts_is_data():
    from tersely.data import parse_sources

    for block in blocks((ROOT / "docs" / "concepts.md").read_text(), "yaml"):
        assert parse_sources(yaml.safe_load(block)["dataset"])


def test_slots_and_defaults_of_the_concepts_are_those_of_the_code():
    from tersely.algorithms.objective import SLOT_DEFAULTS

    rows = re.findall(
        r"^\| `(\w+)` \| [^|]*\? \| `(\w+)` \|$", (ROOT / "docs" / "concepts.md").read_text(), flags=re.MULTILINE
    )
    assert dict(rows) == {
        slot: SLOT_DEFAULTS[slot] for slot in SLOT_DEFAULTS if slot not in ("aggregate", "controllers")
    }


@pytest.mark.parametrize(
    "message",
    [
        "no CPU build of torch",
        "no virtual environment could be made",
        "is outside the supported window",
        "unknown recipe key",
        "is computed from other keys. Set",
        "expected a divisor of the",
        "duplicate key",
        "has no chat template",
        "expected a multiple of",
        "belongs to another config",
        "every ratio is 1",
        "the log-probs of engine and trainer differ",
        "of the verdicts are undecided",
        "tokens per completion are",
        "entropy is (nats per token)",
        "while tokens fell from",
        "of the groups are all correct",
        "completions end in a loop",
        "unknown guard",
        "The file may be truncated",
        "the loss of step",
        "needs vLLM, which is not installed",
        "requested by SIGUSR1",
        "past deadline_seconds",
        "lost the other ranks in phase",
        "sbatch not found",
        "because it goes into a job script",
        "start anyway with --skip-preflight",
        "no such folder",
        "has no config.json",
        "is not in the hub cache, and HF_HUB_OFFLINE is set",
        "leaves no room for a prompt in vllm_max_model_length",
        "is outside the supported range",
        "will run as you, with your files and keys",
        "of the rollouts are truncated at the cap",
        "there is nothing to learn from",
        "the total reward is the same for every rollout",
        "expected a file or a shipped config",
        "no server is left",
        "expected addresses with",
        "the server's process has ended",
        "no answer",
        "the key is missing or wrong",
        "a server that other machines can reach needs a key",
        "answered from the weights",
        "--rollout-servers: got",
        "as this recipe needs no servers",
        "sbatch rejected",
        "would be written into the job's files",
        "launch: ended with exit status",
        "times (max_rollbacks)",
        "to roll back to",
        "may roll back to the last good checkpoint",
        "launch: saving and stopping within",
    ],
)
def test_messages_that_the_page_explains_are_said(message):
    sources = [path.read_text() for folder in ("tersely", "scripts") for path in (ROOT / folder).rglob("*.py")]
    assert message in (ROOT / "docs" / "troubleshooting.md").read_text()
    assert any(message in source for source in sources)
