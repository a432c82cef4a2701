"""The replay ratio, in numbers and in words."""

import numpy as np
import pytest

from qmu.config import reading
from qmu.config.ratio import draws, ratio_words, rows_per_update, seen_share, unusual


def made(**groups):
    return reading.from_dict(groups)


def test_a_row_is_drawn_as_often_as_a_step_pays_for():
    assert draws(made()) == 256
    assert draws(made(train={"updates_per_step": 0.25}, replay={"batch_size": 64})) == 16
    own = {"count": 3, "batches": "own"}
    assert rows_per_update(made(critic=own, replay={"batch_size": 10})) == 30
    remembering = {"kind": "gru", "sequence": 20, "burn_in": 5}
    assert rows_per_update(made(memory=remembering, replay={"batch_size": 4})) == 60


def never_drawn(steps, capacity, batch):
    """Return the share of rows that uniform draws miss, drawn one batch a step."""
    generator, seen = np.random.default_rng(0), np.zeros(steps, bool)
    for step in range(1, steps):
        seen[generator.integers(max(0, step - capacity), step, batch)] = True
    return 1 - seen.mean()


@pytest.mark.parametrize(("steps", "capacity", "batch"), [(20_000, 20_000, 3), (20_000, 500, 2)])
def test_the_share_that_is_seen_is_that_of_drawing(steps, capacity, batch):
    config = made(
        replay={"batch_size": batch, "capacity": capacity, "n_step": 1},
        train={"total_steps": steps},
    )
    missed = never_drawn(steps, capacity, batch)
    assert 1 - seen_share(config) == pytest.approx(missed, abs=0.01)


def test_the_usual_ratio_is_told_and_not_explained():
    assert ratio_words(made()) == (
        "1 update a step, of 256 rows each: a row is drawn 256 times on average, 99.6% of all at "
        "least once"
    )
    assert unusual(made()) is None
    assert ratio_words(made(train={"updates_per_step": 0})) == "no updates"
    assert unusual(made(train={"updates_per_step": 0})) is None


def test_a_32nd_of_the_usual_ratio_is_explained():
    config = made(train={"updates_per_step": 1 / 32}, env={"count": 32})
    assert ratio_words(config) == (
        "0.0312 updates a step, of 256 rows each: a row is drawn 8 times on average, 88.8% of all "
        "at least once"
    )
    meaning, advice = unusual(config)
    assert "(of all 32 worlds together)" in meaning
    assert "a larger --train.updates-per-step" in advice


def test_a_row_that_is_drawn_all_the_time_is_explained():
    meaning, advice = unusual(made(train={"updates_per_step": 64}))
    assert "drawn 16,384 times" in meaning
    assert "a lower --train.updates-per-step" in advice
