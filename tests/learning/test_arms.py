"""Arms of a run: members that differ in numbers learn as they would in runs of their own."""

import json

import numpy as np
import pytest
import runs

import qmu
from qmu.config import reading
from qmu.runs.train import train_config

ARMS = {
    "quiet": {"explore": {"std": 0.1}, "actor": {"lr": 3e-4}},
    "loud": {"explore": {"std": 0.5}, "target": {"tau": 0.05, "gamma": 0.9}},
}


def train(folder, changes, arms=None, **more):
    options = runs.options(folder, {"env": {"id": "Pendulum-v1", "episode_length": 30}, **more})
    return train_config(reading.from_dict(reading.merge(options, changes)), arms=arms)


@pytest.fixture(scope="module")
def together(tmp_path_factory):
    """Return a run of two arms with two seeds each."""
    return train(tmp_path_factory.mktemp("runs"), {"train": {"seeds": 2}}, ARMS)


def curve(run, member):
    return [
        line["eval/mean_reward"]
        for line in run.metrics()
        if line["member"] == member and "eval/mean_reward" in line
    ]


@pytest.mark.long
@pytest.mark.parametrize("arm", ARMS)
def test_an_arm_learns_what_a_run_of_its_own_learns(arm, together, tmp_path):
    alone = train(tmp_path, reading.merge({"train": {"seeds": 2}}, ARMS[arm]))
    for seed in (0, 1):
        # Not to the bit: groups of one member are compiled otherwise.
        np.testing.assert_allclose(
            curve(together, f"{arm}.seed-{seed}"), curve(alone, f"seed-{seed}"), rtol=1e-3
        )
    rates = {
        line["member"]: line["train/actor_lr"]
        for line in together.metrics()
        if "train/actor_lr" in line and line["step"] == 50
    }
    assert rates["quiet.seed-0"] / rates["loud.seed-0"] == pytest.approx(0.3)


@pytest.mark.long
def test_members_of_other_discounts_have_units_of_their_own(tmp_path):
    """The returns of an arm are those of its own γ, as in a run of its own."""
    bins = {"critic": {"head": "categorical"}}
    both = train(tmp_path / "both", bins, ARMS)

    def units(run, member):
        lines = [line for line in run.metrics() if line["member"] == member]
        return [line["train/reward_unit"] for line in lines if "train/reward_unit" in line]

    last = []
    for name, arm in ARMS.items():
        alone = train(tmp_path / name, reading.merge(bins, arm))
        own = units(both, f"{name}.seed-0")
        # Actors drift apart by rounding, and what is done differs a little.
        np.testing.assert_allclose(own, units(alone, "seed-0"), rtol=0.02)
        last.append(own[-1])
    # Sums over about 100 steps, of which an episode has 30, and over about 10.
    assert last[0] > 1.3 * last[1]


def test_a_run_says_which_arm_each_member_is_of(together):
    info = together.info
    assert info["arms"] == ARMS
    assert [(member["arm"], member["seed"]) for member in info["members"]] == [
        ("quiet", 0), ("quiet", 1), ("loud", 0), ("loud", 1),
    ]  # fmt: skip
    assert info["best_arm"] in ARMS
    members = {line["member"] for line in together.metrics()}
    spread = {f"{arm}.{name}" for arm in ARMS for name in ("mean", "std")}
    assert members == {f"{arm}.seed-{seed}" for arm in ARMS for seed in (0, 1)} | spread
    assert (together.directory / "best" / "loud.seed-1" / "policy.json").is_file()


def test_the_policy_of_a_seed_is_found_where_arms_leave_no_doubt(together, tmp_path):
    with pytest.raises(qmu.ConfigError, match=r"seed 1 in several arms.*load_policy\('.*loud.se"):
        together.policy(seed=1)
    with pytest.raises(qmu.ConfigError, match=r"no member with seed 5; there is loud.seed-0, loud"):
        together.policy(seed=5)
    only = train(tmp_path, {"train": {"total_steps": 60}}, {"quiet": ARMS["quiet"]})
    assert only.policy(seed=0).info == only.policy().info


@pytest.mark.slow
def test_a_run_with_arms_goes_on_bit_for_bit(together, tmp_path):
    half = train(tmp_path, {"train": {"seeds": 2, "total_steps": 120}}, ARMS)
    described = half.directory / "run.json"
    # What they differ in is read from the checkpoint.
    described.write_text(json.dumps(half.info | {"arms": {}}))
    again = qmu.resume(half.directory, total_steps=240)
    assert runs.final_state(again.directory) == runs.final_state(together.directory)
    assert runs.metrics(again.directory) == runs.metrics(together.directory)
