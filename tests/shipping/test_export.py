"""An export is compared with the actor that was trained, on observations that tell, and timed."""

import dataclasses
import re
import time
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import runs
from policies import KINDS, draw_obs, make_actor, make_network, make_policy, make_shaped

import qmu
from qmu.deploy import files
from qmu.layout import Layout
from qmu.learning.handover import to_acting
from qmu.shipping.export import (
    actions_of_actor,
    difference,
    latency,
    make_export,
    observations,
    stored_observations,
)


@pytest.mark.parametrize("norm", ["none", "layer"])
def test_an_actor_comes_back_from_its_network(norm):
    actor = make_actor(norm=norm, activation="silu")
    again = to_acting(make_network(actor)).actor
    assert jax.tree.structure(again) == jax.tree.structure(actor)
    for leaf, other in zip(jax.tree.leaves(again), jax.tree.leaves(actor), strict=True):
        np.testing.assert_array_equal(leaf, other)


def test_the_reference_is_the_trained_actor_in_units_of_the_world():
    actor = make_actor(norm="batch", activation="elu")
    policy = dataclasses.replace(make_policy(), network=make_network(actor))
    obs = draw_obs(30, 3)
    trained = np.asarray(actor(jnp.asarray(obs)))
    expected = np.float32([2.0, 0.25]) + trained * np.float32([4.0, 0.25])
    np.testing.assert_allclose(actions_of_actor(policy, obs), expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("kind", KINDS, ids=str)
def test_a_npz_export_does_what_the_actor_does(tmp_path, kind):
    policy = make_shaped((2, 3), (2, 2), **kind)
    made = make_export(policy, tmp_path / "p.npz", observations(policy, None))
    assert 0 <= made.difference < 1e-5
    assert 0.1 < made.microseconds < 1e6
    assert made.observed.obs.shape == (1000, 2, 3)
    assert made.data == files.packed(".npz", policy)
    assert re.fullmatch(
        r"<Export p\.npz: [\d,]+ bytes, at most [-e.\d]+ from the trained actor, \d+ µs>",
        repr(made).replace(f"{tmp_path}/", ""),
    )
    assert not (tmp_path / "p.npz").exists()


@pytest.mark.long
@pytest.mark.parametrize("share", [1.001, np.nan])
@pytest.mark.parametrize("name", ["weights", "normalization", "low"])
def test_another_policy_in_the_file_is_noticed(monkeypatch, name, share):
    policy = make_policy(normalized=True)
    network = policy.network
    factor = np.float32(share)
    if name == "low":
        wrong = dataclasses.replace(policy, low=policy.low * factor)
    elif name == "weights":
        weights = (network.weights[0] * factor, *network.weights[1:])
        wrong = dataclasses.replace(policy, network=dataclasses.replace(network, weights=weights))
    else:
        known = dataclasses.replace(network.normalization, clip=network.normalization.clip * factor)
        changed = dataclasses.replace(network, normalization=known)
        wrong = dataclasses.replace(policy, network=changed)
    data = files.packed(".npz", wrong)
    monkeypatch.setattr(files, "packed", lambda kind, policy: data)
    # What is not finite is noticed as soon as the file is read.
    said = "are not finite" if np.isnan(share) else "action ranges from the trained actor's"
    with pytest.raises(qmu.QmuError, match=said) as refused:
        make_export(policy, Path("p.npz"), observations(policy, None))
    assert refused.value.exit_code == (2 if np.isnan(share) else 1)


def test_a_difference_is_measured_in_ranges_of_the_actions():
    policy = make_policy()  # ranges 8 and 0.5
    theirs = np.zeros((3, 2), np.float32)
    ours = theirs.copy()
    ours[1] = [0.8, 0.1]
    assert difference(ours, theirs, policy) == pytest.approx(0.2)
    fixed = dataclasses.replace(policy, low=policy.high)
    assert difference(ours, theirs, fixed) == pytest.approx(0.8)
    largest = np.finfo(np.float32).max
    huge = dataclasses.replace(policy, low=np.full(2, -largest), high=np.full(2, largest))
    assert difference(ours, theirs, huge) < 1e-30


def test_the_latency_is_the_median_of_the_calls(monkeypatch):
    # 400 calls of 9 microseconds, then 600 of 7; a reading before and after each.
    lengths = np.repeat([9_000, 7_000], [400, 600])
    readings = iter(np.stack([0 * lengths, lengths], axis=1).ravel())
    monkeypatch.setattr(time, "perf_counter_ns", lambda: next(readings))
    seen = []
    assert latency(seen.append, draw_obs(3)) == 7
    assert len(seen) == 1100


def test_observations_without_a_run_are_those_that_the_policy_knows():
    policy = make_policy(normalized=True)
    obs, origin = observations(policy, None)
    known = policy.network.normalization
    scaled = (obs - known.mean) / known.std
    assert 0.9 < scaled[:-100].std() < 1.1
    beyond = np.abs(scaled[-100:]) > known.clip
    assert beyond.any(axis=1).all()
    assert not beyond.all(axis=0).any()
    assert origin == "with the statistics of those in training, 100 of them partly beyond the clip"


def test_observations_of_a_policy_without_statistics_are_normal():
    obs, origin = observations(make_policy((2, 3)), None)
    assert (obs.shape, obs.dtype) == ((1000, 2, 3), np.float32)
    assert abs(obs.mean()) < 0.1
    assert 0.9 < obs.std() < 1.1
    assert origin == "from a standard normal distribution"


def on_the_circle(obs):
    """Tell which observations are a pendulum's: cosine and sine of an angle, and a speed."""
    return np.isclose(np.hypot(obs[:, 0], obs[:, 1]), 1, rtol=0, atol=1e-5)


LONGER = {"total_steps": 1200, "schedule_steps": 1200, "save_interval": 400}


def test_observations_of_a_run_are_those_that_it_has_stored(tmp_path):
    run = qmu.open_run(runs.train(tmp_path, train=LONGER, replay={"capacity": 5000}))
    obs, origin = observations(run.policy(), run)
    assert origin == "of the run"
    assert on_the_circle(obs).all()
    assert 1 < np.abs(obs[:, 2]).max() <= 8
    # Each of its rows is taken once.
    assert len(np.unique(obs, axis=0)) == len(obs) == 1000


def test_observations_of_a_run_that_has_few_are_all_of_them_and_drawn_ones(tmp_path):
    run = qmu.open_run(runs.train(tmp_path))
    stored = stored_observations(run, Layout(3))
    obs, origin = observations(run.policy(), run)
    assert 240 < len(stored) < 300
    assert origin == f"({len(stored)} of the run, the others from a standard normal distribution)"
    np.testing.assert_array_equal(
        np.unique(obs[on_the_circle(obs)], axis=0), np.unique(stored, axis=0)
    )
    assert (len(obs), on_the_circle(obs).sum()) == (1000, len(stored))


def test_observations_of_a_resumed_run_are_not_only_those_since(tmp_path):
    directory = runs.train(tmp_path)
    before = len(stored_observations(qmu.open_run(directory), Layout(3)))
    run = qmu.resume(directory, total_steps=250, schedule_steps=250)
    assert len(stored_observations(run, Layout(3))) > before


@pytest.mark.long
def test_observations_that_were_stored_are_not_cut(tmp_path):
    run = qmu.open_run(runs.train(tmp_path, env={"normalize_obs": True}))
    obs, origin = observations(run.policy(), run)
    count = len(stored_observations(run, Layout(3)))
    assert origin == (
        f"({count} of the run, the others with the statistics of those in training), "
        "100 of them partly beyond the clip"
    )
    assert on_the_circle(obs).sum() == count


def test_a_damaged_segment_is_passed_over(tmp_path):
    run = qmu.open_run(runs.train(tmp_path))
    whole = len(stored_observations(run, Layout(3)))
    segments = sorted((run.directory / "checkpoints" / "segments").iterdir())
    segments[0].write_bytes(b"nonsense")
    assert 0 < len(stored_observations(run, Layout(3))) < whole
    for path in segments:
        path.write_bytes(b"nonsense")
    assert len(stored_observations(run, Layout(3))) == 0
    assert observations(run.policy(), run).origin == "from a standard normal distribution"
