"""How members act: random steps, noise, and actors with perturbed weights."""

import numpy as np
import pytest

from qmu.agent.exploration import LARGEST, distance
from qmu.collecting.behaviour import MEASURED_ON, Behaviour, first_size, perturbed
from qmu.config import Explore
from qmu.deploy.policy import Network
from qmu.layout import Layout

OBS, ACTION = 3, 2
NEW, OLD = np.array([True]), np.array([False])


def make_network(seed=0, norm=False):
    generator = np.random.default_rng(seed)

    def drawn(*shape):
        return generator.uniform(-0.5, 0.5, shape).astype(np.float32)

    scales = (np.ones(8, np.float32),) if norm else ()
    offsets = (np.zeros(8, np.float32),) if norm else ()
    return Network(
        (drawn(OBS, 8), drawn(8, ACTION)),
        (drawn(8), drawn(ACTION)),
        scales,
        offsets,
        "relu",
        Layout(OBS),
    )


def make_behaviour(worlds=1, **settings):
    settings = Explore(**settings)
    return behaviour_of(settings, range(worlds), worlds), settings


def behaviour_of(settings, worlds, count, seed=0, longest=None):
    return Behaviour(np.random.SeedSequence([seed, 1]), settings, worlds, count, longest)


def draw_obs(rows, seed=1):
    return np.random.default_rng(seed).normal(size=(rows, OBS)).astype(np.float32)


def act(behaviour, settings, obs, started=None, network=None, random_steps=0):
    """Return a chunk's actions [steps, worlds, action] on observations [steps, worlds, obs]."""
    steps, worlds, _ = obs.shape
    started = np.zeros((steps, worlds), bool) if started is None else started
    shape = (steps, worlds, ACTION)
    behaviour.begin(network or make_network(), settings, random_steps, shape)
    nothing = np.zeros(obs.shape[1], np.float32)
    return np.stack(
        [behaviour.act(time, obs[time], nothing, started[time]) for time in range(steps)]
    )


def test_first_steps_are_random_and_later_ones_the_actors():
    behaviour, settings = make_behaviour(noise="none")
    obs = draw_obs(5)[:, None]
    actions = act(behaviour, settings, obs, random_steps=3)
    plain = make_network()(obs)
    np.testing.assert_array_equal(actions[3:], plain[3:])
    assert (np.abs(actions[:3] - plain[:3]).max(axis=-1) > 1e-3).all()


def test_noise_is_added_in_the_size_that_holds_now():
    behaviour, settings = make_behaviour(std=0.05)
    obs = draw_obs(2000)[:, None]
    added = act(behaviour, settings, obs) - make_network()(obs)
    np.testing.assert_allclose(added.std(), 0.05, rtol=0.1)


def test_worlds_have_the_noise_that_is_theirs_among_all_worlds_of_the_member():
    settings = Explore(std=0.02, std_last=0.1)
    behaviour = behaviour_of(settings, range(3, 5), 5)
    obs = draw_obs(4000).reshape(2000, 2, OBS)
    added = act(behaviour, settings, obs) - make_network()(obs)
    np.testing.assert_allclose(added.std(axis=(0, 2)), [0.08, 0.1], rtol=0.1)


@pytest.mark.parametrize("noise", ["ou", "colored"])
def test_noise_with_a_memory_goes_on_from_its_state_where_episodes_are_cut_off(noise):
    settings = Explore(noise=noise, std=0.05, std_last=0.2, epsilon=0.1)
    one, other = (behaviour_of(settings, range(2), 2, longest=10) for _ in range(2))
    obs, started = draw_obs(24).reshape(12, 2, OBS), np.zeros((12, 2), bool)
    started[0] = started[5, 1] = True
    act(one, settings, obs, started)
    other.restore(one.state(), one.seen())
    for random_steps in (0, 3):
        own = [act(each, settings, obs, started, None, random_steps) for each in (one, other)]
        np.testing.assert_array_equal(*own)


def test_colored_noise_waits_for_the_end_of_the_random_steps():
    settings = Explore(noise="colored")
    behaviour = behaviour_of(settings, range(1), 1, longest=10)
    started = np.zeros((6, 1), bool)
    started[0] = True
    act(behaviour, settings, draw_obs(6)[:, None], started, random_steps=4)
    assert behaviour.noise.taken == [2]


def test_a_share_of_all_steps_is_random():
    behaviour, settings = make_behaviour(worlds=2, noise="none", epsilon=0.25)
    obs = draw_obs(4000).reshape(2000, 2, OBS)
    replaced = (act(behaviour, settings, obs) != make_network()(obs)).all(axis=-1)
    # 4000 steps: the share is known to 0.7%.
    np.testing.assert_allclose(replaced.mean(), 0.25, atol=0.03)
    assert np.abs(np.corrcoef(replaced.T)[0, 1]) < 0.1


@pytest.fixture
def adapted():
    """A behaviour with parameter noise that has found its size, and what it takes to act."""
    behaviour, settings = make_behaviour(worlds=2, noise="none", parameter_distance=0.2)
    act(behaviour, settings, draw_obs(2 * MEASURED_ON).reshape(-1, 2, OBS))
    return behaviour, settings


def test_parameter_noise_reaches_the_wanted_distance(adapted):
    behaviour, settings = adapted
    for seed in range(40):
        act(behaviour, settings, draw_obs(2 * MEASURED_ON, seed).reshape(-1, 2, OBS))
    obs, network = draw_obs(500, 99), make_network()
    generator = np.random.default_rng(7)
    apart = [
        distance(network(obs), perturbed(generator, network, behaviour.perturbed.size)(obs))
        for _ in range(50)
    ]
    np.testing.assert_allclose(np.mean(apart), 0.2, rtol=0.25)


def test_the_size_of_the_parameter_noise_is_part_of_its_state(adapted):
    behaviour, _ = adapted
    assert behaviour.state()["size"] == behaviour.perturbed.size
    assert make_behaviour()[0].state()["size"] is None


def test_a_perturbed_actor_stays_the_same_until_its_episode_ends(adapted):
    behaviour, settings = adapted
    obs = np.tile(draw_obs(1), (6, 2, 1))
    started = np.zeros((6, 2), bool)
    started[0] = True
    started[3, 1] = True
    actions = act(behaviour, settings, obs, started)
    assert (actions[:, 0] == actions[0, 0]).all()
    assert (actions[:3, 1] == actions[0, 1]).all()
    assert (actions[3:, 1] == actions[3, 1]).all()
    assert (actions[3, 1] != actions[2, 1]).all()


def test_a_perturbed_actor_is_frozen_though_learning_goes_on(adapted):
    behaviour, settings = adapted
    obs = np.tile(draw_obs(1), (1, 2, 1))
    first = act(behaviour, settings, obs, np.ones((1, 2), bool))
    later = act(behaviour, settings, obs, network=make_network(seed=5))
    np.testing.assert_array_equal(first, later)


def test_every_world_has_a_perturbation_of_its_own(adapted):
    behaviour, settings = adapted
    obs = np.tile(draw_obs(1), (1, 2, 1))
    actions = act(behaviour, settings, obs, np.ones((1, 2), bool))
    assert (actions[0, 0] != actions[0, 1]).all()


def test_every_member_has_a_perturbation_of_its_own():
    settings = Explore(noise="none", parameter_distance=0.2)
    obs, actions = draw_obs(2 * MEASURED_ON)[:, None], []
    for seed in (0, 1):
        behaviour = behaviour_of(settings, range(1), 1, seed)
        actions.append(act(behaviour, settings, obs)[-1])
    assert (actions[0] != actions[1]).all()


def test_norms_are_left_alone():
    network = make_network(norm=True)
    moved = perturbed(np.random.default_rng(0), network, 0.3)
    assert moved.scales is network.scales
    assert moved.offsets is network.offsets
    for one, other in zip(
        network.weights + network.biases, moved.weights + moved.biases, strict=True
    ):
        assert (one != other).all()


@pytest.mark.parametrize("slope", [0.05, 1.0, 50.0])
def test_the_first_size_is_where_the_distance_passes_the_wanted_one(slope):
    assert first_size(lambda size: slope * size, 0.2) == pytest.approx(0.2 / slope, rel=0.02)


def test_the_search_for_a_first_size_ends():
    assert first_size(lambda size: 0.0, 0.2) == LARGEST


def test_a_distance_that_no_noise_reaches_leaves_the_actions_finite():
    behaviour, settings = make_behaviour(parameter_distance=2.0, std=0.0)
    obs = np.tile(draw_obs(1), (3000, 1, 1))
    actions = act(behaviour, settings, obs)
    assert behaviour.perturbed.size == LARGEST
    assert np.isfinite(actions).all()


def test_parameter_noise_and_action_noise_combine():
    behaviour, settings = make_behaviour(parameter_distance=0.2, std=0.05)
    obs = np.tile(draw_obs(1), (2 * MEASURED_ON, 1, 1))
    actions = act(behaviour, settings, obs)[MEASURED_ON:, 0]
    # The perturbed actor's action is one and the same; what varies is the action noise.
    np.testing.assert_allclose(actions.std(axis=0), 0.05, rtol=0.4)
    assert np.abs(actions.mean(axis=0) - make_network()(obs[0])).max() > 0.03
