"""The compiled call: what it does to one member, to many, and that it is compiled once."""

import histories
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from qmu.agent import update as algorithm
from qmu.agent.vitals import Vitals
from qmu.config.members import Member
from qmu.layout import Layout
from qmu.learning.groups import divide
from qmu.learning.learner import BLOCK, Learner
from qmu.learning.members import INIT, SAMPLE, UPDATE
from qmu.replay.priority import MEASURES, draw, init_priorities, note_rows, renewed, weights
from qmu.replay.stream import append, init_stream, windows
from qmu.rows import Rows

OBS, ACTION, SLOTS = 3, 2, 9


def draw_rows(members, count=8, seed=0):
    """Return a chunk of `count` rows for every member, without an episode's end."""
    generator = np.random.default_rng(seed)
    shape = (members, 1, SLOTS)
    return Rows(
        obs=generator.normal(size=(*shape, OBS)).astype(np.float32),
        action=generator.uniform(-1, 1, (*shape, ACTION)).astype(np.float32),
        reward=generator.normal(size=shape).astype(np.float32),
        terminated=np.zeros(shape, bool),
        last=np.zeros(shape, bool),
        count=np.full(shape[:2], count, np.int32),
    )


def of_member(rows, member):
    return Rows(*(column[member : member + 1] for column in rows))


def make_learner(config, *seeds, devices=1):
    members = tuple(Member(f"seed-{seed}", "", seed, config) for seed in seeds)
    return Learner(divide(members, jax.devices("cpu")[:devices]), Layout(OBS), ACTION)


def assert_close(left, right, rtol=1e-4, atol=1e-5):
    for one, other in zip(jax.tree.leaves(left), jax.tree.leaves(right), strict=True):
        np.testing.assert_allclose(one, other, rtol=rtol, atol=atol)


def test_a_chunk_is_an_append_and_updates_on_samples(tiny_config):
    config, rows, due = tiny_config(), draw_rows(1), 3
    learner = make_learner(config, 7)
    learner.learn(rows, due)

    root = jax.random.key(7)
    agent = algorithm.init(jax.random.fold_in(root, INIT), Layout(OBS), ACTION, config)
    empty = init_stream(config.replay.capacity, 1, 1, Layout(OBS), ACTION)
    stream = jax.jit(append)(empty, rows)
    sample_key = jax.random.fold_in(jax.random.fold_in(root, SAMPLE), 0)
    batches = histories.draw(
        stream, sample_key, 0, (BLOCK, 4), config.replay.n_step, config.target.gamma
    )
    update, numbers = jax.jit(algorithm.update), algorithm.trace_numbers(config)
    losses = []
    for index in range(due):
        batch = jax.tree.map(lambda leaf, index=index: leaf[index], batches)
        update_key = jax.random.fold_in(jax.random.fold_in(root, UPDATE), index + 1)
        agent, metrics, _ = update(agent, batch, jnp.int32(index + 1), update_key, numbers)
        losses.append(float(metrics.critic_loss))
    assert_close(learner.members[0].agents, jax.tree.map(lambda leaf: leaf[None], agent))
    assert_close(learner.members[0].stream, stream)
    assert learner.metrics()[0]["train/critic_loss"] == pytest.approx(np.mean(losses), rel=1e-4)


def test_learning_rates_fall_until_all_planned_updates_are_done(tiny_config):
    falling = tiny_config(actor={"lr_end": 0.0}, critic={"lr_end": 0.0})
    constant = tiny_config(actor={"lr_end": 1.0}, critic={"lr_end": 1.0})
    rows, moved = draw_rows(1), {}
    for name, config in (("falling", falling), ("constant", constant)):
        learner = make_learner(config, 7)
        learner.planned = 8
        moved[name] = []
        for due in (1, 7, 4):
            before = learner.actors(lag=False)[0].weights[0]
            learner.learn(rows, due)
            after = learner.actors(lag=False)[0].weights[0]
            moved[name].append(float(np.abs(after - before).max()))
    # The first update has the full rate. When all have been done, the rate is 0.
    assert moved["falling"][0] == moved["constant"][0]
    assert 0 < moved["falling"][1] < moved["constant"][1]
    assert moved["falling"][2] == 0 < moved["constant"][2]


@pytest.mark.slow
def test_a_member_of_a_group_learns_as_if_it_were_alone(tiny_config):
    rows, seeds = draw_rows(3), (4, 5, 6)
    group = make_learner(tiny_config(), *seeds)
    assert [len(one.members) for one in group.groups] == [3]
    group.learn(rows, 5)
    group.learn(rows, 3)
    for member, seed in enumerate(seeds):
        alone = make_learner(tiny_config(), seed)
        alone.learn(of_member(rows, member), 5)
        alone.learn(of_member(rows, member), 3)
        own = jax.tree.map(lambda leaf, member=member: leaf[member], group.members[0].agents)
        assert_close(own, jax.tree.map(lambda leaf: leaf[0], alone.members[0].agents))


@pytest.mark.long
@pytest.mark.slow
def test_members_on_several_devices_learn_as_on_one(tiny_config):
    devices = jax.devices("cpu")
    if len(devices) < 2:
        pytest.skip("this machine has one core")
    rows = draw_rows(3)
    one, two = (make_learner(tiny_config(), 0, 1, 2, devices=number) for number in (1, 2))
    for learner in (one, two):
        learner.learn(rows, 4)
    for network, other in zip(one.actors(lag=False), two.actors(lag=False), strict=True):
        assert_close(network.weights, other.weights)
    assert two.members[0].stream.numbers.devices() == {devices[0]}
    assert two.members[1].stream.numbers.devices() == {devices[1]}


def test_members_with_different_seeds_learn_different_things(tiny_config):
    rows = draw_rows(1)
    learner = make_learner(tiny_config(), 0, 1)
    learner.learn(Rows(*(np.repeat(column, 2, axis=0) for column in rows)), 2)
    one, other = learner.actors(lag=False)
    assert not np.array_equal(one.weights[0], other.weights[0])


def test_a_group_is_compiled_once_whatever_is_due(tiny_config):
    learner = make_learner(tiny_config(), 0, 1)
    for index, due in enumerate([0, 1, 5, BLOCK + 3, 0, 2]):
        learner.learn(draw_rows(2, count=index % SLOTS, seed=index), due)
    assert learner.compiled._cache_size() == 1


def test_learners_that_differ_in_numbers_and_names_share_a_program(tiny_config):
    one = make_learner(tiny_config(), 0, 1)
    other = tiny_config(
        actor={"lr": 0.5},
        env={"id": "Hopper-v5", "reward_scale": 2.0},
        log={"dir": "elsewhere"},
        train={"total_steps": 7, "seed": 3},
    )
    assert make_learner(other, 3, 4).compiled is one.compiled


@pytest.mark.parametrize(
    "changes",
    [
        {"actor": {"hidden_sizes": [9]}},
        {"critic": {"activation": "tanh"}},
        {"env": {"normalize_obs": True}},
        {"env": {"count": 2}},
        {"replay": {"capacity": 65}},
        {"train": {"chunk": 16}},
    ],
    ids=str,
)
def test_learners_of_other_shapes_have_programs_of_their_own(changes, tiny_config):
    one = make_learner(tiny_config(), 0)
    assert make_learner(tiny_config(**changes), 0).compiled is not one.compiled


def test_a_shared_program_mixes_nothing_of_its_learners(tiny_config):
    configs = tiny_config(), tiny_config(actor={"lr": 0.1})
    together = [make_learner(config, 0) for config in configs]
    for index in range(2):
        for learner in together:
            learner.learn(draw_rows(1, seed=index), 3)
    for config, learner in zip(configs, together, strict=True):
        alone = make_learner(config, 0)
        for index in range(2):
            alone.learn(draw_rows(1, seed=index), 3)
        assert np.array_equal(
            alone.actors(lag=False)[0].weights[0], learner.actors(lag=False)[0].weights[0]
        )
    one, other = (learner.actors(lag=False)[0].weights[0] for learner in together)
    assert not np.array_equal(one, other)


def test_updates_are_counted_over_chunks_and_blocks(tiny_config):
    learner = make_learner(tiny_config(), 0)
    for due in (0, 5, BLOCK + 3):
        learner.learn(draw_rows(1), due)
    assert learner.updates == BLOCK + 8
    assert learner.members[0].agents.actor_optimizer[0].count.tolist() == [BLOCK + 8]


def test_every_block_and_every_chunk_draws_new_batches(tiny_config):
    # Networks that stay as they are, on rows that stay as they are: only the batches differ.
    config = tiny_config(actor={"lr": 0.0}, critic={"lr": 0.0})

    def losses(*chunks):
        learner = make_learner(config, 0)
        learner.learn(draw_rows(1), 0)
        for due in chunks:
            learner.learn(draw_rows(1, count=0), due)
            yield learner.metrics()[0]["train/critic_loss"]

    first, second = losses(BLOCK, BLOCK)
    (both,) = losses(2 * BLOCK)
    assert first != second
    assert both == pytest.approx((first + second) / 2, rel=1e-4)


def test_the_target_interval_counts_over_chunks(tiny_config):
    learner = make_learner(tiny_config(target={"interval": 3}), 0)
    moved = []
    for _ in range(6):
        before = np.asarray(learner.members[0].agents.target.actor.layers[0].weight)
        learner.learn(draw_rows(1), 1)
        after = np.asarray(learner.members[0].agents.target.actor.layers[0].weight)
        moved.append(not np.array_equal(before, after))
    assert moved == [False, False, True, False, False, True]


def test_a_chunk_without_updates_stores_its_rows_only(tiny_config):
    learner = make_learner(tiny_config(), 0)
    before = learner.actors(lag=False)[0]
    learner.learn(draw_rows(1, count=6), 0)
    learner.learn(draw_rows(1, count=5), 0)
    assert learner.members[0].stream.size.tolist() == [[11]]
    assert_close(before.weights, learner.actors(lag=False)[0].weights, rtol=0, atol=0)
    assert learner.metrics() == [{}]


def test_metrics_are_means_since_the_last_call(tiny_config):
    names = {"train/actor_loss", "train/critic_loss", "train/q_mean", "train/q_max"}
    of_images = {"dead_encoder", "saturated_features", "encoder_gradient"}
    of_memories = {"memory_used", "saturated_memory"}
    vitals = {
        f"health/{name}" for name in Vitals.__dataclass_fields__.keys() - of_images - of_memories
    }
    learners = [make_learner(tiny_config(), 0, 1) for _ in range(2)]
    together, apart = learners
    parts = []
    for index, due in enumerate([2, 0, 6]):
        rows = draw_rows(2, seed=index)
        together.learn(rows, due)
        apart.learn(rows, due)
        parts.append(apart.metrics())
    for member, means in enumerate(together.metrics()):
        assert set(means) == names | vitals
        first, none, second = (part[member] for part in parts)
        assert none == {}
        for name in names:
            assert means[name] == pytest.approx((2 * first[name] + 6 * second[name]) / 8, rel=1e-5)
        # Measured after the first chunk only: the next one is due after 256 updates.
        assert set(second) == names
        assert {name: means[name] for name in vitals} == {name: first[name] for name in vitals}
    assert together.metrics() == [{}, {}]


def test_the_lagging_actors_are_those_of_the_chunk_before(tiny_config):
    learner = make_learner(tiny_config(), 0)
    chunks = [learner.actors(lag=False)[0]]
    for _ in range(2):
        learner.learn(draw_rows(1), 1)
        assert_close(learner.actors(lag=True)[0].weights, chunks[-1].weights, rtol=0, atol=0)
        chunks.append(learner.actors(lag=False)[0])
        assert not np.array_equal(chunks[-1].weights[0], chunks[-2].weights[0])


def test_every_member_may_have_its_own_numbers(tiny_config):
    learner = make_learner(tiny_config(), 0, 1)
    learner.numbers[0] = jax.tree.map(jnp.copy, learner.numbers[0])
    object.__setattr__(learner.numbers[0].actor, "lr", jnp.array([0.0, 1e-3]))
    before = learner.actors(lag=False)
    learner.learn(draw_rows(2), 1)
    after = learner.actors(lag=False)
    assert np.array_equal(before[0].weights[0], after[0].weights[0])
    assert not np.array_equal(before[1].weights[0], after[1].weights[0])


def test_loaded_agents_are_gone_on_with(tiny_config):
    learner, other = make_learner(tiny_config(), 0), make_learner(tiny_config(), 9)
    held = {
        "a" + jax.tree_util.keystr(path): np.asarray(leaf)
        for path, leaf in jax.tree_util.tree_flatten_with_path(other.members[0].agents)[0]
    }
    learner.load(held, "a")
    for lag in (False, True):
        assert_close(learner.actors(lag)[0].weights, other.actors(lag)[0].weights, rtol=0, atol=0)
    learner.learn(draw_rows(1), 2)
    assert learner.updates == 2


@pytest.mark.parametrize(
    "settings",
    [
        {"priorities": "td-error", "alpha": 0.7, "beta": 0.5, "beta_end": 0.5},
        {"priorities": "lap", "alpha": 0.7},
    ],
)
def test_a_prioritized_chunk_draws_every_batch_by_the_newest_priorities(settings, tiny_config):
    config, rows, due = tiny_config(replay=settings), draw_rows(1), 6
    rows.last[..., 8] = True  # as collectors mark the newest observation
    learner = make_learner(config, 7)
    learner.learn(rows, due)

    root = jax.random.key(7)
    agent = algorithm.init(jax.random.fold_in(root, INIT), Layout(OBS), ACTION, config)
    empty = init_stream(config.replay.capacity, 1, 1, Layout(OBS), ACTION)
    priorities = note_rows(init_priorities(1, empty.rows_per_world), empty, rows)
    own = jax.tree.map(lambda leaf: leaf[0], priorities)
    stream = append(empty, rows)
    sample_key, update_key = (jax.random.fold_in(root, use) for use in (SAMPLE, UPDATE))
    update, numbers = jax.jit(algorithm.update), algorithm.trace_numbers(config)
    seen = []
    for index in range(due):
        key = jax.random.fold_in(sample_key, index)
        places, priority = draw(own, key, (1, config.replay.batch_size))
        weight = weights(priority, config.replay.beta)
        batch = windows(
            stream, 0, 0 * places[0], places[0], weight[0] > 0, config.replay.n_step, 0.99
        )._replace(weight=weight[0])
        count = jnp.int32(index + 1)
        agent, _, errors = update(
            agent, batch, count, jax.random.fold_in(update_key, count), numbers
        )
        own = renewed(own, places[0], errors, 0.7, MEASURES[config.replay.priorities])
        seen += places[0].tolist()
    assert_close(learner.members[0].agents, jax.tree.map(lambda leaf: leaf[None], agent))
    assert_close(learner.members[0].priorities, jax.tree.map(lambda leaf: leaf[None], own))
    assert 8 not in seen  # the newest observation, from which nothing starts yet


def test_a_normalizer_has_seen_every_row_once(tiny_config):
    config = tiny_config(env={"normalize_obs": True})
    learner = make_learner(config, 7, 8)
    chunks = [draw_rows(2, count, seed) for seed, count in enumerate((8, 3, 0, 5))]
    for rows in chunks:
        learner.learn(rows, 2)
    normalizer = learner.members[0].agents.normalizer
    for member in range(2):
        seen = np.concatenate([rows.obs[member, 0, : rows.count[member, 0]] for rows in chunks])
        assert int(learner.statistics.seen[member]) == len(seen) == 16
        np.testing.assert_allclose(normalizer.mean[member], seen.mean(axis=0), atol=1e-6)
        np.testing.assert_allclose(normalizer.std[member], seen.std(axis=0), rtol=1e-6)


@pytest.mark.long
def test_the_acting_network_normalizes_with_the_statistics_of_its_chunk(tiny_config):
    config = tiny_config(env={"normalize_obs": True, "obs_clip": 3.0})
    learner = make_learner(config, 7)
    learner.learn(draw_rows(1), 2)
    normalizer = jax.tree.map(np.asarray, learner.members[0].agents.normalizer)
    (network,) = learner.actors(lag=False)
    obs = draw_rows(1, seed=4).obs[0, 0] * 5
    seen = np.clip((obs - normalizer.mean[0]) / normalizer.std[0], -3, 3)
    agent = jax.tree.map(lambda leaf: leaf[0], learner.members[0].agents)
    np.testing.assert_allclose(network(obs), agent.actor(jnp.asarray(seen)), atol=1e-5)


def test_members_may_differ_in_alpha_and_in_how_priorities_fade(tiny_config):
    # After 32 rows of a member all have faded by their ages, as its own options say.
    kinds = [{}, {"alpha": 0.9}, {"fade": 0.5}, {"alpha": 0.4, "fade": 0.95}]
    members = tuple(
        Member(f"seed-{index}", "", 7, tiny_config(replay={"priorities": "lap", "fade": 1.0} | own))
        for index, own in enumerate(kinds)
    )
    learner = Learner(divide(members, jax.devices("cpu")[:1]), Layout(OBS), ACTION)
    assert np.asarray(learner.numbers[0].replay.alpha) == pytest.approx([0.4, 0.9, 0.4, 0.4])
    assert learner.numbers[0].replay.beta is None
    for seed in range(4):
        one = draw_rows(1, seed=seed)
        rows = Rows(*(np.repeat(column, len(members), axis=0) for column in one))
        rows.last[..., 8] = True
        learner.learn(rows, 0)
    levels = np.asarray(learner.members[0].priorities.levels[0])
    ages = (int(learner.members[0].stream.head[0, 0]) - 1 - np.arange(32)) % 33
    for member, own in enumerate(kinds):
        expected = np.maximum(own.get("fade", 1.0) ** ages, 0.1)
        np.testing.assert_allclose(levels[member][:32], expected, rtol=1e-4)
    learner.learn(rows, 8)
    raw = np.asarray(learner.members[0].priorities.fading.raw)
    assert not np.array_equal(raw[0], raw[1])
    np.testing.assert_array_equal(raw[0] > 0, raw[1] > 0)


@pytest.mark.long
@pytest.mark.parametrize(
    "replay", [{"priorities": "td-error"}, {"priorities": "lap", "fade": 0.95}]
)
def test_members_that_share_a_device_have_priorities_of_their_own(replay, tiny_config):
    chunks = [draw_rows(2, seed=seed) for seed in range(5)]
    config = tiny_config(replay=replay)
    together = make_learner(config, 7, 8)
    for rows in chunks:
        together.learn(rows, 4)
    for member, seed in enumerate((7, 8)):
        alone = make_learner(config, seed)
        for rows in chunks:
            alone.learn(of_member(rows, member), 4)
        own = jax.tree.map(lambda leaf, at=member: leaf[at], together.members[0].priorities)
        assert_close(own, jax.tree.map(lambda leaf: leaf[0], alone.members[0].priorities))
