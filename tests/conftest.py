"""What every test runs with: strict numerics, one CPU device per core, repeatable examples."""

import jax
import pytest
from hypothesis import settings

from qmu import configure
from qmu.training.devices import start_jax

# Before anything starts JAX. On a machine with a GPU, `JAX_PLATFORMS=cuda pytest` uses it.
jax.config.update("jax_platforms", jax.config.jax_platforms or "cpu")
jax.config.update("jax_enable_compilation_cache", False)
start_jax()
jax.config.update("jax_numpy_rank_promotion", "raise")
jax.config.update("jax_numpy_dtype_promotion", "strict")

settings.register_profile("qmu", deadline=None, derandomize=True)
settings.load_profile("qmu")

TINY = {
    "target": {"smoothing_std": None},
    "actor": {"hidden_sizes": [8]},
    "critic": {"hidden_sizes": [8]},
    "replay": {"capacity": 64, "batch_size": 4},
    "explore": {"start_steps": 0},
}


@pytest.fixture
def tiny_config():
    """Return a function that makes a small configuration with some options changed."""
    return lambda **changes: configure.from_dict(configure.merge(TINY, changes))
