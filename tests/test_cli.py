"""Behaviour through the public command: what works, and every kind of bad input."""

import json
import os
import signal
import subprocess
import sys
import time
import tomllib
from pathlib import Path

import gymnasium as gym
import pytest
from budget import some

import qmu
from qmu import cli, forms
from qmu import config as options
from qmu.cli import main
from qmu.config import reading
from qmu.config.spelling import flag

# The smallest budget that goes through every part of a run.
TINY = (  # noqa: SIM905 - as it is typed
    "--train.total-steps 300 --explore.start-steps 100 --replay.batch-size 16 "
    "--actor.hidden-sizes 8 8 --critic.hidden-sizes 8 8 --replay.capacity 1000 "
    "--train.eval-episodes 2 --train.eval-interval 150 --train.save-interval 200 --log.interval 100"
).split()


@pytest.fixture(autouse=True)
def _own_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


def trained(capsys, *more: str) -> Path:
    assert main(["train", "Pendulum-v1", *TINY, *more]) == 0
    capsys.readouterr()
    (run,) = Path("runs/Pendulum-v1").iterdir()
    return run


def test_train_leaves_a_complete_run(capsys):
    run = trained(capsys, "--seed", "42", "--seeds", "2")
    info = json.loads((run / "run.json").read_text())
    assert info["status"] == "finished"
    assert info["steps"] == 300
    assert [member["seed"] for member in info["members"]] == [42, 43]
    assert (run / "best" / "policy.safetensors").is_file()
    assert (run / "best" / "seed-43" / "policy.json").is_file()
    assert (run / "checkpoints" / "000000200" / "seed-42" / "policy.safetensors").is_file()
    assert list((run / "tensorboard" / "seed-42").glob("events*"))
    lines = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    assert {line["member"] for line in lines} == {"seed-42", "seed-43", "mean", "std"}
    assert [line["step"] for line in lines if "eval/mean_reward" in line][::4] == [150, 300]
    assert any("train/critic_loss" in line for line in lines)


SELDOM = (
    ("--train.updates-per-step", "0.125", "--env.count", "8"),
    "replay: 0.125 updates a step, of 16 rows each: a row is drawn 2 times on average",
    "note: A row is drawn 2 times, and most recipes draw it 64 to 512 times: little is learned "
    "from each step (of all 8 worlds together). Try a larger --train.updates-per-step",
)
RATIOS = [
    SELDOM,
    (
        ("--replay.batch-size", "64"),
        "replay: 1 update a step, of 64 rows each: a row is drawn 64 times on average, 98.4% of "
        "all at least once\n",
        None,
    ),
    (("--train.updates-per-step", "0"), "replay: no updates\n", None),
]


@pytest.mark.parametrize(("more", "said", "note"), some(RATIOS, [SELDOM]))
def test_how_often_rows_are_learned_from_is_said_at_the_start(more, said, note, capsys):
    assert main(["train", "Pendulum-v1", *TINY, *more]) == 0
    before, _, _ = capsys.readouterr().out.partition("step 300")
    assert said in before
    assert ("A row is drawn" in before) is (note is not None)
    if note is not None:
        assert note in before


def test_the_mean_line_is_the_mean_of_the_members(capsys):
    run = trained(capsys, "--seeds", "2")
    lines = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    evaluations = [line for line in lines if "eval/mean_reward" in line and line["step"] == 300]
    by_member = {line["member"]: line["eval/mean_reward"] for line in evaluations}
    middle = (by_member["seed-0"] + by_member["seed-1"]) / 2
    assert by_member["mean"] == pytest.approx(middle)
    assert by_member["std"] == pytest.approx(abs(by_member["seed-0"] - middle))


@pytest.mark.long
def test_a_preset_gives_way_to_a_file_and_both_to_what_is_typed(capsys):
    Path("mine.toml").write_text("[actor]\nactivation = 'elu'\ninterval = 5\n")
    run = trained(capsys, "--preset", "td3", "--config", "mine.toml", "--critic.activation", "silu")
    config = tomllib.loads((run / "config.toml").read_text())
    assert config["critic"]["count"] == 2
    assert (config["actor"]["activation"], config["actor"]["interval"]) == ("elu", 5)
    assert config["critic"]["activation"] == "silu"
    assert config["actor"]["hidden_sizes"] == [8, 8]


@pytest.mark.parametrize("option", some(["--config", "--preset"], ["--preset"]))
def test_a_file_is_held_against_the_rules_together_with_what_is_typed(option, capsys):
    Path("mine.toml").write_text(
        "[explore]\nstart_steps = 150_000\n[replay]\nbatch_size = 5000\ncapacity = 50\n"
    )
    assert main(["train", "Pendulum-v1", option, "mine.toml"]) == 2
    assert "5000 is larger than --replay.capacity 50" in capsys.readouterr().err
    run = trained(capsys, option, "mine.toml")
    assert qmu.open_run(run).config.explore.start_steps == 100


@pytest.mark.long
def test_the_automatic_preset_is_that_of_the_environment(capsys):
    run = trained(capsys, "--preset", "auto")
    config = tomllib.loads((run / "config.toml").read_text())
    assert config["target"]["smoothing_std"] == "none"
    assert config["train"]["eval_interval"] == 150


def test_presets_are_listed_and_printed(capsys):
    assert main(["presets"]) == 0
    assert "plappert2018" in capsys.readouterr().out
    assert main(["presets", "td3"]) == 0
    printed = capsys.readouterr().out
    assert tomllib.loads(printed)["critic"]["count"] == 2
    assert "#   --critic.count 2  (default: 1)\n" in printed


def test_eval_measures_the_run(capsys):
    run = trained(capsys, "--log.no-tensorboard")
    assert not (run / "tensorboard").exists()
    assert main(["eval", str(run), "--episodes", "3"]) == 0
    printed = capsys.readouterr().out
    assert "Pendulum-v1: 3 episodes" in printed
    assert "length  mean 200.0 steps" in printed


def test_a_runs_configuration_trains_again(capsys):
    run = trained(capsys)
    again = ["train", "--config", str(run / "config.toml"), "--train.total-steps", "150"]
    assert main([*again, "--log.dir", "again"]) == 0
    (second,) = Path("again/Pendulum-v1").iterdir()
    text = (second / "config.toml").read_text()
    assert "total_steps = 150" in text
    assert "batch_size = 16" in text


def test_the_number_of_episodes_ends_a_run(capsys):
    words = [word for word in TINY if word not in ("--train.total-steps", "300")]
    assert main(["train", "Pendulum-v1", *words, "--train.total-episodes", "2"]) == 0
    (run,) = Path("runs/Pendulum-v1").iterdir()
    info = json.loads((run / "run.json").read_text())
    assert 400 <= info["steps"] < 440
    assert info["members"][0]["episodes"] == 2


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["train", "Pendulom-v1"], "did you mean Pendulum-v1"),
        (["train"], "no environment was named"),
        (["train", "CartPole-v1"], "Discrete(2) actions"),
        (["train", "Pendulum-v1", "--target.gamma", "1.5"], "--target.gamma must lie in [0, 1]"),
        (["train", "Pendulum-v1", "--target.gamma", "nan"], "--target.gamma must lie in [0, 1]"),
        (["train", "Pendulum-v1", "--actor.hidden-sizes", "-3"], "--actor.hidden-sizes"),
        (["train", "Pendulum-v1", "--replay.batch-size", "0"], "must be greater than 0"),
        (
            ["train", "Pendulum-v1", "--replay.capacity", "100", "--replay.batch-size", "200"],
            "--replay.batch-size 200 is larger than --replay.capacity 100",
        ),
        (
            ["train", "Pendulum-v1", "--train.total-steps", "200"],
            "learning begins after step 256",
        ),
        (
            ["train", "Pendulum-v1", "--replay.capacity", "1000000000000"],
            "GiB free: lower --replay.capacity",
        ),
        (
            ["train", "Pendulum-v1", "--explore.color", "3"],
            "--explore.color must lie in [0, 2], from white to brown, not 3.0",
        ),
        (
            ["train", "Pendulum-v1", "--explore.std-last", "0.4"],
            "--env.count is 1: give --env.count 2 or more, or leave --explore.std-last out",
        ),
        (
            [
                *("train", "Pendulum-v1", "--env.count", "2"),
                *("--explore.noise", "none", "--explore.std-last", "0.4"),
            ],
            "--explore.noise is none: choose normal, ou or colored, or leave --explore.std-last",
        ),
        (["train", "Pendulum-v1", "--actor.hidden-sizes"], "give the units of each hidden layer"),
        (["train", "Pendulum-v1", "--train.device", "gpu"], "JAX finds no such device"),
        (["train", "Pendulum-v1", "--train.device", "abacus"], "must be one of auto, cpu"),
        (["train", "Pendulum-v1", "--log.name", "a/b"], "folder's name"),
        (["train", "Pendulum-v1", "--config", "nowhere.toml"], "cannot read the configuration"),
        (["train", "Pendulum-v1", "--preset", "td4"], "no preset 'td4'; did you mean td3"),
        (["train", "Pendulum-v1", "--preset", "my.toml"], "cannot read the configuration my.toml"),
        (["presets", "plapert"], "did you mean plappert2018"),
        (
            ["train", "Pendulum-v1", "--preset", "td3", "--target.smoothing-std", "None"],
            "--target.smoothing-clip is about a noise that there is none of",
        ),
        (
            ["train", "Pendulum-v1", "--replay.fade", "0.9999"],
            "--replay.fade 0.9999 is about priorities, and --replay.priorities uniform has none",
        ),
        (
            ["train", "Pendulum-v1", "--replay.priorities", "lap", "--replay.beta-end", "1"],
            "--replay.beta-end 1.0 is about weights that make up for priorities",
        ),
        (
            [
                "train",
                "--replay.priorities",
                "lap",
                "--replay.beta",
                "0.4",
                "--replay.beta-end",
                "1",
            ],
            "has none: leave them out (none), or give --replay.priorities td-error",
        ),
        (
            ["train", "Pendulum-v1", "--replay.prioritized", "--replay.priorities", "lap"],
            "--replay.prioritized is an old spelling of --replay.priorities td-error",
        ),
        (["train", "Pendulum-v1", "--replay.fade", "0"], "--replay.fade must lie in (0, 1]"),
        (["eval", "nowhere"], "nowhere is no directory"),
        (["eval", "."], "is not a run's directory"),
        (["export", "nowhere", "p.npz"], "nowhere is no directory"),
        (["export", "nowhere", "p.h5"], "p.h5: a policy's file ends in .npz, .onnx or .pt"),
        (["envs", "--family", "atari"], "no environment of the family 'atari'"),
        (["tran"], "did you mean train"),
    ],
)
def test_bad_input_is_refused_with_a_sentence(words, said, capsys):
    assert main(words) == 2
    shown = capsys.readouterr()
    assert said in shown.err
    assert "Traceback" not in shown.err
    assert list(Path().iterdir()) == []


@pytest.mark.parametrize("words", [["--actor.lr", "fast"], ["--actor.speed", "1"], ["--seeds"]])
def test_words_that_the_parser_refuses_end_with_2(words, capsys):
    with pytest.raises(SystemExit) as ended:
        main(["train", "Pendulum-v1", *words])
    assert ended.value.code == 2
    assert "Traceback" not in capsys.readouterr().err
    assert list(Path().iterdir()) == []


def test_a_configuration_file_with_an_unknown_option_names_the_nearest(capsys):
    Path("mine.toml").write_text("[actor]\nlearning_rate = 1\n")
    assert main(["train", "Pendulum-v1", "--config", "mine.toml"]) == 2
    assert "unknown option actor.learning_rate" in capsys.readouterr().err
    Path("mine.toml").write_text("[target]\nlr = 1\n")
    assert main(["train", "Pendulum-v1", "--config", "mine.toml"]) == 2
    assert "actor.lr and critic.lr" in capsys.readouterr().err


def test_a_damaged_policy_is_refused(capsys):
    run = trained(capsys)
    (run / "best" / "policy.safetensors").write_bytes(b"nonsense")
    assert main(["eval", str(run)]) == 2
    assert "cannot be read" in capsys.readouterr().err


WRONG = [
    (["--kwargs", "{gravity = 2}"], "Pendulum-v1 does not take --kwargs {gravity = 2}"),
    (["--kwargs", "{g = "], "qmu: --kwargs: '{g = ' is not a table of TOML"),
    (["--kwargs", "id = 'x'"], "qmu: --kwargs must leave to qmu what qmu sets by options of its"),
    (["--wrappers", "Wrapper"], "qmu: --wrappers must hold names such as package.module.Wrapper"),
]


@pytest.mark.parametrize(
    ("words", "said"),
    [*WRONG, (["--episode-length", "-1"], "qmu: --episode-length must be 0 or greater")],
)
def test_check_calls_its_options_as_they_are_typed(words, said, capsys):
    assert main(["check", "Pendulum-v1", *words]) == 2
    assert said in capsys.readouterr().err
    # Elsewhere they have the names that they have in a training.
    assert flag("env", "episode_length") == "--env.episode-length"


def test_eval_and_play_call_their_options_as_they_are_typed(capsys, monkeypatch):
    monkeypatch.setenv("SDL_VIDEODRIVER", "dummy")
    run = trained(capsys)
    for command in ("eval", "play"):
        for words, said in WRONG:
            assert main([command, str(run), *words]) == 2
            assert said in capsys.readouterr().err


def test_envs_lists_families(capsys):
    assert main(["envs", "--family", "classic control"]) == 0
    assert capsys.readouterr().out.split() == [
        *("classic", "control:", "MountainCarContinuous-v0", "Pendulum-v1")
    ]


def test_a_directory_is_printed_as_it_is_named(capsys):
    assert main(["train", "Pendulum-v1", *TINY, "--log.dir", "[red] :boom: [/red]"]) == 0
    printed = capsys.readouterr().out
    (run,) = Path("[red] :boom: [/red]/Pendulum-v1").iterdir()
    assert f"writing to {run}" in printed
    assert f"qmu eval '{run}' --episodes 20" in printed


@pytest.mark.long
@pytest.mark.parametrize("encoding", ["ascii", "utf-8"])
def test_a_run_outlives_the_reader_of_its_output_and_a_poor_terminal(encoding, tmp_path):
    command = [sys.executable, "-m", "qmu", "train", "Pendulum-v1", *TINY]
    environment = os.environ | {"PYTHONIOENCODING": encoding}
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    with subprocess.Popen(command, cwd=tmp_path, env=environment, **pipes) as process:
        process.stdout.readline()
        if encoding == "utf-8":
            process.stdout.close()
        said = process.stderr.read()
    assert process.returncode == 0, said
    (run,) = tmp_path.glob("runs/*/*")
    assert json.loads((run / "run.json").read_text())["status"] == "finished"


def test_a_configuration_file_cannot_name_a_module_to_import(capsys):
    Path("its.toml").write_text('env.id = "antigravity:Pendulum-v1"')
    assert main(["train", "--config", "its.toml"]) == 2
    assert "its.toml names the environment antigravity:" in capsys.readouterr().err
    assert main(["train", "--preset", "its.toml"]) == 2
    assert "its.toml names the environment antigravity:" in capsys.readouterr().err
    with pytest.raises(qmu.ConfigError, match=r"its.toml names the environment antigravity:"):
        qmu.train(preset="its.toml")
    assert main(["train", "--config", "its.toml", "--env.id=json:Pendulum-v0x"]) == 2
    assert "there is no environment 'Pendulum-v0x'" in capsys.readouterr().err


@pytest.mark.parametrize("name", ["GymV21Environment-v0", "GymV26Environment-v0"])
def test_an_adapter_that_imports_what_its_arguments_name_is_refused(name, capsys, monkeypatch):
    imported = []

    def adapter(env_id):
        imported.append(env_id)

    monkeypatch.setitem(gym.registry, name, gym.envs.registration.EnvSpec(name, adapter))
    Path("its.toml").write_text(f'[env]\nid = "{name}"\nkwargs = {{env_id = "evil:X-v0"}}')
    assert main(["train", "--config", "its.toml"]) == 2
    assert f"{name} imports the module that its env_id names" in capsys.readouterr().err
    assert imported == []


def test_the_page_of_commands_needs_no_numerical_library():
    code = "import sys, qmu.cli; qmu.cli.main(['--help']); print('jax' in sys.modules)"
    printed = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    ).stdout
    assert "qmu train" in printed
    assert printed.splitlines()[-1] == "False"


def test_train_help_names_every_option(capsys):
    from qmu.config import flag, options

    with pytest.raises(SystemExit) as ended:
        main(["train", "--help"])
    assert ended.value.code == 0
    page = capsys.readouterr().out
    assert [
        flag(group, option.name)
        for group, option in options()
        if flag(group, option.name) not in page
    ] == []


@pytest.mark.slow
def test_an_interrupt_saves_what_was_learned(tmp_path):
    # A shell has what runs in its background ignore Ctrl-C, and all that this starts.
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    command = [sys.executable, "-m", "qmu", "train", "Pendulum-v1", *TINY]
    command[command.index("300")] = "1000000"
    process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True, cwd=tmp_path)
    signal.signal(signal.SIGINT, before)
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline and not list(tmp_path.glob("runs/*/*/checkpoints/*")):
        time.sleep(0.1)
    process.send_signal(2)
    _, said = process.communicate(timeout=60)
    assert process.returncode == 130
    assert "interrupted" in said
    assert "Traceback" not in said
    (run,) = tmp_path.glob("runs/*/*")
    assert json.loads((run / "run.json").read_text())["status"] == "interrupted"


# A module whose import swallows the exception that Ctrl-C is, as some of C++ do.
SWALLOWING = """
import os, signal, time
try:
    os.kill(os.getpid(), signal.SIGINT)
    time.sleep(1)
except BaseException:
    pass
"""


@pytest.mark.long
def test_ctrl_c_in_the_middle_of_an_import_ends_the_command(tmp_path):
    (tmp_path / "swallowing.py").write_text(SWALLOWING)
    # In the background of a shell Ctrl-C is ignored.
    code = (
        "import signal; signal.signal(signal.SIGINT, signal.default_int_handler); "
        "from qmu.cli import main; main(['check', 'swallowing:World-v0'])"
    )
    command = [sys.executable, "-c", code]
    ended = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert (ended.returncode, ended.stdout, ended.stderr) == (130, "", "qmu: interrupted\n")


@pytest.mark.parametrize("none", ["none", "None", "NONE"])
def test_what_is_off_is_spelled_in_one_way_everywhere(none, tmp_path):
    words = ["--target.smoothing-std", none, "--critic.norm", none, f"--actor.clip_norm={none}"]
    _, config, _ = cli.read_recipe(forms.Train, "train", ["Pendulum-v1", *words])
    assert (config.target.smoothing_std, config.actor.clip_norm) == (None, None)
    assert (config.critic.norm, config.target.tau) == ("none", options.Target().tau)
    file = tmp_path / "some.toml"
    file.write_text(f'[target]\nsmoothing_std = "{none}"\n[critic]\nnorm = "{none}"\n')
    _, config, _ = cli.read_recipe(forms.Train, "train", ["--config", str(file)])
    assert (config.target.smoothing_std, config.critic.norm) == (None, "none")
    given = {"target": {"smoothing_std": none}, "critic": {"norm": none}, "log": {"name": none}}
    config = reading.from_dict(given)
    assert (config.target.smoothing_std, config.critic.norm) == (None, "none")
    assert config.log.name == none
