"""What every test runs with: strict numerics, one CPU device per core, repeatable examples."""

import gc
import os
import signal

import jax
import pytest
from budget import PROFILES
from compiled import Compiled
from hypothesis import settings

from qmu.collecting.display import HIDDEN
from qmu.config import reading
from qmu.learning.devices import start_jax

# Most of a test's time is that of compilers. Without their optimizations and without fused loops a
# small run takes a quarter of it: 13.9 s to 4.4 s on the slowest machine seen. An XLA_FLAGS that is
# set is left alone, also an empty one: `make test-faults` runs what users run.
# A flag that XLA does not know ends the process without a word: it has forgotten the second one.
FLAGS = ["--xla_backend_optimization_level=0"]
if jax.__version_info__ < (0, 11, 1):
    FLAGS.append("--xla_cpu_use_fusion_emitters=false")
os.environ.setdefault("XLA_FLAGS", " ".join(FLAGS))

# Before anything starts JAX. On a machine with a GPU, `JAX_PLATFORMS=cuda pytest` uses it.
jax.config.update("jax_platforms", jax.config.jax_platforms or "cpu")
start_jax()
jax.config.update("jax_numpy_rank_promotion", "raise")
jax.config.update("jax_numpy_dtype_promotion", "strict")

# JAX leaves many objects that live: looking through them again and again takes a tenth of the time.
gc.set_threshold(100_000, 50, 100)

# A shell has what runs in its background ignore Ctrl-C, and nohup has it ignore closed terminals,
# with all that they start; the tests ask runs to stop by such signals.
for number, handler in (
    (signal.SIGINT, signal.default_int_handler),
    (signal.SIGHUP, signal.SIG_DFL),
    (signal.SIGUSR1, signal.SIG_DFL),
):
    if signal.getsignal(number) is signal.SIG_IGN:
        signal.signal(number, handler)

# `pytest --hypothesis-profile=full` has more.
for profile, most in PROFILES.items():
    settings.register_profile(profile, deadline=None, derandomize=True, max_examples=most)
settings.load_profile("ci")

TINY = {
    "target": {"smoothing_std": None},
    "actor": {"hidden_sizes": [8]},
    "critic": {"hidden_sizes": [8]},
    "replay": {"capacity": 64, "batch_size": 4},
    "explore": {"start_steps": 0},
}


def pytest_configure(config):
    config.pluginmanager.register(Compiled())


@pytest.fixture
def tiny_config():
    """Return a function that makes a small configuration with some options changed."""
    return lambda **changes: reading.from_dict(reading.merge(TINY, changes))


@pytest.fixture(autouse=True)
def no_display_is_hidden():
    """Take back what a run that is drawn has set for its process: other tests open windows."""
    yield
    while HIDDEN:
        os.environ.pop(HIDDEN.pop(), None)
