"""States that are stored with rows, and what a learner makes of sequences."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from qmu.agent import update as algorithm
from qmu.agent.memory import RecurrentActor
from qmu.config.members import Member
from qmu.layout import Layout
from qmu.learning.groups import divide
from qmu.learning.learner import Learner
from qmu.learning.recall import memories
from qmu.replay.stream import observed
from qmu.rows import Rows, Timed

OBS, ACTION = 3, 2


def play(generator, members, worlds, steps):
    """Return a chunk of rows of worlds whose episodes end now and then."""
    shape = (members, worlds, 2 * steps + 1)
    last = generator.random(shape) < 0.25
    count = generator.integers(1, steps, shape[:2]).astype(np.int32)
    np.put_along_axis(last, count[..., None], True, axis=2)
    return Rows(
        obs=generator.normal(size=(*shape, OBS)).astype(np.float32),
        action=generator.uniform(-1, 1, (*shape, ACTION)).astype(np.float32),
        reward=generator.normal(size=shape).astype(np.float32),
        terminated=np.zeros(shape, bool),
        last=last,
        count=count,
    )


def make_learner(config, seeds, frames=1):
    members = tuple(Member(f"seed-{seed}", "", seed, config) for seed in seeds)
    return Learner(divide(members, jax.devices("cpu")[:1]), Layout(OBS, frames=frames), ACTION)


@pytest.mark.parametrize(
    ("kind", "frames", "capacity"),
    [("gru", 1, 400), ("mingru", 1, 50), ("gru", 2, 50)],
)
def test_stored_states_are_those_of_episodes_read_again(tiny_config, kind, frames, capacity):
    """Nothing was learned, so what was stored chunk by chunk is what the rows lead to at once."""
    memory = {"kind": kind, "size": 5, "sequence": 4, "start": "stored"}
    memory["fed"] = ["observation", "action", "reward"]
    config = tiny_config(
        memory=memory,
        env={"count": 2},
        replay={"capacity": capacity},
        train={"chunk": 12},
    )
    learner = make_learner(config, [3, 4], frames)
    generator = np.random.default_rng(0)
    pasts = [[[] for _ in range(2)] for _ in range(2)]
    for _ in range(7):
        rows = play(generator, 2, 2, 12)
        learner.learn(rows, 0)
        for member, world in np.ndindex(2, 2):
            kept = range(int(rows.count[member, world]))
            pasts[member][world] += [
                tuple(
                    column[member, world, time] for column in (rows.action, rows.reward, rows.last)
                )
                for time in kept
            ]
    (held,) = learner.members
    stream = held.stream
    for member, world in np.ndindex(2, 2):
        agent = jax.tree.map(lambda leaf, member=member: leaf[member], held.agents)
        head, size = int(stream.head[member, world]), int(stream.size[member, world])
        slots = (head - 1 - np.arange(size)[::-1]) % stream.rows_per_world
        obs = observed(stream, member, jnp.full((size, 1), world), jnp.asarray(slots)[:, None])
        action, reward, last = (np.array(one) for one in zip(*pasts[member][world], strict=True))
        begins = np.concatenate([[True], last[:-1]])[:, None]
        action[begins[1:, 0].nonzero()] = reward[begins[1:, 0].nonzero()] = 0
        before = [np.concatenate([np.zeros_like(one[:1]), one[:-1]]) for one in (action, reward)]
        part = slice(len(action) - size, None)
        timed = Timed(
            algorithm.encoded(agent, obs),
            *(jnp.asarray(one[part][:, None], jnp.float32) for one in before),
            jnp.asarray(begins[part]),
        )
        # From the first episode that begins within what is left.
        firsts = np.flatnonzero(begins[part][:, 0])
        if not len(firsts):
            continue
        first = int(firsts[0])
        timed = jax.tree.map(lambda leaf, first=first: leaf[first:], timed)
        stored = np.asarray(stream.states[member, world, slots])[first:]
        for index, memory in enumerate(memories(agent)):
            after = np.asarray(memory.states(timed, None))[:, 0]
            known = np.concatenate([np.zeros_like(after[:1]), after[:-1]])
            known = np.where(np.asarray(timed.begins), 0, known)
            own = stored[:, 5 * index : 5 * index + 5]
            np.testing.assert_allclose(own, known, atol=1e-5)


def test_a_learner_counts_the_transitions_of_its_sequences(tiny_config):
    config = tiny_config(
        memory={"kind": "gru", "size": 4, "sequence": 6, "burn_in": 2}, replay={"batch_size": 4}
    )
    learner = make_learner(config, [0])
    learner.learn(play(np.random.default_rng(1), 1, 1, 60), 3)
    metrics = learner.metrics()[0]
    assert 0 < metrics["train/transitions"] <= 16
    assert np.isfinite(list(metrics.values())).all()
    assert isinstance(learner.members[0].agents.actor, RecurrentActor)


def test_memories_have_a_learning_rate_of_their_own(tiny_config):
    def moved(lr):
        config = tiny_config(memory={"kind": "gru", "size": 4, "sequence": 6, "lr": lr})
        learner = make_learner(config, [0])
        before = jax.device_get(learner.members[0].agents)
        learner.learn(play(np.random.default_rng(1), 1, 1, 60), 3)
        after = jax.device_get(learner.members[0].agents)
        return [
            not np.array_equal(*pair)
            for one in (lambda agent: agent.actor.memory, lambda agent: agent.critics.memory)
            for pair in zip(jax.tree.leaves(one(before)), jax.tree.leaves(one(after)), strict=True)
        ], not np.array_equal(before.actor.head.layers[0].weight, after.actor.head.layers[0].weight)

    still, head = moved(0.0)
    assert not any(still)
    assert head
    assert all(moved(1e-3)[0])
