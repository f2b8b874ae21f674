"""The rendered scripts: the golden files, values as data, a clean shellcheck, no heavy import."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from tersely.configs.recipe import Recipe
from tersely.core.errors import ConfigError
from tersely.launch.cli.launch_slurm import main, parser
from tersely.launch.slurm import quoted, render, sbatch_word

GOLDEN = Path(__file__).parent / "golden"
RECIPE = {"model_name_or_path": "testbed", "dataset": "testbed", "run_dir": "/scratch/run", "prompts_per_step": 8}
CASES = {
    "one_node": "--gpus-per-node 8 --time 4:00:00 --partition gpu --account me",
    "two_nodes_eval": "--nodes 2 --gpus-per-node 4 --accelerate zero3 --venv /opt/venv --eval math500,gsm8k",
    "rollout_nodes": "--nodes 2 --gpus-per-node 4 --rollout-nodes 2",
    "array": "--nodes 2 --gpus-per-node 0 --seeds 1,2 --sweep learning_rate=1e-6,2e-6 --array-limit 2 --eval testbed",
}
HOSTILE = "a; rm -rf ~ $(touch /tmp/owned) `id` 'b\" \\ #c"


def scripts(text: str = "", *more: str, **recipe) -> dict[str, str]:
    recipe = {**({"engine": "vllm_server"} if "--rollout-nodes" in text else {}), **recipe}
    return render(Recipe.of({**RECIPE, **recipe}), parser().parse_args(["r.yaml", *text.split(), *more]))


@pytest.mark.parametrize("name", CASES)
def test_golden(name, monkeypatch, tmp_path):
    """TERSELY_GOLDEN=write renews them; read the difference before it is committed."""
    monkeypatch.setattr(os, "getcwd", lambda: "/work dir")
    for file, text in scripts(CASES[name]).items():
        if file.endswith(".sbatch"):
            path = GOLDEN / f"{name}.{file}"
            if os.environ.get("TERSELY_GOLDEN") == "write":
                path.write_text(text)
            assert text == path.read_text()


@pytest.mark.parametrize("name", [*CASES, "hostile"])
def test_shellcheck_is_clean(name, tmp_path):
    if shutil.which("shellcheck") is None:
        pytest.skip("shellcheck is not installed: apt-get install shellcheck")
    hostile = ("--gpus-per-node", "1", "--job-name", HOSTILE, "--env", f"X={HOSTILE}", "--eval", HOSTILE)
    made = scripts("", *hostile) if name == "hostile" else scripts(CASES[name])
    for file in ("train.sbatch", "eval.sbatch"):
        if file in made:
            (tmp_path / file).write_text(made[file])
            done = subprocess.run(["shellcheck", tmp_path / file], capture_output=True, text=True)
            assert done.returncode == 0, done.stdout


def test_every_value_is_data(tmp_path):
    """The head of the script, run by bash with what a user might have typed: nothing of it is executed."""
    run_dir = tmp_path / HOSTILE.replace("/", "_")
    made = scripts("--gpus-per-node 0", "--job-name", HOSTILE, "--env", f"X={HOSTILE}", run_dir=str(run_dir))
    head = made["train.sbatch"].split("mapfile")[0].replace(f"cd {quoted(os.getcwd())}", "")
    done = subprocess.run(
        ["bash", "-c", head + 'printf "%s\\n%s" "$X" "$run_dir"'],
        capture_output=True,
        text=True,
        env={"PATH": os.environ["PATH"], "SLURM_JOB_ID": "7"},
        cwd=tmp_path,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines() == [HOSTILE, str(run_dir)]


def test_line_breaks_are_refused():
    for function in (quoted, lambda value: sbatch_word("job-name", value)):
        with pytest.raises(ConfigError, match="--wrap"):
            function("a\n#SBATCH --wrap=x")


@pytest.mark.parametrize(
    ("value", "word"), [("a-b_1", "a-b_1"), ("a; rm -rf ~", '"a; rm -rf ~"'), ('b" \\', r'"b\" \\"'), ("", '""')]
)
def test_a_directive_holds_one_word(value, word):
    """As sbatch 22.05 was seen to read it: it splits at a blank behind a backslash."""
    assert sbatch_word("job-name", value) == word


def test_node_rank_is_expanded_on_the_nodes():
    text = scripts("--nodes 4 --gpus-per-node 2")["train.sbatch"]
    inner = text.split("bash -c '")[1].split("'")[0]
    assert '--machine_rank "$SLURM_NODEID"' in inner and 'trap "" USR1' in inner
    assert "--num_machines 4 --num_processes 8" in inner


def test_array_tasks_have_their_own_recipe_and_folder():
    made = scripts(CASES["array"])
    recipes = [yaml.safe_load(made[f"recipe-{i}.yaml"]) for i in range(4)]
    assert [(r["seed"], float(r["learning_rate"])) for r in recipes] == [(1, 1e-6), (1, 2e-6), (2, 1e-6), (2, 2e-6)]
    assert len({r["run_dir"] for r in recipes}) == 4
    assert all(r["run_dir"] in made["train.sbatch"] for r in recipes)
    assert "recipe-4.yaml" not in made


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ("--gpus-per-node 1 --time soon", "--time.* 'soon'"),
        ("--gpus-per-node 1 --mem 5X", "--mem.*.5X..*megabytes"),
        ("--gpus-per-node 1 --sweep beta", "--sweep.* 'beta'"),
        ("--gpus-per-node 1 --env 1X=3", "--env.* '1X=3'"),
        ("--gpus-per-node 1 --env HF_TOKEN=hf_mine", "--env HF_TOKEN.*Export it"),
        ("--gpus-per-node 1 --accelerate zero4", "'zero3'|.*'zero2'"),
        ("--gpus-per-node 7", "7 ranks"),
        ("--gpus-per-node 4 --sbatch=--gres=gpu:a100:8", "--sbatch --gres=.*got 8 .*4"),
        ("--gpus-per-node 1 --sbatch=--export=ALL,HF_TOKEN=hf_mine", "HF_TOKEN"),
    ],
)
def test_what_cannot_be_meant_is_refused(options, message):
    with pytest.raises(ConfigError, match=message):
        scripts(options)


def test_rollout_nodes_serve_a_recipe_that_asks_for_it():
    made = scripts(CASES["rollout_nodes"])["train.sbatch"]
    assert "#SBATCH --nodes=4" in made and "--num_machines 2 --num_processes 8" in made
    assert '--servers "$TERSELY_SERVERS"' in made and "--ntasks=8 --ntasks-per-node=4" in made
    with pytest.raises(ConfigError, match="servers.*none; .*--rollout-nodes 1"):
        scripts("--gpus-per-node 1", engine="vllm_server")
    for changes in ({"engine": "transformers"}, {"servers": ["http://here:8000"]}):
        with pytest.raises(ConfigError, match="--rollout-nodes.*1.*0"):
            scripts("--gpus-per-node 1 --rollout-nodes 1", **changes)


@pytest.mark.parametrize("recipe", [{"env": {"WANDB_API_KEY": "s3cret", "X": "1"}}, {"hub_token": "s3cret"}])
def test_a_recipe_with_secrets_is_not_written(recipe):
    with pytest.raises(ConfigError, match="(env.WANDB_API_KEY|hub_token)") as error:
        scripts("--gpus-per-node 1", **recipe)
    assert "s3cret" not in str(error.value) and "env.X" not in str(error.value)


def test_no_file_holds_a_secret_of_the_environment(monkeypatch, tmp_path):
    """Whatever option or file it came by."""
    monkeypatch.setenv("TERSELY_SERVER_KEY", "s3cret-s3cret")
    with pytest.raises(ConfigError, match="TERSELY_SERVER_KEY.*train.sbatch"):
        scripts("--gpus-per-node 1 --job-name s3cret-s3cret")
    with pytest.raises(ConfigError, match="TERSELY_SERVER_KEY.*recipe-0.yaml"):
        scripts("--gpus-per-node 1", system_prompt="You are s3cret-s3cret.")
    own = tmp_path / "own.yaml"
    own.write_text("distributed_type: MULTI_GPU\naws_secret_access_key: abcdefgh\n")
    with pytest.raises(ConfigError, match="aws_secret_access_key"):
        scripts(f"--gpus-per-node 1 --accelerate {own}")


def test_an_evaluation_asks_for_one_gpu_of_the_kind():
    made = scripts("--gpus-per-node 4 --eval testbed --sbatch=--gres=gpu:a100:4 --sbatch=--reservation=mine")
    for name, gres in (("train.sbatch", "gpu:a100:4"), ("eval.sbatch", "gpu:a100:1")):
        assert f"#SBATCH --gres={gres}\n" in made[name] and "#SBATCH --reservation=mine\n" in made[name]
        assert "--gpus-per-node" not in made[name].split("set -euo")[0]


def test_the_base_is_evaluated_and_both_are_asked_as_in_training(tmp_path):
    """Run by bash, with a stand-in for python that writes down its arguments."""
    made = scripts("--gpus-per-node 1 --eval testbed", run_dir=str(tmp_path / "r"))
    (tmp_path / "python").write_text('#!/bin/bash\nprintf "%s\\0" "$@" >> "$SEEN"; printf "\\0" >> "$SEEN"\n')
    (tmp_path / "python").chmod(0o755)
    environment = {"PATH": f"{tmp_path}:{os.environ['PATH']}", "SEEN": str(tmp_path / "seen")}
    subprocess.run(["bash", "-c", made["eval.sbatch"]], check=True, env=environment, cwd=tmp_path)
    calls = [call.split("\0") for call in (tmp_path / "seen").read_text().split("\0\0") if call]
    assert [call[3] for call in calls] == [str(tmp_path / "r" / "final"), "testbed", str(tmp_path / "r" / "base-eval")]
    for call in calls[:2]:
        assert call[call.index("--prompting") + 1] == str(tmp_path / "r" / "final")


def test_overrides_are_checked_as_train_checks_them(tmp_path, capsys):
    (tmp_path / "r.yaml").write_text(yaml.safe_dump({**RECIPE, "run_dir": str(tmp_path / "run")}))
    with pytest.raises(ConfigError, match="learning_rate.*'abc'"):
        main([str(tmp_path / "r.yaml"), "--gpus-per-node", "1", "--dry-run", "--learning_rate", "abc"])
    with pytest.raises(ConfigError, match="run recipe-1: top_p.* 1.5"):
        main([str(tmp_path / "r.yaml"), "--gpus-per-node", "1", "--dry-run", "--sweep", "top_p=0.9,1.5"])


def test_dry_run_writes_nothing_and_imports_no_torch(tmp_path, monkeypatch, warm_python):
    monkeypatch.setenv("PYTHON_EXEC", warm_python)  # of the process that checks the recipe
    (tmp_path / "r.yaml").write_text(yaml.safe_dump({**RECIPE, "run_dir": str(tmp_path / "run")}))
    code = (
        "import sys; from tersely.launch.cli.launch_slurm import main\n"
        "main(['r.yaml', '--gpus-per-node', '1', '--dry-run', '--learning_rate', '3e-6'])\n"
        "assert 'torch' not in sys.modules and 'trl' not in sys.modules"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert "#SBATCH --signal=B:USR1@300" in done.stdout and "learning_rate: 3e-6" in done.stdout
    assert not (tmp_path / "run").exists()


def test_without_sbatch_the_message_says_so(tmp_path, monkeypatch):
    (tmp_path / "r.yaml").write_text(yaml.safe_dump({**RECIPE, "run_dir": str(tmp_path / "run")}))
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(ConfigError, match="sbatch not found"):
        main([str(tmp_path / "r.yaml"), "--gpus-per-node", "1"])
    assert (tmp_path / "run" / "launch" / "train.sbatch").exists()


def test_the_module_that_the_eval_job_calls_is_a_command():
    text = scripts("--gpus-per-node 1 --eval testbed")["eval.sbatch"]
    assert "python -m tersely eval" in text
    done = subprocess.run([sys.executable, "-m", "tersely", "evil"], capture_output=True, text=True)
    assert done.returncode == 2 and "invalid command 'evil'" in done.stderr


def directives_of(*words: str) -> list[str]:
    text = scripts("", *words)["train.sbatch"]
    return [line.removeprefix("#SBATCH --") for line in text.splitlines() if line.startswith("#SBATCH")]


def test_any_option_of_sbatch_is_passed_on_and_replaces_ours():
    words = ("--gpus-per-node", "4", "--sbatch", "--gres=gpu:a100:4", "--sbatch", "--exclusive", "--sbatch", "--time=9")
    lines = directives_of(*words)
    assert {"gres=gpu:a100:4", "exclusive", "time=9"} <= set(lines)
    assert (
        not any(line.startswith("gpus-per-node") for line in lines)
        and sum(line.startswith("time=") for line in lines) == 1
    )


@pytest.mark.parametrize("option", ["--nodes=4", "--requeue", "--signal=USR1", "gres=gpu:1", "-N4"])
def test_an_option_that_the_script_depends_on_and_no_option_are_refused(option):
    with pytest.raises(ConfigError, match="--sbatch"):
        directives_of("--gpus-per-node", "4", "--sbatch", option)


def test_the_ranks_of_a_node_share_its_cpus():
    text = scripts("--nodes 2 --gpus-per-node 4 --cpus-per-task 32")["train.sbatch"]
    assert "OMP_NUM_THREADS:-8" in text and "--ntasks-per-node=1 --cpus-per-task=32" in text


@pytest.mark.parametrize("kind", ["zero2", "zero3"])
def test_deepspeed_on_two_nodes_is_started_by_the_launcher_of_each_node(kind):
    made = yaml.safe_load(scripts(f"--nodes 2 --gpus-per-node 4 --accelerate {kind}")["accelerate.yaml"])
    assert made["deepspeed_config"]["deepspeed_multinode_launcher"] == "standard"


def test_a_file_of_ones_own_gets_the_launcher_or_is_refused(tmp_path):
    own = tmp_path / "own.yaml"
    own.write_text("distributed_type: DEEPSPEED\ndeepspeed_config: {zero_stage: 1}\n")
    made = yaml.safe_load(scripts("--nodes 2 --gpus-per-node 4", "--accelerate", str(own))["accelerate.yaml"])
    assert made["deepspeed_config"] == {"zero_stage": 1, "deepspeed_multinode_launcher": "standard"}
    own.write_text("distributed_type: DEEPSPEED\ndeepspeed_config: {deepspeed_multinode_launcher: pdsh}\n")
    with pytest.raises(ConfigError, match="standard"):
        scripts("--nodes 2 --gpus-per-node 4", "--accelerate", str(own))


def test_another_number_of_ranks_than_was_planned_stops_the_run(monkeypatch):
    from tersely.rl.config import PLANNED_WORLD_SIZE, world_size

    monkeypatch.setenv(PLANNED_WORLD_SIZE, "16")
    monkeypatch.setenv("WORLD_SIZE", "8")
    with pytest.raises(ConfigError, match="expected 16"):
        world_size()
    monkeypatch.setenv("WORLD_SIZE", "16")
    assert world_size() == 16
