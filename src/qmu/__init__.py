"""Deterministic policies for continuous control: DDPG and its family, fast.

The public names. They are imported when first used, so that `import qmu` and `qmu --help` do not
wait for the numerical libraries.
"""

from importlib import import_module, metadata
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from qmu.config import Config as Config
    from qmu.deploy.policy import Policy as Policy
    from qmu.deploy.policy import load_policy as load_policy
    from qmu.errors import ConfigError as ConfigError
    from qmu.errors import DivergedError as DivergedError
    from qmu.errors import QmuError as QmuError
    from qmu.errors import StoppedError as StoppedError
    from qmu.errors import WorldError as WorldError
    from qmu.training.check import Checkup as Checkup
    from qmu.training.check import check_env as check_env
    from qmu.training.model import DDPG as DDPG
    from qmu.training.results import Run as Run
    from qmu.training.results import open_run as open_run
    from qmu.training.resume import resume as resume
    from qmu.training.run import train as train

__version__ = metadata.version("qmu")

_HOMES = {
    "Checkup": "qmu.training.check",
    "Config": "qmu.config",
    "ConfigError": "qmu.errors",
    "DDPG": "qmu.training.model",
    "DivergedError": "qmu.errors",
    "Policy": "qmu.deploy.policy",
    "QmuError": "qmu.errors",
    "Run": "qmu.training.results",
    "StoppedError": "qmu.errors",
    "WorldError": "qmu.errors",
    "check_env": "qmu.training.check",
    "load_policy": "qmu.deploy.policy",
    "open_run": "qmu.training.results",
    "resume": "qmu.training.resume",
    "train": "qmu.training.run",
}

__all__ = [
    "DDPG",
    "Checkup",
    "Config",
    "ConfigError",
    "DivergedError",
    "Policy",
    "QmuError",
    "Run",
    "StoppedError",
    "WorldError",
    "check_env",
    "load_policy",
    "open_run",
    "resume",
    "train",
]


def __getattr__(name: str) -> Any:
    """Import a public name from its home."""
    if name not in _HOMES:
        raise AttributeError(f"module 'qmu' has no attribute {name!r}")
    return getattr(import_module(_HOMES[name]), name)


def __dir__() -> list[str]:
    """List the public names."""
    return [*__all__, "__version__"]
