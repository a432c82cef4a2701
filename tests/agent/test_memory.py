"""Memories: cells by hand and against slow references, their gradients, and what is fed to them."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from qmu.agent.initial import init_actor
from qmu.agent.layers import Linear
from qmu.agent.memory import GRU, Memory, MinGRU, RecurrentActor, init_memory
from qmu.config import reading
from qmu.learning.handover import to_cell
from qmu.rows import Sequences, Timed

TIME, BATCH, INPUTS, SIZE = 7, 3, 4, 5
KEY = jax.random.key(0)


def sigmoid(x):
    return 1 / (1 + np.exp(-x))


def settings(**options):
    return reading.read_dict({"memory": {"size": SIZE, **options}}).memory


def example(seed=0):
    """Return inputs, where episodes begin, and states before."""
    generator = np.random.default_rng(seed)
    begins = generator.random((TIME, BATCH)) < 0.3
    inputs = generator.normal(size=(TIME, BATCH, INPUTS)).astype(np.float32)
    return inputs, begins, generator.normal(size=(BATCH, SIZE)).astype(np.float32)


def gru_step(cell, x, h):
    """Return the state of a GRU in double precision, gate by gate (Cho et al. 2014)."""
    w, b, u, c = (
        np.asarray(one, np.float64)
        for one in (
            cell.inputs.weight,
            cell.inputs.bias,
            cell.recurrent.weight,
            cell.recurrent.bias,
        )
    )
    size = len(h)
    gate = [slice(index * size, (index + 1) * size) for index in range(3)]
    r, z = (sigmoid(x @ w[:, own] + b[own] + h @ u[:, own] + c[own]) for own in gate[:2])
    n = np.tanh(x @ w[:, gate[2]] + b[gate[2]] + r * (h @ u[:, gate[2]] + c[gate[2]]))
    return (1 - z) * n + z * h


def mingru_step(cell, x, h):
    """Return the state of a minGRU in double precision (Feng et al. 2024), with a tanh."""
    w, b = (np.asarray(one, np.float64) for one in (cell.inputs.weight, cell.inputs.bias))
    size = len(h)
    z = sigmoid(x @ w[:, :size] + b[:size])
    return (1 - z) * h + z * np.tanh(x @ w[:, size:] + b[size:])


STEPS = {"gru": gru_step, "mingru": mingru_step}
CELLS = {
    kind: init_memory(KEY, INPUTS, 1, settings(kind=kind, fed=["observation"])).cell
    for kind in STEPS
}


def unrolled(step, cell, inputs, begins, start):
    """Return the states after each input, one sequence and step after the other."""
    states = np.zeros((*begins.shape, SIZE))
    for index in range(begins.shape[1]):
        h = start[index].astype(np.float64)
        for time in range(len(begins)):
            h = step(cell, inputs[time, index], np.zeros(SIZE) if begins[time, index] else h)
            states[time, index] = h
    return states


def test_a_gru_by_hand():
    # One number: r = σ(0.5), z = σ(ln 3 + 1 - 1) = 3/4, n = tanh(1 + r · 2).
    cell = GRU(
        Linear(jnp.array([[0.5, np.log(3) + 1, 1.0]]), jnp.zeros(3)),
        Linear(jnp.array([[0.0, -1.0, 1.0]]), jnp.array([0.0, 0.0, 1.0])),
    )
    (((state,),),) = np.asarray(
        cell(jnp.ones((1, 1, 1)), jnp.zeros((1, 1), bool), jnp.ones((1, 1)))
    )
    new = np.tanh(1 + sigmoid(0.5) * 2)
    np.testing.assert_allclose(state, 0.25 * new + 0.75, rtol=1e-6)


def test_a_mingru_by_hand():
    # z = σ(ln 3) = 3/4 and n = tanh(1): h' = 1/4 · 2 + 3/4 tanh 1.
    cell = MinGRU(Linear(jnp.array([[np.log(3), 1.0]]), jnp.zeros(2)))
    start = jnp.full((1, 1), 2.0)
    (((state,),),) = np.asarray(cell(jnp.ones((1, 1, 1)), jnp.zeros((1, 1), bool), start))
    np.testing.assert_allclose(state, 0.5 + 0.75 * np.tanh(1), rtol=1e-6)


@pytest.mark.parametrize("kind", STEPS)
def test_states_are_those_of_a_slow_loop(kind):
    cell, (inputs, begins, start) = CELLS[kind], example()
    expected = unrolled(STEPS[kind], cell, inputs, begins, start)
    np.testing.assert_allclose(cell(inputs, begins, start), expected, atol=1e-5)


@pytest.mark.extra
def test_a_gru_and_its_gradients_are_those_of_torch():
    torch = pytest.importorskip("torch")
    cell, (inputs, _, start) = CELLS["gru"], example()
    weights = np.random.default_rng(1).normal(size=(TIME, BATCH, SIZE)).astype(np.float32)
    theirs = torch.nn.GRU(INPUTS, SIZE)
    own = {
        "weight_ih_l0": cell.inputs.weight.T,
        "weight_hh_l0": cell.recurrent.weight.T,
        "bias_ih_l0": cell.inputs.bias,
        "bias_hh_l0": cell.recurrent.bias,
    }
    theirs.load_state_dict({name: torch.tensor(np.asarray(one)) for name, one in own.items()})
    given, before = (torch.tensor(one, requires_grad=True) for one in (inputs, start))
    states, _ = theirs(given, before[None])
    (states * torch.tensor(weights)).sum().backward()

    def loss(cell, inputs, start):
        found = cell(inputs, jnp.zeros((TIME, BATCH), bool), start)
        return jnp.sum(weights * found), found

    slopes, found = jax.grad(loss, argnums=(0, 1, 2), has_aux=True)(
        cell, jnp.asarray(inputs), jnp.asarray(start)
    )
    np.testing.assert_allclose(found, states.detach(), atol=1e-6)
    close = {"rtol": 1e-4, "atol": 1e-5}
    np.testing.assert_allclose(slopes[1], given.grad, **close)
    np.testing.assert_allclose(slopes[2], before.grad, **close)
    expected = {name: one.grad for name, one in theirs.named_parameters()}
    for ours, suffix in ((slopes[0].inputs, "ih_l0"), (slopes[0].recurrent, "hh_l0")):
        np.testing.assert_allclose(ours.weight.T, expected[f"weight_{suffix}"], **close)
        np.testing.assert_allclose(ours.bias, expected[f"bias_{suffix}"], **close)


@pytest.mark.parametrize("kind", STEPS)
@pytest.mark.parametrize("span", [1, 2, 50])
def test_new_memories_keep_for_times_up_to_a_sequence(kind, span):
    """Without an input, 1 - 1/T of a number is kept in each step (Tallec and Ollivier 2018)."""
    cell = init_memory(KEY, INPUTS, 1, settings(kind=kind, size=200, sequence=span)).cell
    bias = np.asarray(cell.inputs.bias)
    if kind == "gru":
        bias = bias + np.asarray(cell.recurrent.bias)
        keep = sigmoid(bias[200:400])
    else:
        keep = 1 - sigmoid(bias[:200])
    times = 1 / (1 - keep)
    least, most = 2, max(span, 2)
    assert times.min() >= least - 1e-3
    assert times.max() <= most + 1e-3
    # Between their logarithms they are uniform: half of the numbers keep for less than the middle.
    middle = 1 + (most - 1) ** 0.5
    assert span < 3 or abs(np.mean(times < middle) - 0.5) < 0.1


@pytest.mark.parametrize("kind", STEPS)
def test_gradients_are_those_of_differences(kind):
    """By weights, inputs and the state at the start, across the beginnings of episodes."""
    cell, (inputs, begins, start) = CELLS[kind], example()
    weights = np.random.default_rng(1).normal(size=(TIME, BATCH, SIZE))

    def loss(cell, inputs, start):
        return jnp.sum(jnp.asarray(weights, jnp.float32) * cell(inputs, begins, start))

    gradients = jax.grad(loss, argnums=(0, 1, 2))(cell, jnp.asarray(inputs), jnp.asarray(start))
    given = (cell, inputs, start)
    leaves, structure = jax.tree.flatten(given)
    found = jax.tree.leaves(gradients)
    generator = np.random.default_rng(2)
    for place, (leaf, gradient) in enumerate(zip(leaves, found, strict=True)):
        leaf = np.asarray(leaf, np.float64)
        for _ in range(6):
            index = tuple(generator.integers(0, size) for size in leaf.shape)
            either = []
            for sign in (1, -1):
                moved = leaf.copy()
                moved[index] += sign * 1e-4
                own = jax.tree.unflatten(structure, [*leaves[:place], moved, *leaves[place + 1 :]])
                either.append(
                    np.sum(weights * unrolled(STEPS[kind], own[0], own[1], begins, own[2]))
                )
            slope = (either[0] - either[1]) / 2e-4
            np.testing.assert_allclose(gradient[index], slope, rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize("kind", STEPS)
def test_nothing_of_what_was_before_an_episode_gets_into_it(kind):
    cell, (inputs, _, start) = CELLS[kind], example()
    begins = np.zeros((TIME, BATCH), bool)
    begins[3] = True
    other = inputs.copy()
    other[:3] += 10.0
    before, after = (cell(one, begins, start) for one in (inputs, other))
    assert np.abs(np.asarray(before[:3] - after[:3])).min() > 0
    np.testing.assert_array_equal(before[3:], after[3:])
    slope = jax.grad(lambda given: jnp.sum(cell(given, begins, start)[3:]))(jnp.asarray(inputs))
    assert not np.asarray(slope[:3]).any()
    assert np.asarray(slope[3:]).all()


@pytest.mark.parametrize("kind", STEPS)
def test_a_step_in_numpy_is_a_step_in_training(kind):
    memory = init_memory(KEY, INPUTS, 1, settings(kind=kind, fed=["observation"]))
    cell, (inputs, begins, start) = to_cell(jax.device_get(memory)), example()
    states, state = memory.cell(inputs, begins, start), start
    for time in range(TIME):
        state = cell([inputs[time]], np.where(begins[time][:, None], 0, state))
        np.testing.assert_allclose(state, states[time], atol=2e-6)


def sequences(seed=0, obs=INPUTS, action=2):
    inputs, begins, _ = example(seed)
    generator = np.random.default_rng(seed)
    return Sequences(
        Timed(
            jnp.asarray(inputs),
            jnp.asarray(generator.normal(size=(TIME, BATCH, action)), jnp.float32),
            jnp.asarray(generator.normal(size=(TIME, BATCH)), jnp.float32),
            jnp.asarray(begins),
        )
    )


@pytest.mark.parametrize(
    ("fed", "moves"),
    [
        (["observation"], (True, False, False)),
        (["action"], (False, True, False)),
        (["observation", "reward"], (True, False, True)),
        (["reward", "action", "observation"], (True, True, True)),
    ],
)
def test_a_memory_is_fed_what_is_asked_for_and_nothing_else(fed, moves):
    memory = init_memory(KEY, INPUTS, 2, settings(kind="gru", fed=fed))
    timed = sequences().timed
    before = memory.states(timed, None)
    for name, moved in zip(("obs", "action", "reward"), moves, strict=True):
        after = memory.states(timed._replace(**{name: getattr(timed, name) + 1.0}), None)
        assert bool(jnp.any(before != after)) == moved


def test_rows_are_asked_for_step_by_step_behind_the_burn_in():
    memory = init_memory(KEY, INPUTS, 2, settings(kind="gru", burn_in=2))
    given = sequences()
    both = jnp.concatenate([given.timed.obs, memory.states(given.timed, None)], axis=-1)
    np.testing.assert_array_equal(memory(given, None), both[2:].reshape(-1, INPUTS + SIZE))
    asked = jnp.array([[3, 4, 3], [6, 4, 5]])
    found = memory(given._replace(asked=asked), None).reshape(2, BATCH, -1)
    for step, sequence in np.ndindex(2, BATCH):
        np.testing.assert_array_equal(found[step, sequence], both[asked[step, sequence], sequence])


def test_a_memory_begins_with_the_states_that_it_is_given():
    memory: Memory = init_memory(KEY, INPUTS, 2, settings(kind="gru"))
    timed = sequences().timed._replace(begins=jnp.zeros((TIME, BATCH), bool))
    whole = memory.states(timed, None)
    rest = jax.tree.map(lambda leaf: leaf[3:], timed)
    np.testing.assert_allclose(memory.states(rest, whole[2]), whole[3:], atol=1e-6)


def test_noise_on_weights_leaves_the_memory_alone():
    memory = init_memory(KEY, INPUTS, 2, settings(kind="gru"))
    options = reading.read_dict({}).actor
    actor = RecurrentActor(memory, init_actor(KEY, INPUTS + SIZE, 2, options))
    moved = actor.perturbed(KEY, 0.1)
    assert moved.memory is memory
    assert bool(jnp.any(moved.head.layers[0].weight != actor.head.layers[0].weight))
