"""What a run needs: numbers worked out by hand, and the loop itself as a reference."""

import numpy as np
import pytest

from qmu.config import reading
from qmu.learning import needs
from qmu.learning.loop import crossed
from qmu.learning.needs import Disk, Rates, Seconds, Work
from qmu.world.spaces import Spaces

# A row of it has 4 x (3 + 1 + 1) + 1 = 21 bytes.
PENDULUM = Spaces("Pendulum-v1", (3,), (1,), np.full(1, -2.0), np.full(1, 2.0), np.float32)


def made(env=(), replay=(), **train):
    """Return a configuration of 1,000 steps, a save and an evaluation in every 100 of them."""
    usual = {"total_steps": 1000, "save_interval": 100, "eval_interval": 100, "eval_episodes": 5}
    groups = {"env": dict(env), "replay": {"batch_size": 8, **dict(replay)}}
    return reading.from_dict(groups | {"train": usual | {"final_episodes": 7} | train})


def test_rings_are_counted_with_their_head_slots_and_priorities():
    # Two members, two worlds each: rings of 50 + 1 rows.
    config = made({"count": 2}, {"capacity": 100})
    assert needs.ring_bytes(config, PENDULUM, 2) == 2 * 2 * 51 * 21
    # 102 slots, as 128 leaves under 4 nodes, and the largest priority.
    config = made({"count": 2}, {"capacity": 100, "priorities": "td-error"})
    assert needs.ring_bytes(config, PENDULUM, 2) == 2 * 2 * 51 * 21 + 4 * 2 * (128 + 4 + 1)
    # Where they fade, each leaf once more as it was given, and the rows since all have faded.
    config = made({"count": 2}, {"capacity": 100, "priorities": "lap", "fade": 0.999})
    fading = 4 * 2 * (128 + 4 + 1 + 128 + 1)
    assert needs.ring_bytes(config, PENDULUM, 2) == 2 * 2 * 51 * 21 + fading


def test_the_disk_holds_rows_once_and_agents_for_each_kept_checkpoint():
    config = made(replay={"capacity": 5000}, keep_checkpoints=3)
    # Ten saves, four at once; policies: best of members and run, 10 newest, 4 best; a line of
    # metrics (one per 1,000 steps) and ten evaluations, of each of two members.
    surely = 1000 * 2 * 21 + 4 * 600
    perhaps = (2 + 10 + 4) * 70 + 2 * (needs.LINE + 10 * needs.SCORES)
    assert needs.disk_bytes(config, PENDULUM, 2, 600, 70) == Disk(surely, perhaps)
    assert Disk(surely, perhaps).total == surely + perhaps


def test_the_disk_keeps_lost_rows_as_long_as_a_checkpoint_has_them():
    config = made(replay={"capacity": 300}, keep_checkpoints=2)
    # 300 rows, and those that three saves of 100 have pushed out of the ring.
    found = needs.disk_bytes(config, PENDULUM, 1, 600, 0)
    assert found.surely == 300 * 21 + 3 * 600
    assert found.perhaps == 300 * 21 + needs.LINE + 10 * needs.SCORES
    config = made(replay={"capacity": 300}, save_interval=0)
    found = needs.disk_bytes(config, PENDULUM, 1, 600, 0)
    assert found == Disk(300 * 21 + 600, needs.LINE + 10 * needs.SCORES)


def test_of_a_run_that_ends_after_episodes_one_save_is_sure():
    config = made(
        replay={"capacity": 300}, total_steps=None, total_episodes=9, save_interval=10_000
    )
    found = needs.disk_bytes(config, PENDULUM, 1, 600, 70)
    assert found == Disk(600, (300 + 4 * 10_000) * 21 + 4 * 70)


@pytest.mark.parametrize(
    ("step", "train", "left"),
    [
        (0, {}, Work(300, 700, 10 * 5 + 7)),
        (500, {}, Work(0, 500, 5 * 5 + 7)),
        (950, {}, Work(0, 50, 5 + 7)),
        (0, {"eval_interval": 300}, Work(300, 700, (3 + 1) * 5 + 7)),
        (0, {"eval_interval": 0}, Work(300, 700, 7)),
        (0, {"updates_per_step": 0}, Work(1000, 0, 10 * 5 + 7)),
        (1000, {}, Work(0, 0, 7)),
        (1200, {}, Work(0, 0, 7)),
    ],
)
def test_the_work_that_is_left(step, train, left):
    config = made(learn_after=0, **({"updates_per_step": 1} | train))
    assert needs.work_left(config, step, learning_began=300) == left


@pytest.mark.parametrize("worlds", [1, 3, 8])
@pytest.mark.parametrize("interval", [1, 5, 8, 20, 100])
@pytest.mark.parametrize("total", [96, 100, 101])
def test_evaluations_are_those_of_the_loop(worlds, interval, total):
    step, found, evaluated_at = 0, 0, -1
    while step < total:
        left = [total - step, interval - step % interval]
        before, step = step, step + worlds * min(4, -(-min(left) // worlds))
        if crossed(before, step, interval):
            found, evaluated_at = found + 1, step
    found += evaluated_at != step
    config = made({"count": worlds}, total_steps=total, eval_interval=interval)
    assert needs.evaluations(config, 0, step) == found
    episodes = needs.work_left(config, 0, 0).episodes
    assert episodes == 5 * found + 7


def test_seconds_are_those_of_steps_and_of_episodes():
    found = needs.seconds_of(Work(300, 700, 57), Rates(0.01, 0.1, 2.0))
    assert found == Seconds(pytest.approx(73.0), 114.0)
    assert found.total == pytest.approx(187.0)


def test_a_step_hides_behind_its_updates_or_comes_on_top():
    assert needs.learning_step(0.3, 0.1, 2, overlap=True) == 0.3
    assert needs.learning_step(0.3, 0.1, 4, overlap=True) == pytest.approx(0.4)
    assert needs.learning_step(0.3, 0.1, 4, overlap=False) == pytest.approx(0.7)
