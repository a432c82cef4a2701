"""Every switch of the family: what it says it changes, changes, against arithmetic by hand."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from updates import BATCH, OBS, UPDATE, assert_same, make_agent, make_batch

from qmu import config as options
from qmu.agent.layers import Linear
from qmu.agent.networks import Actor
from qmu.agent.normalize import init_normalizer
from qmu.agent.optimizers import init_optimizer, optimizer_step, squared_weights
from qmu.agent.shares import SHARES, Regions
from qmu.agent.update import (
    Target,
    bootstrap,
    next_actions,
    observe,
    prepared,
    trace_numbers,
)

KEY = jax.random.key(5)


def step(agent, config, batch, number=1):
    return UPDATE(agent, batch, jnp.int32(number), KEY, trace_numbers(config))


def differs(left, right):
    pairs = zip(jax.tree.leaves(left), jax.tree.leaves(right), strict=True)
    return any(not np.array_equal(one, other) for one, other in pairs)


# -- which critics are bootstrapped from, which the actor climbs


def with_values(agent, *values):
    """Return the agent, with target and critics whose values are these, whatever they see."""

    def constant(critic, value):
        flat = jax.tree.map(jnp.zeros_like, critic)
        last = flat.layers[-1]
        layers = (*flat.layers[:-1], dataclasses.replace(last, bias=jnp.full(1, value)))
        return dataclasses.replace(flat, layers=layers)

    each = tuple(map(constant, agent.critics.each, values))
    critics = dataclasses.replace(agent.critics, each=each)
    return dataclasses.replace(agent, critics=critics, target=Target(agent.target.actor, critics))


@pytest.mark.parametrize(("kind", "value"), [("min", -4.0), ("mean", 1.0)])
def test_the_target_is_the_smallest_or_the_mean_of_the_critics(tiny_config, kind, value):
    config = tiny_config(critic={"count": 3, "bootstrap": kind})
    agent = with_values(make_agent(config), 2.0, 5.0, -4.0)
    batch = make_batch(reward=jnp.full(BATCH, 10.0))
    found, _ = bootstrap(agent.target, batch, KEY, config)
    np.testing.assert_allclose(found, np.full(BATCH, 10 + 0.9 * value), rtol=1e-6)


def test_a_random_subset_of_the_critics_is_asked(tiny_config):
    config = tiny_config(critic={"count": 4, "subset": 2, "bootstrap": "mean"})
    agent = with_values(make_agent(config), 0.0, 1.0, 10.0, 100.0)
    batch = make_batch(reward=jnp.zeros(BATCH), discount=jnp.ones(BATCH))
    keys = [jax.random.fold_in(KEY, draw) for draw in range(60)]
    found = {round(2 * float(bootstrap(agent.target, batch, key, config)[0][0])) for key in keys}
    # Sums of two different ones of 0, 1, 10, 100; 60 draws miss one of six in 1 of 10,000 cases.
    assert found == {1, 10, 100, 11, 101, 110}


@pytest.mark.parametrize(("kind", "direction"), [("first", 1), ("mean", -1), ("min", -1)])
def test_the_actor_climbs_the_first_the_mean_or_the_smallest(tiny_config, kind, direction):
    plain = {"hidden_sizes": [], "norm": "none"}
    config = tiny_config(actor=plain | {"climbs": kind}, critic=plain | {"count": 2, "lr": 0.0})
    agent = make_agent(config)
    slopes = [jnp.array([[0.0], [0.0], [slope]]) for slope in (1.0, -5.0)]
    each = tuple(
        dataclasses.replace(critic, layers=(Linear(slope, jnp.full(1, offset)),))
        for critic, slope, offset in zip(agent.critics.each, slopes, (0.0, -50.0), strict=True)
    )
    agent = dataclasses.replace(agent, critics=dataclasses.replace(agent.critics, each=each))
    after, _, _ = step(agent, config, make_batch())
    moved = float(after.actor.layers[0].bias[0] - agent.actor.layers[0].bias[0])
    assert np.sign(moved) == direction


def test_a_delayed_actor_moves_every_interval_updates(tiny_config):
    config = tiny_config(actor={"interval": 3, "lr": 0.01})
    agent, moved, losses = make_agent(config), [], []
    for number in range(1, 7):
        before = agent
        agent, metrics, _ = step(agent, config, make_batch(number), number)
        moved.append(differs(before.actor, agent.actor))
        losses.append(float(metrics.actor_loss))
        assert differs(before.critics, agent.critics)
    assert moved == [False, False, True, False, False, True]
    assert [loss != 0 for loss in losses] == moved


def test_a_delayed_actors_loss_is_that_of_its_own_updates(tiny_config):
    batch, losses = make_batch(), []
    for interval in (1, 3):
        config = tiny_config(actor={"interval": interval})
        _, metrics, _ = step(make_agent(config), config, batch, 3)
        losses.append(float(metrics.actor_loss) / interval)
    np.testing.assert_allclose(losses[0], losses[1], rtol=1e-6)


# -- target smoothing


def slow_actor():
    """Return an actor whose action is tanh of the first observation."""
    return Actor((Linear(jnp.array([[1.0], [0.0]]), jnp.zeros(1)),), None, "relu")


def smoothed_noise(rows=4000, **settings):
    """Return what smoothing adds to the action 0 of many rows."""
    obs = jnp.zeros((rows, OBS))
    return np.asarray(next_actions(slow_actor(), obs, KEY, options.Target(**settings)))[:, 0]


def test_smoothing_noise_has_its_own_size_for_every_action():
    noise = smoothed_noise(smoothing_std=0.2)
    np.testing.assert_allclose(noise.std(), 0.2, rtol=0.05)
    np.testing.assert_allclose(noise.mean(), 0.0, atol=0.02)
    assert len(set(noise.tolist())) > 3900


def test_smoothing_noise_is_cut():
    noise = smoothed_noise(smoothing_std=0.2, smoothing_clip=0.1)
    assert np.abs(noise).max() == np.float32(0.1)
    # Beyond half a deviation lie 61.7% of all draws.
    np.testing.assert_allclose(np.mean(np.abs(noise) == np.float32(0.1)), 0.617, atol=0.04)


def test_shared_smoothing_noise_is_one_draw_for_the_batch():
    assert len(set(smoothed_noise(smoothing_std=0.2, smoothing="shared").tolist())) == 1


def test_weight_smoothing_perturbs_the_target_actor_alike_for_the_batch():
    obs = jnp.tile(jnp.array([[0.5, 0.0]]), (3, 1))
    settings = options.Target(smoothing_std=0.2, smoothing="weights")
    action = next_actions(slow_actor(), obs, KEY, settings)
    assert len(set(np.asarray(action).ravel().tolist())) == 1
    assert float(action[0, 0]) != pytest.approx(np.tanh(0.5), abs=1e-3)


def test_no_smoothing_is_the_target_actor_itself():
    assert not smoothed_noise(smoothing_std=None).any()


# -- what each critic learns from


def test_own_batches_are_dealt_out_of_a_larger_one(tiny_config):
    config = tiny_config(critic={"count": 2, "batches": "own"}, replay={"batch_size": BATCH})
    shares = SHARES["own"](make_batch(rows=2 * BATCH), None, config)
    rows = np.arange(2 * BATCH)
    assert [rows[share.rows].tolist() for share in shares] == [[0, 2, 4, 6], [1, 3, 5, 7]]


def test_every_critic_learns_from_its_own_batch_only(tiny_config):
    config = tiny_config(critic={"count": 2, "batches": "own"}, replay={"batch_size": BATCH})
    agent = make_agent(config)
    one, other = make_batch(1, 2 * BATCH), make_batch(1, 2 * BATCH)
    other = other._replace(reward=other.reward.at[1::2].add(3.0))
    (left, _, _), (right, _, _) = (step(agent, config, batch) for batch in (one, other))
    assert not differs(left.critics.each[0], right.critics.each[0])
    assert differs(left.critics.each[1], right.critics.each[1])
    assert not differs(left.actor, right.actor)


def test_regions_part_all_pairs_and_every_critic_learns_in_its_own(tiny_config):
    critic = {"count": 3, "batches": "regions", "bootstrap": "mean"}
    config = tiny_config(critic=critic, actor={"climbs": "mean"})
    agent, batch = make_agent(config), make_batch(rows=3000)
    shares = SHARES["regions"](batch, agent.regions, config)
    weights = np.stack([share.weight for share in shares])
    np.testing.assert_array_equal(weights.sum(axis=0), np.ones(3000))
    # Slabs narrower than the spread of the data: each critic has about a third.
    np.testing.assert_allclose(weights.mean(axis=1), 1 / 3, atol=0.05)


def test_regions_are_slabs_that_belong_to_the_critics_in_turn():
    regions = Regions(jnp.array([1.0, 0.0, 0.0]), 3)
    obs = jnp.array([[0.1, 9.0], [0.3, 9.0], [0.6, 9.0], [0.8, 9.0], [-0.1, 9.0]])
    # Slabs of 1/4: 0, 1, 2, 3 and -1, in turn for three critics.
    np.testing.assert_array_equal(regions(obs, jnp.zeros((5, 1))), [0, 1, 2, 0, 2])


def test_td_errors_are_those_of_the_critics_that_saw_the_row(tiny_config):
    config = tiny_config(critic={"count": 2, "bootstrap": "mean"})
    agent = with_values(make_agent(config), 1.0, 3.0)
    batch = make_batch(reward=jnp.array([0.0, 1.0, 10.0, 10.0]), discount=jnp.zeros(BATCH))
    batch = batch._replace(weight=jnp.array([1.0, 1.0, 0.5, 0.0]))
    _, _, errors = step(agent, config, batch)
    # |0 - 1| and |0 - 3|; |1 - 1| and |1 - 3|; |10 - 1| and |10 - 3|; the last slot is none.
    np.testing.assert_allclose(errors, [2.0, 1.0, 8.0, 0.0], rtol=1e-6)


def test_a_weight_scales_a_rows_part_of_the_critics_loss_but_not_the_actors(tiny_config):
    config = tiny_config()
    agent = with_values(make_agent(config), 0.0)
    batch = make_batch(reward=jnp.array([2.0, 2.0, 2.0, 4.0]), discount=jnp.zeros(BATCH))
    _, plain, _ = step(agent, config, batch)
    _, weighted, _ = step(agent, config, batch._replace(weight=jnp.array([1.0, 1.0, 1.0, 0.25])))
    # (4 + 4 + 4 + 16) / 4 and (4 + 4 + 4 + 16 / 4) / 4
    np.testing.assert_allclose([plain.critic_loss, weighted.critic_loss], [7.0, 4.0], rtol=1e-6)


# -- optimizers


def descend(value, gradient, steps=1, **settings):
    """Return a 1 x 1 weight matrix and a bias after some steps down the same gradient."""
    settings = options.Critic(**{"lr": 0.1} | settings)
    parameters = (jnp.full((1, 1), value), jnp.full(1, value))
    gradients = (jnp.full((1, 1), gradient), jnp.full(1, gradient))
    state = init_optimizer(parameters, settings)
    for _ in range(steps):
        parameters, state = optimizer_step(parameters, gradients, state, settings)
    return [float(leaf.reshape(())) for leaf in parameters]


def test_sgd_goes_down_the_gradient():
    np.testing.assert_allclose(descend(1.0, 0.5, optimizer="sgd"), [0.95, 0.95], rtol=1e-6)


def test_momentum_takes_a_share_of_the_last_step_again():
    after = descend(1.0, 0.5, steps=3, optimizer="sgd", momentum=0.9)
    # Velocities 0.5, 0.95, 1.355: 1 - 0.1 · 2.805
    np.testing.assert_allclose(after, [0.7195, 0.7195], rtol=1e-6)


def test_adamw_takes_a_share_of_the_weights_away_but_not_of_the_biases():
    after = descend(2.0, 0.5, optimizer="adamw", weight_decay=0.05)
    # Adam's first step is 0.1 · 1; decay is 0.1 · 0.05 · 2.
    np.testing.assert_allclose(after, [1.89, 1.9], rtol=1e-6)


def test_sgd_can_decay_too():
    after = descend(2.0, 0.5, optimizer="sgd", weight_decay=0.05)
    np.testing.assert_allclose(after, [2 - 0.05 - 0.01, 1.95], rtol=1e-6)


def test_long_gradients_are_shortened_and_short_ones_left_alone():
    # The gradient (3, 3) is 4.243 long.
    np.testing.assert_allclose(
        descend(1.0, 3.0, optimizer="sgd", clip_norm=1.0), np.full(2, 1 - 0.1 / 2**0.5), rtol=1e-6
    )
    np.testing.assert_allclose(
        descend(1.0, 3.0, optimizer="sgd", clip_norm=5.0), [0.7, 0.7], rtol=1e-6
    )


def test_l2_adds_half_the_squared_weights_to_the_critics_gradient(tiny_config):
    plain = {"hidden_sizes": [], "norm": "none", "optimizer": "sgd", "lr": 0.1}
    batch, after = make_batch(), {}
    for name, l2 in (("without", None), ("with", 0.5)):
        config = tiny_config(critic=plain | {"l2": l2})
        agent = make_agent(config)
        improved, metrics, _ = step(agent, config, batch)
        after[name] = (improved.critics.each[0].layers[0], metrics.critic_loss)
    before = agent.critics.each[0].layers[0]
    (free, free_loss), (held, held_loss) = after["without"], after["with"]
    # The gradient of 0.5 · w² / 2 is 0.5 w; lr is 0.1. Biases are spared; the metric is the error.
    np.testing.assert_allclose(held.weight, free.weight - 0.05 * before.weight, atol=1e-6)
    np.testing.assert_array_equal(held.bias, free.bias)
    assert held_loss == free_loss


def test_squared_weights_are_those_of_matrices():
    network = (jnp.array([[1.0, -2.0]]), jnp.array([9.0]))
    assert squared_weights(network) == 2.5


# -- what networks see


def test_reward_scale_multiplies_rewards_and_nothing_else(tiny_config):
    config = tiny_config(env={"reward_scale": 0.1})
    batch = make_batch()
    seen = prepared(make_agent(config), batch, config)
    np.testing.assert_allclose(seen.reward, 0.1 * batch.reward, rtol=1e-6)
    assert_same(seen._replace(reward=batch.reward), batch)


def test_normalized_observations_are_cut(tiny_config):
    config = tiny_config(env={"normalize_obs": True, "obs_clip": 2.0})
    normalizer = dataclasses.replace(
        init_normalizer(OBS, config), mean=jnp.array([1.0, 0.0]), std=jnp.array([2.0, 1.0])
    )
    # (3 - 1) / 2 = 1;  9 is cut to 2.  (-9 - 1) / 2 = -5 is cut to -2;  0.5 stays.
    seen = normalizer(jnp.array([[3.0, 9.0], [-9.0, 0.5]]))
    np.testing.assert_allclose(seen, [[1.0, 2.0], [-2.0, 0.5]], rtol=1e-6)


def test_an_update_sees_normalized_observations(tiny_config):
    scale, shift = jnp.array([[10.0, 0.1]]), jnp.array([[5.0, -1.0]])
    batch = make_batch()
    raw = batch._replace(obs=scale * batch.obs + shift, next_obs=scale * batch.next_obs + shift)
    plain, normal = tiny_config(), tiny_config(env={"normalize_obs": True, "obs_clip": 99.0})
    agent = make_agent(normal)
    normalizer = dataclasses.replace(agent.normalizer, mean=shift[0], std=scale[0])
    agent = dataclasses.replace(agent, normalizer=normalizer)
    after, _, _ = step(agent, normal, raw)
    expected, _, _ = step(dataclasses.replace(agent, normalizer=None), plain, batch)
    assert_same(after.critics, expected.critics, atol=1e-5)
    assert_same(after.normalizer, normalizer)


def test_an_agent_without_a_normalizer_observes_nothing(tiny_config):
    agent = make_agent(tiny_config())
    assert observe(agent, (jnp.ones(OBS), jnp.ones(OBS)), None) is agent


def test_batch_norm_statistics_follow_the_networks_that_learn(tiny_config):
    config = tiny_config(actor={"norm": "batch"}, critic={"norm": "batch"}, target={"tau": 0.5})
    agent = make_agent(config)
    after, _, _ = step(agent, config, make_batch())
    for before, network in (
        (agent.actor, after.actor),
        *zip(agent.critics.each, after.critics.each, strict=True),
    ):
        for old, new in zip(before.norms, network.norms, strict=True):
            assert differs(old.mean, new.mean)
            assert differs(old.scale, new.scale)
    slow, fast = after.target.actor.norms[0].mean, after.actor.norms[0].mean
    np.testing.assert_allclose(slow, 0.5 * fast, rtol=1e-5)
