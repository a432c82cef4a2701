"""Each rule speaks on a run that was made to have the disease, and is silent on a healthy one."""

import itertools
import re
import warnings

import gymnasium as gym
import numpy as np
import pytest
import runs
from budget import some
from gymnasium.envs.classic_control import PendulumEnv

import qmu
from qmu import cli
from qmu.agent.exploration import OrnsteinUhlenbeck
from qmu.collecting.evaluate import Trace
from qmu.config import reading
from qmu.health import chart, conditions, doctor, rules
from qmu.health.advice import not_given
from qmu.health.doctor import examine_run, lines_of
from qmu.layout import Layout
from qmu.learning.foresight import STATES, chosen, discounted, overestimation, sizes

BASE = {
    "actor": {"hidden_sizes": [32, 32]},
    "critic": {"hidden_sizes": [32, 32]},
    "replay": {"batch_size": 32},
    "explore": {"start_steps": 300},
    "train": {
        "total_steps": 3000,
        "eval_interval": 200,
        "eval_episodes": 2,
        "final_episodes": 1,
        "save_interval": 0,
    },
    "log": {"tensorboard": False, "interval": 200},
}


class Shaped(PendulumEnv):
    """A pendulum whose rewards and observations are something else."""

    def __init__(self, reward=None, obs=1.0, scale=1.0, offset=0.0, all_obs=1.0, shift=0.0):
        super().__init__()
        self.reward, self.before = reward, 0.0
        self.scale, self.offset, self.shift = scale, offset, shift
        self.factor = np.array([1, 1, obs]) * all_obs
        high = np.float32(np.array([1, 1, 8]) * self.factor + abs(shift))
        self.observation_space = gym.spaces.Box(-high, high, dtype=np.float32)

    def step(self, action):
        obs, reward, terminated, truncated, info = super().step(action)
        if self.reward is not None:
            reward = self.reward(float(action[0]), self.before)
        self.before = float(action[0])
        reward = self.scale * reward + self.offset
        return self.seen(obs), reward, terminated, truncated, info

    def reset(self, **given):
        obs, info = super().reset(**given)
        return self.seen(obs), info

    def seen(self, obs):
        return np.float32(obs * self.factor + self.shift)


def shaped(**given):
    return lambda: gym.wrappers.TimeLimit(Shaped(**given), 200)


PENDULUM = "Pendulum-v1"
RANDOM = np.random.default_rng(0)
COUNT = itertools.count()
MAD = {"actor": {"lr": 0.03, "preactivation_penalty": 0}, "critic": {"norm": "none"}}
# What is wrong -> in which world, with which options, it is.
DISEASES = {
    "Saturated actor": (PENDULUM, MAD),
    "Dead units": (PENDULUM, {"critic": {"lr": 0.3, "norm": "none"}}),
    # Rewards without a reason, in a critic that believes each of them.
    "Q overestimates": (
        shaped(reward=lambda action, before: RANDOM.normal()),
        {
            "critic": {"norm": "none", "lr": 0.01, "lr_end": 1, "hidden_sizes": [128, 128]},
            "target": {"tau": 0.05, "smoothing_std": None},
            "replay": {"n_step": 1, "capacity": 1000},
            "train": {"eval_episodes": 6},
        },
    ),
    "Diverging Q": (
        shaped(reward=lambda action, before: 0.001),
        {
            "target": {"tau": 1.0, "smoothing_std": None},
            "critic": {
                **{"lr": 0.1, "lr_end": 1, "norm": "none", "activation": "elu"},
                **{"weights_init": "xavier", "final_range": 3.0},
            },
            "replay": {"n_step": 1},
        },
    ),
    "The critic predicts nothing": (PENDULUM, {"critic": {"lr": 100.0, "lr_end": 1}}),
    "Exploding gradients": (PENDULUM, {"env": {"reward_scale": 1e5}}),
    "Vanishing gradients": (
        PENDULUM,
        {"critic": {"lr": 0, "final_range": 1e-9}, "actor": {"preactivation_penalty": 0}},
    ),
    "Hardly any exploration": (PENDULUM, {"explore": {"std": 0.001}}),
    "More noise than action": (PENDULUM, {"explore": {"noise": "ou", "std": 1.5}}),
    "The actor stands still": (shaped(reward=lambda action, before: -(action**2)), {}),
    "Large learning rates": (PENDULUM, {"actor": {"lr": 0.03}}),
    "Nothing was learned": (PENDULUM, {"train": {"updates_per_step": 0}}),
    "No reward was found": (shaped(reward=lambda action, before: 0.0), {}),
    "Targets move too fast": (PENDULUM, {"target": {"tau": 0.5}}),
    "Few random steps": (PENDULUM, {"explore": {"start_steps": 50}}),
    "The replay is small": (PENDULUM, {"replay": {"capacity": 300}}),
    "Observations of very different scales": (shaped(obs=1000.0), {}),
    "Small rewards": (PENDULUM, {"env": {"reward_scale": 1e-4}}),
    "Large rewards": (PENDULUM, {"env": {"reward_scale": 100}}),
    "Worse without noise": (shaped(reward=lambda action, before: abs(action - before)), {}),
    "Episodes end by the time limit only": (PENDULUM, {"env": {"episode_length": 50}}),
    "Rewards with an offset": (shaped(offset=1e6), {}),
    "Large observations": (shaped(all_obs=1e8), {}),
    "Small observations": (shaped(all_obs=1e-5), {}),
    "Observations far from 0": (shaped(shift=1e3), {}),
    # One large reward, and all others are nothing beside it.
    "Values in a single bin": (
        shaped(reward=lambda action, before: 1e12 if next(COUNT) == 150 else -abs(action)),
        {"critic": {"head": "hl-gauss"}, "replay": {"capacity": 1000, "n_step": 1}},
    ),
    "An unusual replay ratio": (PENDULUM, {"train": {"updates_per_step": 0.25}}),
    "Seeds disagree": (
        shaped(reward=lambda action, before: action),
        {"train": {"seeds": 4, "updates_per_step": 0.001}, "explore": {"start_steps": 500}},
    ),
}


# Those that are quick to show; the others are long.
SOME = ("Nothing was learned",)


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::RuntimeWarning")
@pytest.mark.parametrize("name", some(DISEASES, SOME))
def test_a_disease_is_recognized(name, tmp_path):
    world, changes = DISEASES[name]
    options = reading.merge(reading.merge(BASE, changes), {"log": {"dir": str(tmp_path)}})
    try:
        run = qmu.train(world, **options)
    except qmu.DivergedError:
        run = qmu.open_run(next(tmp_path.glob("*/*/run.json")).parent)
    found = {diagnosis.finding.name: diagnosis.finding for diagnosis in examine_run(run).diagnoses}
    assert name in found, (list(found), run.metrics()[-2:])
    assert "--" in found[name].advice
    assert found[name].sure in chart.SURE


@pytest.mark.long
@pytest.mark.parametrize(
    ("world", "seeds", "head"),
    [
        (PENDULUM, 2, "scalar"),
        ("InvertedPendulum-v5", 1, "scalar"),
        (PENDULUM, 1, "categorical"),
        ("InvertedPendulum-v5", 1, "hl-gauss"),
    ],
)
def test_a_healthy_run_has_nothing(world, seeds, head, tmp_path, capsys):
    steps = {"total_steps": 6_000, "eval_interval": 500, "seeds": seeds, "eval_episodes": 5}
    options = reading.merge(
        BASE,
        {
            "actor": {"hidden_sizes": [64, 64]},
            "critic": {"hidden_sizes": [64, 64], "head": head},
            "replay": {"batch_size": 64},
            "train": steps,
            "explore": {"start_steps": None},
            "log": {"dir": str(tmp_path)},
        },
    )
    run = qmu.train(world, **options)
    assert [one.finding for one in examine_run(run).diagnoses] == []
    assert cli.main(["doctor", str(run.directory)]) == 0
    assert capsys.readouterr().out == "Nothing is wrong, as far as the numbers say.\n"


def test_what_is_serious_is_said_once_while_the_run_goes_on(tmp_path):
    options = reading.merge(BASE, {"train": {"total_steps": 2400}, "log": {"dir": str(tmp_path)}})
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        run = qmu.train(shaped(reward=lambda action, before: 0.0), **options)
    texts = [str(one.message) for one in said if "No reward" in str(one.message)]
    assert len(texts) == 1
    assert "Try more --explore.start-steps" in texts[0]
    lines = lines_of(examine_run(run).diagnoses)
    assert lines[0] == "SERIOUS: No reward was found (seed 0; certain)"


FIVE = {"log": {"interval": 100}, "train": {"total_steps": 1600, "eval_interval": 150}}


def found_in(world, tmp_path, **changes):
    """Return the names of what is found in a run, and what was told while it went on."""
    options = reading.merge(reading.merge(BASE, FIVE), changes)
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        run = qmu.train(world, **reading.merge(options, {"log": {"dir": str(tmp_path)}}))
    told = [str(one.message) for one in said]
    return [one.finding.name for one in examine_run(run).diagnoses], told


@pytest.mark.slow
@pytest.mark.parametrize(
    "changes",
    some(
        [
            {"env": {"reward_scale": 1e9}},
            {"env": {"normalize_rewards": True}},
            {"critic": {"head": "categorical"}},
            {"critic": {"head": "hl-gauss"}, "env": {"normalize_rewards": True}},
        ],
        [{"critic": {"head": "categorical"}}],
    ),
    ids=str,
)
def test_tiny_rewards_that_are_scaled_as_advised_are_no_fault(changes, tmp_path):
    world = shaped(scale=1e-9)
    names, told = found_in(world, tmp_path, **changes)
    assert names == []
    assert told == []


@pytest.mark.slow
def test_tiny_rewards_are_told_as_what_they_are(tmp_path):
    names, told = found_in(shaped(scale=1e-9), tmp_path)
    assert names == ["Small rewards"]
    assert len(told) == 1
    assert re.search(r"Try --env.reward-scale [\d.]+e\+0[789], or --env.normalize-rew", told[0])


@pytest.mark.slow
@pytest.mark.parametrize("offset", some([1e6, -1e6], [1e6]))
def test_an_offset_of_rewards_is_named_and_no_scale_is_advised(offset, tmp_path):
    names, told = found_in(shaped(offset=offset), tmp_path)
    assert names == ["Rewards with an offset"]
    assert f"take {offset:.2g} from every reward" in told[0]
    assert "--env.reward-scale" not in " ".join(told)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("world", "name"),
    some(
        [
            ({"all_obs": 1e8}, "Large observations"),
            ({"all_obs": 1e3}, "Large observations"),
            ({"all_obs": 1e-5}, "Small observations"),
            ({"shift": 1e3}, "Observations far from 0"),
        ],
        [({"all_obs": 1e8}, "Large observations")],
    ),
)
def test_observations_of_another_size_are_the_cause_that_is_told(world, name, tmp_path):
    names, told = found_in(shaped(**world), tmp_path)
    assert names == [name]
    assert all("--env.normalize-obs" in text for text in told)


@pytest.mark.long
@pytest.mark.slow
def test_normalized_observations_are_of_no_size(tmp_path):
    assert found_in(shaped(all_obs=1e8), tmp_path, env={"normalize_obs": True}) == ([], [])


@pytest.mark.parametrize(
    ("advice", "options", "left"),
    [
        ("--critic.norm layer, a lower --critic.lr", {}, "a lower --critic.lr"),
        ("--critic.norm layer", {}, "--critic.norm layer"),
        ("--critic.count 2, --target.tau 0.1", {"critic": {"count": 2}}, "--target.tau 0.1"),
        ("--actor.lr 3e-4, x", {"actor": {"lr": 0.0003}}, "x"),
        ("--env.normalize-obs, x", {"env": {"normalize_obs": True}}, "x"),
        (
            "--actor.preactivation-penalty 0.01 or more, x. Else --critic.norm layer",
            {"actor": {"preactivation_penalty": 0.02}},
            "more --actor.preactivation-penalty than 0.02, x. Else --critic.norm layer",
        ),
        (
            "--actor.preactivation-penalty 0.01 or more, x",
            {"actor": {"preactivation_penalty": 0}},
            "--actor.preactivation-penalty 0.01 or more, x",
        ),
        (
            "x, a smaller --env.reward-scale, --env.normalize-rewards or --env.reward-scale 0.1",
            {"env": {"normalize_rewards": True}},
            "x",
        ),
        ("a larger --env.reward-scale, x", {"critic": {"head": "hl-gauss"}}, "x"),
        ("a larger --env.reward-scale, x", {}, "a larger --env.reward-scale, x"),
    ],
)
def test_what_is_set_already_is_not_advised(advice, options, left):
    assert not_given(advice, reading.from_dict(options)) == left


def test_sizes_are_those_of_single_steps():
    found = sizes(trace(([1.0, 3.0], True), ([2.0], False)), Layout(2))
    # Observations are (0, 0), (0, 1), (0, 2) and (1, 0), (1, 1): means 0.4 and 0.8.
    expected = {"step_reward_mean": 2.0, "step_reward_std": (2 / 3) ** 0.5, "obs_offset": 0.8}
    assert found == pytest.approx({f"health/{name}": value for name, value in expected.items()})


def test_returns_are_discounted_back_from_the_end():
    np.testing.assert_allclose(discounted(np.array([1.0, 2.0, 3.0]), 0.0, 0.5), [2.75, 3.5, 3.0])
    np.testing.assert_allclose(discounted(np.array([1.0, 2.0]), 8.0, 0.5), [4.0, 6.0])


def trace(*episodes):
    """Return what was seen in episodes of (rewards, terminated); observations count the steps."""
    seen = Trace()
    seen.begin(len(episodes))
    for index, (rewards, terminated) in enumerate(episodes):
        seen.rewards[index] = list(rewards)
        times = range(len(rewards) + 1)
        seen.obs[index] = [np.array([index, time], np.float32) for time in times]
        seen.terminated[index] = terminated
    return seen


def test_a_value_that_is_too_large_everywhere_is_too_large_by_that():
    # A reward of 1 for ever is worth 10; an episode of three steps that terminates 1.9 ** ... less.
    endless = trace(([1.0] * 40, False))
    found = overestimation(endless, lambda obs: np.full(len(obs), 13.0), Layout(2), 0.9, 1.0)
    assert found["health/q_bias"] == pytest.approx(3.0)
    ended = trace(([1.0] * 3, True))
    # Returns 2.71, 1.9, 1: their mean is 1.87.
    found = overestimation(ended, lambda obs: np.full(len(obs), 2.87), Layout(2), 0.9, 1.0)
    assert found["health/q_bias"] == pytest.approx(1.0)
    assert found["health/return_mean"] == pytest.approx(1.87)
    # Rewards that are scaled where they are learned from.
    found = overestimation(ended, lambda obs: np.full(len(obs), 18.7), Layout(2), 0.9, 10.0)
    assert found["health/q_bias"] == pytest.approx(0.0, abs=1e-9)


def test_returns_that_are_nearly_all_foreseen_say_nothing_about_what_is_foreseen():
    def values(obs):
        return np.full(len(obs), 13.0)

    cut, ended = ([1.0] * 40, False), ([1.0] * 40, True)
    assert overestimation(trace(cut), values, Layout(2), 1.0, 1.0) == {}
    assert overestimation(trace(cut), values, Layout(2), 0.9999, 1.0) == {}
    assert "health/q_bias" in overestimation(trace(cut), values, Layout(2), 0.999, 1.0)
    # Returns 40, 39, ... 1: their mean is 20.5.
    found = overestimation(trace(ended, cut), values, Layout(2), 1.0, 1.0)
    assert found["health/q_bias"] == pytest.approx(13.0 - 20.5 - 20.5)


def test_of_many_states_some_are_chosen_from_all_episodes():
    assert chosen([2, 1]) == [(0, 0), (0, 1), (1, 0)]
    places = chosen([1000] * 10)
    assert len(places) <= STATES - 10
    assert {episode for episode, _ in places} == set(range(10))
    many = trace(*([([0.0] * 10, False)] * 400))
    assert (
        overestimation(many, lambda obs: np.zeros(len(obs)), Layout(2), 0.9, 1.0)["health/q_bias"]
        == 0
    )


def train(tmp_path, world=PENDULUM, **changes):
    """Train what is given, and return the run, whatever has become of it."""
    options = reading.merge(reading.merge(BASE, changes), {"log": {"dir": str(tmp_path)}})
    try:
        return qmu.train(world, **options)
    except qmu.QmuError:
        return qmu.open_run(next(tmp_path.glob("*/*/run.json")).parent)


def says(run, capsys):
    """Return what `qmu doctor` prints of a run."""
    capsys.readouterr()
    assert cli.main(["doctor", str(run.directory)]) == 0
    return capsys.readouterr().out


@pytest.mark.filterwarnings("ignore::RuntimeWarning")
def test_of_a_run_that_diverged_it_is_said_first_with_its_step(tmp_path, capsys):
    run = train(
        tmp_path,
        actor={"lr": 1e36, "preactivation_penalty": 1e30},
        explore={"start_steps": 40},
        train={"total_steps": 300, "seeds": 2},
    )
    assert run.info["status"] == "diverged"
    said = says(run, capsys)
    assert said.startswith("SERIOUS: Diverged (seed 0; certain)\n  Seen:  It ended after ")
    assert run.info["error"].partition(". ")[0] in said
    assert "Try:   lower --actor.lr" in said


def test_of_a_run_whose_world_failed_the_reason_is_said(tmp_path, capsys):
    def broken(action, before):
        raise RuntimeError("the motor is gone")

    said = says(train(tmp_path, shaped(reward=broken), train={"total_steps": 400}), capsys)
    assert said.startswith("SERIOUS: The run failed (seed 0; certain)")
    assert "the motor is gone" in said
    assert "--env.on-error restart" in said
    # Nothing was logged: what the options say is said.
    assert "Not asked, for lack of numbers: rewards that never change, " in said


def test_a_run_that_was_to_end_by_episodes_has_no_number_of_steps(tmp_path, capsys):
    def broken(action, before):
        raise RuntimeError("the motor is gone")

    train_until = {"total_steps": None, "total_episodes": 5}
    said = says(train(tmp_path, shaped(reward=broken), train=train_until), capsys)
    assert re.search(r"It ended after \d+ steps: ", said)


def test_what_a_replay_forgets_is_counted_in_the_steps_that_there_are():
    options = {
        "train": {"total_steps": None, "total_episodes": 50},
        "replay": {"capacity": 300, "batch_size": 32},
    }
    found = {one.name: one for one in rules.examine(member(options, [{"step": 3_000}]))}
    assert found["The replay is small"].seen == "It holds 300 of 3,000 steps"
    assert "The replay is small" not in names(member(options, [{"step": 1_000}]))


def test_without_lines_of_metrics_the_options_are_looked_at(tmp_path, capsys):
    run = train(tmp_path, target={"tau": 0.5}, train={"total_steps": 400})
    (run.directory / "metrics.jsonl").unlink()
    said = says(run, capsys)
    assert "Targets move too fast" in said
    assert "0 updates by the last line" in said


def test_a_run_without_an_update_has_learned_nothing(tmp_path, capsys):
    nothing = {"updates_per_step": 0, "total_steps": 500}
    said = says(train(tmp_path, train=nothing), capsys)
    assert "Nothing was learned (seed 0; certain)" in said


@pytest.mark.long
def test_what_one_line_can_say_is_said_of_a_short_run(tmp_path, capsys):
    run = train(
        tmp_path,
        actor={"lr": 1.0},
        env={"reward_scale": 1e6},
        explore={"std": 0.0, "start_steps": None},
        train={"total_steps": 400, "seeds": 2},
        log={"interval": 20},
    )
    said = says(run, capsys)
    for name in (
        "Large rewards",
        "Exploding gradients",
        "Large learning rates",
        "Hardly any exploration",
        "Few random steps",
    ):
        assert f"{name} (seeds 0, 1; " in said, name
    # What would make the rewards about 1, whatever they have been multiplied with.
    factor = float(re.search(r"--env.reward-scale ([\d.e-]+), or --env.normalize", said)[1])
    assert 0.05 < factor < 10
    assert "a saturated actor" in said.splitlines()[-1]
    assert "once per 256 updates (368 updates by the last line; a longer training)" in said
    assert "Nothing is wrong" not in said


@pytest.mark.long
def test_what_is_serious_comes_first_then_what_is_certain(tmp_path, capsys):
    options = {"target": {"tau": 0.5}, "explore": {"start_steps": 50}}
    world = shaped(reward=lambda action, before: 0.0)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        run = train(tmp_path, world, **options)
    found = [diagnosis.finding for diagnosis in examine_run(run).diagnoses]
    order = [(not finding.serious, chart.SURE.index(finding.sure)) for finding in found]
    assert order == sorted(order)
    assert len(set(order)) > 2
    for finding in found:
        for words in (finding.name, finding.seen, finding.meaning):
            assert words[0] == words[0].upper()
            assert not words.endswith(".")


def member(changes, lines=(), longest=None):
    """Return the chart of a member with these options that has logged these lines."""
    return chart.Chart(reading.from_dict(changes), lines, longest)


def names(known):
    return {finding.name for finding in rules.examine(known)}


@pytest.mark.long
def test_no_line_is_read_again_for_a_diagnosis(tmp_path, monkeypatch):
    read, asked = [], []

    def charts(members, lines, longest):
        read.append(len(lines))
        return every_chart(members, lines, longest)

    def together(members, found):
        asked.append([list(own.all("eval/mean_reward")) for own in found])
        return []

    every_chart = doctor.charts
    monkeypatch.setattr(doctor, "charts", charts)
    monkeypatch.setattr(doctor, "together", together)
    steps = {"total_steps": 300, "schedule_steps": 600, "eval_interval": 20, "save_interval": 100}
    directory = runs.train(tmp_path, train={"seeds": 2, **steps})
    before = len(runs.metrics(directory))
    qmu.resume(directory, total_steps=600, schedule_steps=600)
    # When the run begins, and when it goes on.
    assert read == [0, before]
    lines = runs.metrics(directory)
    evaluated = {
        name: [
            line["eval/mean_reward"]
            for line in lines
            if line["member"] == name and "eval/mean_reward" in line
        ]
        for name in ("seed-0", "seed-1")
    }
    # From the tenth evaluation on, as in a run that goes on.
    assert asked[-1] == list(evaluated.values())
    assert [len(own) for own, _ in asked] == [10, 11, 12, 13, 14, 15, *range(25, 31)]


def test_ou_noise_is_what_it_reaches_within_an_episode():
    options = {"explore": {"noise": "ou", "std": 0.5}}
    generator = np.random.default_rng(0)
    noise = OrnsteinUhlenbeck()
    std = np.full((4000, 1), 0.5, np.float32)
    noise.draw(generator, (200, 4000, 1), reading.from_dict(options).explore, std)
    started = [np.full(4000, time == 0) for time in range(200)]
    values = [noise.at(time, now) for time, now in enumerate(started)]
    assert conditions.reached(member(options, longest=200)) == pytest.approx(
        np.sqrt(np.mean(np.square(values))), rel=0.02
    )
    lines = [{"step": 100, "rollout/ep_len_mean": 20.0}]
    assert conditions.reached(member(options, lines, 200)) < 0.2
    # Without an end it is that of the process left to itself.
    assert conditions.reached(member(options)) == pytest.approx(0.5 / 0.3**0.5, rel=0.05)
    for longest in (200, 1000):
        assert "More noise than action" not in names(member(options, longest=longest))
    wild = {"explore": {"noise": "ou", "std": 2.0}}
    assert "More noise than action" in names(member(wild, longest=200))


def test_the_noise_of_worlds_that_differ_in_it_is_its_root_mean_square():
    spread = {"env": {"count": 3}, "explore": {"noise": "colored", "std": 0.0, "std_last": 0.6}}
    # 0, 0.3 and 0.6.
    assert conditions.reached(member(spread, longest=200)) == pytest.approx(0.15**0.5)
    assert conditions.reached(member({"explore": {"noise": "colored"}})) == pytest.approx(0.2)
    loud = {"env": {"count": 2}, "explore": {"std": 0.1, "std_last": 2.0}}
    (found,) = [one for one in rules.examine(member(loud)) if one.name == "More noise than action"]
    assert "--explore.std-last" in found.advice


def seen(step, **values):
    """Return five lines with the same values."""
    return [
        {"step": step, **{name.replace("__", "/"): value for name, value in values.items()}}
    ] * 5


@pytest.mark.parametrize(
    ("step", "bias", "mean", "std", "reward", "sure"),
    [
        # Pendulum in the beginning: Q is about 0, returns are not. Later that is an error.
        (2_000, 700.0, -720.0, 170.0, 10.0, None),
        (10_000, 700.0, -500.0, 30.0, 10.0, "certain"),
        # A new critic's 0.09, where only the rewards tell how much that is.
        (2_000, 0.0877, -0.000825, 0.0, 0.023, None),
        (10_000, 0.0877, -0.000825, 0.0, 0.2, None),
        # Far beyond what a new critic says, at any time; and a part of the returns, later.
        (2_000, 5_000.0, 100.0, 20.0, 10.0, "likely"),
        (2_000, 90.0, 100.0, 20.0, 2.0, None),
        (10_000, 90.0, 100.0, 20.0, 2.0, "likely"),
    ],
)
def test_q_is_too_large_only_where_it_has_been_learned(step, bias, mean, std, reward, sure):
    values = {"health__q_bias": bias, "health__return_mean": mean, "health__return_std": std}
    lines = seen(step, **values, health__reward_std=reward)
    known = member({"train": {"total_steps": 10_000}}, lines)
    found = {finding.name: finding.sure for finding in rules.examine(known)}
    assert found.get("Q overestimates") == sure


@pytest.mark.parametrize(
    ("alone", "noisy", "size", "lengths", "expected"),
    [
        # MountainCarContinuous-v0, where seeds end; one that has found the goal.
        (-0.2, -2.9, 0.07, 999, True),
        (93.9, 94.2, 1.8, 66, False),
        # Pendulum: it costs much less than in the beginning, and it acts.
        (-145.0, -390.0, 2.0, 200, False),
        (-145.0, -390.0, 0.1, 200, False),
        # It acts, and it costs little; noise makes it better; it earns.
        (-0.2, -2.9, 0.6, 999, False),
        (-2.9, -0.2, 0.07, 999, False),
        (0.2, -2.9, 0.07, 999, False),
    ],
)
def test_who_stands_still_because_acting_costs(alone, noisy, size, lengths, expected):
    first = [{"step": 1000, "rollout/ep_rew_mean": -33.0, "eval/mean_ep_length": 999.0}]
    lines = first + seen(
        10_000,
        eval__mean_reward=alone,
        eval__mean_ep_length=float(lengths),
        rollout__ep_rew_mean=noisy,
        health__preactivation=size,
    )
    assert ("The actor stands still" in names(member({}, lines))) is expected


@pytest.mark.parametrize(
    ("dead", "saturated", "sure", "serious"),
    [
        (0.3, 0.5, None, None),
        (0.6, 0.5, "certain", False),
        (0.95, 0.0, "certain", True),
        (0.1, 0.93, "likely", False),
        (0.1, 0.995, "likely", True),
    ],
)
def test_an_encoder_that_sees_nothing_is_named(dead, saturated, sure, serious):
    lines = seen(5_000, health__dead_encoder=dead, health__saturated_features=saturated)
    found = {one.name: one for one in rules.examine(member({}, lines))}
    assert ("Blind encoder" in found) is (sure is not None)
    if sure is not None:
        assert (found["Blind encoder"].sure, found["Blind encoder"].serious) == (sure, serious)
        assert "--encoder.lr" in found["Blind encoder"].advice


BINS = {"head": "categorical"}


@pytest.mark.parametrize(
    ("bins", "unit", "spread", "beyond", "name", "serious"),
    [
        # A bin is 10 / 100 of the unit wide.
        (None, 1.0, 0.3, 0.0, None, None),
        (None, 1.0, 0.015, 0.0, "Values in a single bin", False),
        (None, 1.0, 0.001, 0.0, "Values in a single bin", True),
        (None, 1e-6, 0.015, 0.0, None, None),
        (None, 1e9, 0.3, 0.0, "Values in a single bin", True),
        (11, 1.0, 0.15, 0.0, "Values in a single bin", False),
        (1001, 1.0, 0.015, 0.0, None, None),
        (None, 2.0, 3.0, 0.1, None, None),
        (None, 2.0, 3.0, 0.3, "Values beyond the bins", False),
        (None, 2.0, 3.0, 0.9, "Values beyond the bins", True),
    ],
)
def test_values_that_bins_cannot_say_are_named(bins, unit, spread, beyond, name, serious):
    lines = seen(5_000, train__reward_unit=unit, health__q_std=spread, train__beyond_bins=beyond)
    critic = {"head": "categorical", "bins": bins}
    found = {one.name: one for one in rules.examine(member({"critic": critic}, lines))}
    named = [one for one in found if "bin" in one]
    assert named == ([] if name is None else [name])
    if name is not None:
        assert found[name].serious is serious
        assert "--critic.head scalar" in found[name].advice
    if beyond > 0.2:
        assert "at the outermost bins, ±10" in found[name].seen
    # A number is in no bin.
    assert not any("bin" in one for one in names(member({}, lines)))


@pytest.mark.parametrize(
    ("reward", "named", "serious"), [(1e-9, True, True), (5e-4, True, False), (1.0, False, False)]
)
def test_values_are_in_one_bin_where_rewards_are_nothing_beside_it(reward, named, serious):
    # Three standard deviations a step, for about 34 windows; a bin is 0.2 wide.
    lines = seen(5_000, train__reward_unit=1.0, health__q_std=0.05, train__beyond_bins=0.0)
    lines = [one | {"health/reward_std": reward, "health/reward_mean": 0.0} for one in lines]
    found = {one.name: one for one in rules.examine(member({"critic": BINS}, lines))}
    assert ("Values in a single bin" in found) is named
    if named:
        assert found["Values in a single bin"].serious is serious
        assert "a bin is 0.2 wide" in found["Values in a single bin"].seen


def test_where_no_reward_was_found_the_bins_are_not_to_blame():
    lines = seen(5_000, train__reward_unit=1.0, health__q_std=1e-3, train__beyond_bins=0.0)
    lines = [one | {"health/reward_std": 0.0, "health/reward_mean": 0.0} for one in lines]
    found = names(member({"critic": {"head": "categorical"}}, lines))
    assert "No reward was found" in found
    assert "Values in a single bin" not in found


@pytest.mark.parametrize(
    ("options", "told"),
    [
        ({}, False),
        ({"train": {"updates_per_step": 0}}, False),
        ({"train": {"updates_per_step": 1 / 32}, "env": {"count": 32}}, True),
        ({"train": {"updates_per_step": 100}}, True),
    ],
)
def test_a_replay_ratio_is_told_where_it_is_unusual(options, told):
    found = {one.name: one for one in rules.examine(member(options))}
    assert ("An unusual replay ratio" in found) is told
    if told:
        one = found["An unusual replay ratio"]
        assert "a row is drawn" in one.seen
        assert "--train.updates-per-step" in one.advice
        assert (one.sure, one.serious) == ("possible", False)


@pytest.mark.parametrize("reward", [1e-5, 1e3])
@pytest.mark.parametrize(
    ("options", "told"),
    [
        ({}, True),
        ({"env": {"normalize_rewards": True}}, False),
        ({"critic": {"head": "hl-gauss"}}, False),
    ],
)
def test_a_scale_is_advised_where_rewards_have_none(options, told, reward):
    lines = seen(5_000, health__reward_std=reward, train__reward_unit=10 * reward)
    found = {one.name for one in rules.examine(member(options, lines)) if "rewards" in one.name}
    assert found == ({"Small rewards" if reward < 1 else "Large rewards"} if told else set())


@pytest.mark.parametrize(
    ("critic", "unit", "loss", "expected"),
    [
        # Errors of 4 where values differ by 1; of 0.4 units.
        ({}, None, 16.0, True),
        ({}, 0.1, 16.0, False),
        ({}, 10.0, 0.16, True),
        # Huber's loss of 4 is 7, and the root of that says too little.
        ({"loss": "huber"}, None, 7.0, True),
        ({"loss": "huber"}, None, 4.0, False),
        ({"head": "categorical"}, 10.0, 16.0, False),
    ],
)
def test_errors_are_held_against_values_in_units_of_rewards(critic, unit, loss, expected):
    lines = seen(5_000, health__q_std=1.0, health__reward_std=0.5, train__critic_loss=loss)
    if unit is not None:
        lines = [one | {"train/reward_unit": unit} for one in lines]
    env = {"normalize_rewards": unit is not None}
    found = {one.name: one for one in rules.examine(member({"critic": critic, "env": env}, lines))}
    name = "The critic predicts nothing"
    assert (name in found) is expected
    if expected:
        assert ("--env.reward-scale" in found[name].advice) is (unit is None)


@pytest.mark.parametrize(
    ("unit", "last", "diverged"), [(1e-6, 1e-3, True), (1.0, 1e-3, False), (1e-6, 1e-6, False)]
)
def test_a_new_critic_says_up_to_a_unit_and_not_more(unit, last, diverged):
    env = {"env": {"normalize_rewards": True}}
    small = {"train__reward_unit": unit, "health__reward_std": 1e-9, "health__reward_mean": 0.0}
    lines = seen(3_000, train__q_mean=0.1 * last, **small)
    lines += seen(5_000, train__q_mean=last, **small)
    assert ("Diverging Q" in names(member(env, lines))) is diverged


@pytest.mark.parametrize(
    ("used", "saturated", "name"),
    [
        (0.2, 0.1, None),
        (0.001, 0.1, "Ignored memory"),
        (0.2, 0.95, "Saturated memory"),
        (0.001, 0.995, "Saturated memory"),
    ],
)
def test_a_memory_that_is_of_no_use_is_named(used, saturated, name):
    lines = seen(5_000, health__memory_used=used, health__saturated_memory=saturated)
    found = [one.name for one in rules.examine(member({}, lines)) if "memory" in one.name]
    assert found == ([] if name is None else [name])


def test_of_worlds_without_images_nothing_is_asked_about_encoders():
    assert not any("encoder" in line for line in doctor.not_asked([member({}, seen(5_000))]))


def test_gradients_that_nothing_measures_are_not_asked_for():
    lines = seen(5_000, health__reward_std=1.0)
    words = {"actor": {"optimizer": "sgd"}, "critic": {"optimizer": "sgd"}}
    assert "exploding gradients" in doctor.not_asked([member({}, lines)])[0]
    said = doctor.not_asked([member(words, lines)])[0]
    assert "exploding gradients" not in said
    assert "5 evaluations (0 so far; a smaller --train.eval-interval)" in said
    assert "a smaller --log.interval" in said


def test_what_is_lacking_is_always_said_with_what_would_bring_it():
    names = {name for rule in rules.RULES for name in rule.needs}
    whole = seen(5_000, **dict.fromkeys(names, 1.0)) * 2
    assert doctor.not_asked([member({}, whole)]) == []
    for lacking in names:
        lines = [{name: value for name, value in line.items() if name != lacking} for line in whole]
        (said,) = doctor.not_asked([member({}, lines)])
        assert re.search(r"\. They need \w", said), said
    unforeseen = seen(5_000, **dict.fromkeys(names - {"health/q_bias"}, 1.0)) * 2
    late = {"train": {"learn_after": 1_000_000, "total_steps": 2_000_000}}
    assert doctor.not_asked([member(late, unforeseen)]) == [
        "Not asked, for lack of numbers: Q that overestimates. They need 5 evaluations after the "
        "first update (0 so far; a smaller --train.eval-interval)."
    ]


def test_returns_that_are_nearly_all_foreseen_need_another_discount():
    lines = [line | {"eval/mean_reward": -1.0} for line in seen(50_000, health__reward_std=1.0)]
    said = doctor.not_asked([member({"target": {"gamma": 1.0}}, lines)])[0]
    assert "Q that overestimates" in said
    assert "and episodes that terminate, or a lower --target.gamma." in said
    lines = [line | {"health/q_bias": 0.0} for line in lines]
    assert "gamma" not in doctor.not_asked([member({}, lines)])[0]


@pytest.mark.parametrize(
    ("seeds", "words"),
    [
        ([3], "seed 3"),
        ([0, 1], "seeds 0, 1"),
        ([2, 3, 4], "seeds 2 to 4"),
        ([0, 2, 3], "seeds 0, 2, 3"),
    ],
)
def test_seeds_are_named_in_short(seeds, words):
    assert doctor.spelled(seeds) == words
