"""The update against arithmetic done by hand, and what each option changes."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import updates
from updates import ACTION, BATCH, OBS, UPDATE, assert_same, make_agent

from qmu import config as options
from qmu.agent.layers import Linear
from qmu.agent.networks import Actor, Critic, Critics
from qmu.agent.optimizers import init_optimizer
from qmu.agent.update import Agent, Target, bootstrap, trace_numbers, update
from qmu.config import Config
from qmu.rows import Batch


def make_batch(seed=0, **columns):
    """Return a batch of one termination, one window of two steps, and two of one step."""
    mixed = {"discount": jnp.array([0.9, 0.0, 0.9, 0.81])}
    return updates.make_batch(seed, **mixed | columns)


def run(agent, config, updates=1, batch=None):
    """Return the agent after some updates, and the last one's metrics."""
    for number in range(1, updates + 1):
        given = make_batch(number) if batch is None else batch
        agent, metrics, _ = step(agent, given, number, config)
    return agent, metrics


def step(agent, batch, number, config):
    """Return the results of one update, with a random key of its own."""
    key = jax.random.fold_in(jax.random.key(9), number)
    return UPDATE(agent, batch, jnp.int32(number), key, trace_numbers(config))


def differs(left, right):
    pairs = zip(jax.tree.leaves(left), jax.tree.leaves(right), strict=True)
    return all(not np.array_equal(one, other) for one, other in pairs)


class ByHand:
    """A linear critic and a linear actor, with everything that an update does to them."""

    def __init__(self, agent):
        actor, critic = agent.actor.layers[0], agent.critics.each[0].layers[0]
        self.values = {
            "actor": np.append(np.float64(actor.weight[:, 0]), actor.bias),
            "critic": np.append(np.float64(critic.weight[:, 0]), critic.bias),
        }
        self.targets = dict(self.values)
        self.moments = dict.fromkeys(self.values, (0.0, 0.0))

    def update(self, batch, number, *, tau, actor_lr, critic_lr, penalty):
        batch = Batch(*(np.float64(column) for column in batch))
        one = np.ones((BATCH, 1))
        next_seen = np.hstack([batch.next_obs, one])
        next_action = np.tanh(next_seen @ self.targets["actor"])
        next_value = np.column_stack([batch.next_obs, next_action, one]) @ self.targets["critic"]
        target = batch.reward + batch.discount * next_value

        inputs = np.hstack([batch.obs, batch.action, one])
        value = inputs @ self.values["critic"]
        # The derivative of mean (y - x·w)² is mean -2 (y - x·w) x.
        self.adam(
            "critic", np.mean(-2 * (target - value)[:, None] * inputs, axis=0), number, critic_lr
        )

        seen = np.hstack([batch.obs, one])
        preactivation = seen @ self.values["actor"]
        action = np.tanh(preactivation)
        slope = self.values["critic"][OBS]
        # -mean Q(s, μ(s)) + penalty · mean z²; dQ/da is the new critic's weight of the action,
        # da/dz = 1 - a², and the derivative of z² is 2 z.
        into_z = -slope * (1 - action**2) + penalty * 2 * preactivation
        self.adam("actor", np.mean(into_z[:, None] * seen, axis=0), number, actor_lr)
        new_value = np.column_stack([batch.obs, action, one]) @ self.values["critic"]
        for name, slow in self.targets.items():
            self.targets[name] = (1 - tau) * slow + tau * self.values[name]
        return {
            "critic_loss": np.mean((target - value) ** 2),
            "actor_loss": -np.mean(new_value),
            "q_mean": np.mean(value),
            "q_max": np.max(value),
        }

    def adam(self, name, gradient, number, lr):
        first, second = self.moments[name]
        first, second = 0.9 * first + 0.1 * gradient, 0.999 * second + 0.001 * gradient**2
        self.moments[name] = first, second
        unbiased_first, unbiased_second = first / (1 - 0.9**number), second / (1 - 0.999**number)
        self.values[name] = self.values[name] - lr * unbiased_first / (
            np.sqrt(unbiased_second) + 1e-8
        )


def flat(network):
    layer = network.layers[0]
    return np.append(layer.weight[:, 0], layer.bias)


def test_three_updates_of_linear_networks_are_those_done_by_hand(tiny_config):
    config = tiny_config(
        actor={"hidden_sizes": [], "lr": 0.05, "preactivation_penalty": 0.2},
        critic={"hidden_sizes": [], "lr": 0.1, "count": 1},
        target={"tau": 0.3},
    )
    agent = make_agent(config)
    hand = ByHand(agent)
    for number in (1, 2, 3):
        batch = make_batch(number)
        agent, metrics, _ = step(agent, batch, number, config)
        expected = hand.update(batch, number, tau=0.3, actor_lr=0.05, critic_lr=0.1, penalty=0.2)
        for name, value in expected.items():
            np.testing.assert_allclose(getattr(metrics, name), value, rtol=1e-4, err_msg=name)
        np.testing.assert_allclose(flat(agent.critics.each[0]), hand.values["critic"], rtol=1e-4)
        np.testing.assert_allclose(flat(agent.actor), hand.values["actor"], rtol=1e-4)
        np.testing.assert_allclose(
            flat(agent.target.critics.each[0]), hand.targets["critic"], rtol=1e-4
        )
        np.testing.assert_allclose(flat(agent.target.actor), hand.targets["actor"], rtol=1e-4)


def test_the_first_adam_step_is_as_long_as_the_learning_rate(tiny_config):
    before = make_agent(tiny_config())
    after, _ = run(before, tiny_config(critic={"lr": 0.01}))
    for new, old in zip(*map(jax.tree.leaves, (after.critics, before.critics)), strict=True):
        step = np.abs(new - old)
        # g / (|g| + 1e-8) is 1 where there is a gradient, and 0 behind a unit that is off.
        assert (np.isclose(step, 0.01, rtol=1e-3) | (step == 0)).all()
        assert step.any()


def linear(*weights):
    return (Linear(jnp.array(weights)[:, None], jnp.zeros(1)),)


def make_linear_agent(*slopes):
    """Return an agent that does nothing; each critic's value is its slope times the action."""
    actor = Actor(linear(0.0, 0.0), None, "relu")
    critics = Critics(tuple(Critic(linear(0.0, 0.0, slope), None, "relu", 0) for slope in slopes))
    optimizers = [init_optimizer(network, Config().actor) for network in (actor, critics)]
    return Agent(actor, critics, None, Target(actor, critics), *optimizers, None, None, None)


def test_the_actor_climbs_the_critic_that_has_just_been_improved(tiny_config):
    # The value falls with the action until the critic's first step turns it around.
    batch = make_batch(
        obs=jnp.zeros((BATCH, OBS)), action=jnp.ones((BATCH, ACTION)), reward=jnp.full(BATCH, 5.0)
    )
    after, _ = run(make_linear_agent(-0.001), tiny_config(critic={"lr": 0.1}), batch=batch)
    assert after.critics.each[0].layers[0].weight[OBS, 0] > 0
    assert after.actor.layers[0].bias[0] > 0


def test_the_penalty_keeps_preactivations_small(tiny_config):
    batch, sizes = make_batch(), []
    for penalty in (0.0, 1.0):
        config = tiny_config(actor={"preactivation_penalty": penalty, "lr": 0.01})
        agent, _ = run(make_agent(config), config, updates=200, batch=batch)
        sizes.append(np.abs(agent.actor.learning(batch.obs)[0]).mean())
    assert sizes[1] < 0.2 * sizes[0]


def test_the_actor_climbs_the_first_of_several_critics(tiny_config):
    config = tiny_config(critic={"lr": 0.0, "count": 2})
    for slopes, direction in [((1.0, -5.0), 1), ((-1.0, 5.0), -1)]:
        after, _ = run(make_linear_agent(*slopes), config, batch=make_batch())
        assert np.sign(after.actor.layers[0].bias[0]) == direction


def test_targets_come_from_the_smallest_of_several_critics():
    agent = make_linear_agent(1.0, -2.0)
    target_actor = Actor((Linear(jnp.array([[1.0], [0.0]]), jnp.zeros(1)),), None, "relu")
    next_obs = jnp.array([[0.5, 0.0], [-0.5, 0.0]])
    batch = Batch(
        *(column[:2] for column in make_batch(reward=jnp.array([1.0, 1.0, 0.0, 0.0])))
    )._replace(next_obs=next_obs, discount=jnp.full(2, 0.5))
    config = options.replace(Config(), "target", smoothing_std=None)
    target, _ = bootstrap(Target(target_actor, agent.critics), batch, jax.random.key(0), config)
    # a' = ±tanh(0.5) = ±0.4621: min(a', -2 a') = -0.9242 and -0.4621; y = 1 + 0.5 · min
    np.testing.assert_allclose(target, [0.5379, 0.7689], rtol=1e-3)


def test_several_critics_start_and_stay_different(tiny_config):
    config = tiny_config(critic={"count": 3})
    after, _ = run(make_agent(config), config)
    one, two, three = after.critics.each
    assert differs(one.layers, two.layers)
    assert differs(two.layers, three.layers)


@pytest.mark.parametrize(("still", "moving"), [("actor", "critics"), ("critics", "actor")])
def test_a_learning_rate_of_0_holds_that_network_only(tiny_config, still, moving):
    config = tiny_config(**{still.rstrip("s"): {"lr": 0.0}})
    before = make_agent(config)
    after, _ = run(before, config)
    assert_same(getattr(before, still), getattr(after, still))
    assert differs(getattr(before, moving), getattr(after, moving))


def test_tau_1_makes_the_targets_copies(tiny_config):
    after, _ = run(make_agent(tiny_config()), tiny_config(target={"tau": 1.0}))
    assert_same(after.target, Target(after.actor, after.critics), rtol=1e-6, atol=1e-7)


def test_tau_is_the_share_of_the_way_that_the_targets_go(tiny_config):
    before = make_agent(tiny_config())
    after, _ = run(before, tiny_config(target={"tau": 0.25}))
    whole = jax.tree.map(
        lambda new, old: new - old, Target(after.actor, after.critics), before.target
    )
    gone = jax.tree.map(lambda new, old: new - old, after.target, before.target)
    assert_same(gone, jax.tree.map(lambda step: 0.25 * step, whole), atol=1e-7)


def test_a_discount_of_0_learns_rewards_only(tiny_config):
    config = tiny_config()
    for discount, same in [(0.0, True), (0.9, False)]:
        discounts = jnp.full(BATCH, discount)
        near = make_batch(1, discount=discounts)
        far = make_batch(1, discount=discounts, next_obs=jnp.full((BATCH, OBS), 9.0))
        near_agent, _ = run(make_agent(config), config, batch=near)
        far_agent, _ = run(make_agent(config), config, batch=far)
        moments = near_agent.critics_optimizer[0].mu, far_agent.critics_optimizer[0].mu
        assert np.array_equal(*(moment.each[0].layers[-1].weight for moment in moments)) is same


def test_targets_follow_every_interval_updates(tiny_config):
    config = tiny_config(target={"interval": 3, "tau": 0.5})
    agent = make_agent(config)
    moved = []
    for number in range(1, 8):
        before = agent.target
        agent, _, _ = step(agent, make_batch(number), number, config)
        moved.append(differs(before, agent.target))
    assert moved == [False, False, True, False, False, True, False]


def test_fresh_targets_equal_their_networks(tiny_config):
    agent = make_agent(tiny_config())
    assert_same(agent.target, Target(agent.actor, agent.critics))


def test_each_seed_has_its_own_networks(tiny_config):
    assert differs(
        make_agent(tiny_config(), seed=0).actor.layers[0],
        make_agent(tiny_config(), seed=1).actor.layers[0],
    )


def junk_added(batch):
    """Return the batch with slots of weight 0 that would change everything if they counted."""
    return Batch(
        *(jnp.concatenate([column, jnp.full_like(column[:2], 50.0)]) for column in batch[:-1]),
        weight=jnp.concatenate([batch.weight, jnp.zeros(2)]),
    )


def test_slots_of_weight_0_teach_nothing(tiny_config):
    config = tiny_config()
    agent = make_agent(config)
    clean, clean_metrics = run(agent, config, batch=make_batch())
    mixed, mixed_metrics = run(agent, config, batch=junk_added(make_batch()))
    assert_same(clean.critics_optimizer, mixed.critics_optimizer, rtol=1e-4, atol=1e-6)
    assert_same(clean.actor_optimizer, mixed.actor_optimizer, rtol=1e-4, atol=1e-6)
    for name in ("critic_loss", "actor_loss"):
        np.testing.assert_allclose(
            getattr(clean_metrics, name), getattr(mixed_metrics, name), rtol=1e-5
        )


def test_slots_of_weight_0_are_in_no_metric(tiny_config):
    config = tiny_config()
    agent = make_agent(config)
    _, clean = run(agent, config, batch=make_batch())
    _, mixed = run(agent, config, batch=junk_added(make_batch()))
    assert_same(clean, mixed, rtol=1e-5)


def test_a_batch_without_transitions_teaches_nothing(tiny_config):
    before = make_agent(tiny_config())
    after, _ = run(before, tiny_config(), batch=make_batch(weight=jnp.zeros(BATCH)))
    assert_same((before.actor, before.critics), (after.actor, after.critics))


def test_numeric_options_are_traced_and_structural_ones_are_not():
    numeric = {
        f"{group}.{option.name}"
        for group, option in options.options()
        if option.metadata["kind"] == "numeric" and option.default is not None
    }
    leaves, _ = jax.tree_util.tree_flatten_with_path(trace_numbers(options.Config()))
    assert {jax.tree_util.keystr(path).lstrip(".") for path, _ in leaves} == numeric
    assert all(leaf.dtype == jnp.float32 and leaf.shape == () for _, leaf in leaves)


def test_changing_a_numeric_option_does_not_compile_again(tiny_config):
    compiled = jax.jit(partial(update))
    agent = make_agent(tiny_config())
    for changes in [{}, {"target": {"tau": 0.5}}, {"actor": {"lr": 0.0}}]:
        numbers = trace_numbers(tiny_config(**changes))
        compiled(agent, make_batch(), jnp.int32(1), jax.random.key(0), numbers)
    assert compiled._cache_size() == 1
