"""The switches in a run: any valid combination trains, and what they need travels along."""

import jax
import numpy as np
import pytest
from budget import examples
from configs import configs, records
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from qmu.config import Config, checks
from qmu.learning.loop import Logged, Trainer
from qmu.world.make import find_maker

MODERATE = {
    "lr": st.floats(0, 0.01),
    "hidden_sizes": st.lists(st.integers(1, 16), max_size=3).map(tuple),
    "final_range": st.none() | st.floats(1e-3, 0.1),
    "weight_decay": st.none() | st.floats(0, 0.1),
}
SMALL = configs(
    env=records(
        "env",
        id=st.none(),
        count=st.integers(1, 3),
        episode_length=st.integers(1, 30),
        repeat=st.integers(1, 3),
        pixels=st.none(),
        render=st.just(False),
        reward_scale=st.floats(0.01, 10),
    ),
    actor=records(
        "actor",
        **MODERATE,
        interval=st.integers(1, 3),
        preactivation_penalty=st.floats(0, 1),
    ),
    critic=records("critic", **MODERATE, count=st.integers(1, 3), l2=st.none() | st.floats(0, 0.1)),
    # Pendulum has no images, and options about them are refused.
    encoder=st.just(Config().encoder),
    memory=records("memory", lr=MODERATE["lr"]),
    target=records("target", interval=st.integers(1, 3), smoothing_std=st.none() | st.floats(0, 1)),
    explore=records(
        "explore",
        start_steps=st.integers(0, 20),
        std=st.floats(0, 1),
        mean=st.floats(-1, 1),
        parameter_distance=st.none() | st.floats(0.01, 0.5),
    ),
    replay=records(
        "replay",
        capacity=st.integers(20, 200),
        batch_size=st.integers(1, 16),
        n_step=st.integers(1, 5),
    ),
    train=st.builds(
        Config().train.__class__,
        total_steps=st.just(60),
        learn_after=st.integers(0, 10),
        updates_per_step=st.sampled_from([0.5, 1.0, 2.0]),
        chunk=st.integers(1, 16),
        overlap=st.booleans(),
        seeds=st.integers(1, 2),
        eval_interval=st.just(0),
        save_interval=st.just(0),
    ),
    log=st.just(Config().log),
)


@pytest.mark.slow
@settings(
    max_examples=examples(2, 25),
    deadline=None,
    phases=[Phase.explicit, Phase.reuse, Phase.generate],  # shrinking compiles for many minutes
    suppress_health_check=[HealthCheck.too_slow],
)
@given(SMALL)
def test_any_valid_combination_trains_without_a_number_that_is_not_finite(config):
    checks.check(config)
    trainer = Trainer(config, find_maker("Pendulum-v1", config.env.episode_length))
    try:
        for event in trainer.run(60):
            if isinstance(event, Logged):
                for values in event.members:
                    assert all(map(np.isfinite, values.values())), values
        for leaf in jax.tree.leaves([group.agents for group in trainer.learner.members]):
            assert np.isfinite(leaf).all()
        assert trainer.learner.compiled._cache_size() == len(trainer.learner.groups)
    finally:
        trainer.close()
