"""Deterministic policies for continuous control: DDPG and its family, fast.

The public names. They are imported when first used, so that `import qmu` and `qmu --help` do not
wait for the numerical libraries.
"""

from importlib import import_module, metadata
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from qmu.agent.custom import Networks as Networks
    from qmu.config import Config as Config
    from qmu.deploy.files import load as load
    from qmu.deploy.files import load_policy as load_policy
    from qmu.deploy.policy import Policy as Policy
    from qmu.errors import ConfigError as ConfigError
    from qmu.errors import DivergedError as DivergedError
    from qmu.errors import QmuError as QmuError
    from qmu.errors import StoppedError as StoppedError
    from qmu.errors import WorldError as WorldError
    from qmu.study.ship import export as export
    from qmu.training.callbacks import Callback as Callback
    from qmu.training.callbacks import Moment as Moment
    from qmu.training.callbacks import Stop as Stop
    from qmu.training.check import Checkup as Checkup
    from qmu.training.check import check_env as check_env
    from qmu.training.evaluate import Score as Score
    from qmu.training.model import DDPG as DDPG
    from qmu.training.model import TD3 as TD3
    from qmu.training.results import Run as Run
    from qmu.training.results import open_run as open_run
    from qmu.training.resume import resume as resume
    from qmu.training.run import train as train
    from qmu.training.sinks import MediaSink as MediaSink
    from qmu.training.sinks import Picture as Picture
    from qmu.training.sinks import Sink as Sink
    from qmu.training.sinks import Text as Text
    from qmu.training.sinks import Video as Video

__version__ = metadata.version("qmu")

_HOMES = {
    "Callback": "qmu.training.callbacks",
    "Checkup": "qmu.training.check",
    "Config": "qmu.config",
    "ConfigError": "qmu.errors",
    "DDPG": "qmu.training.model",
    "DivergedError": "qmu.errors",
    "MediaSink": "qmu.training.sinks",
    "Moment": "qmu.training.callbacks",
    "Networks": "qmu.agent.custom",
    "Picture": "qmu.training.sinks",
    "Policy": "qmu.deploy.policy",
    "QmuError": "qmu.errors",
    "Run": "qmu.training.results",
    "Score": "qmu.training.evaluate",
    "Sink": "qmu.training.sinks",
    "Stop": "qmu.training.callbacks",
    "StoppedError": "qmu.errors",
    "TD3": "qmu.training.model",
    "Text": "qmu.training.sinks",
    "Video": "qmu.training.sinks",
    "WorldError": "qmu.errors",
    "check_env": "qmu.training.check",
    "export": "qmu.study.ship",
    "load": "qmu.deploy.files",
    "load_policy": "qmu.deploy.files",
    "open_run": "qmu.training.results",
    "resume": "qmu.training.resume",
    "train": "qmu.training.run",
}

__all__ = [
    "DDPG",
    "TD3",
    "Callback",
    "Checkup",
    "Config",
    "ConfigError",
    "DivergedError",
    "MediaSink",
    "Moment",
    "Networks",
    "Picture",
    "Policy",
    "QmuError",
    "Run",
    "Score",
    "Sink",
    "Stop",
    "StoppedError",
    "Text",
    "Video",
    "WorldError",
    "check_env",
    "export",
    "load",
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
