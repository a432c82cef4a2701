"""Deterministic policies for continuous control: DDPG and its family, fast.

The public names. They are imported when first used, so that `import qmu` and `qmu --help` do not
wait for the numerical libraries.
"""

from importlib import import_module, metadata
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from qmu.agent.custom import Networks as Networks
    from qmu.collecting.evaluate import Score as Score
    from qmu.config import Config as Config
    from qmu.deploy.files import load as load
    from qmu.deploy.files import load_policy as load_policy
    from qmu.deploy.policy import Policy as Policy
    from qmu.errors import ConfigError as ConfigError
    from qmu.errors import DivergedError as DivergedError
    from qmu.errors import LostRunError as LostRunError
    from qmu.errors import QmuError as QmuError
    from qmu.errors import StoppedError as StoppedError
    from qmu.errors import UnsavedError as UnsavedError
    from qmu.errors import WorldError as WorldError
    from qmu.health.check import Checkup as Checkup
    from qmu.health.check import check_env as check_env
    from qmu.learning.callbacks import Callback as Callback
    from qmu.learning.callbacks import Moment as Moment
    from qmu.learning.callbacks import Stop as Stop
    from qmu.runs.model import DDPG as DDPG
    from qmu.runs.model import TD3 as TD3
    from qmu.runs.results import Run as Run
    from qmu.runs.results import open_run as open_run
    from qmu.runs.resume import resume as resume
    from qmu.runs.train import train as train
    from qmu.shipping.write import export as export
    from qmu.watching.sinks import MediaSink as MediaSink
    from qmu.watching.sinks import Picture as Picture
    from qmu.watching.sinks import Sink as Sink
    from qmu.watching.sinks import Text as Text
    from qmu.watching.sinks import Video as Video
    from qmu.world.hide import Hide as Hide

__version__ = metadata.version("qmu")

_HOMES = {
    "Callback": "qmu.learning.callbacks",
    "Checkup": "qmu.health.check",
    "Config": "qmu.config",
    "ConfigError": "qmu.errors",
    "DDPG": "qmu.runs.model",
    "DivergedError": "qmu.errors",
    "Hide": "qmu.world.hide",
    "LostRunError": "qmu.errors",
    "MediaSink": "qmu.watching.sinks",
    "Moment": "qmu.learning.callbacks",
    "Networks": "qmu.agent.custom",
    "Picture": "qmu.watching.sinks",
    "Policy": "qmu.deploy.policy",
    "QmuError": "qmu.errors",
    "Run": "qmu.runs.results",
    "Score": "qmu.collecting.evaluate",
    "Sink": "qmu.watching.sinks",
    "Stop": "qmu.learning.callbacks",
    "StoppedError": "qmu.errors",
    "TD3": "qmu.runs.model",
    "Text": "qmu.watching.sinks",
    "UnsavedError": "qmu.errors",
    "Video": "qmu.watching.sinks",
    "WorldError": "qmu.errors",
    "check_env": "qmu.health.check",
    "export": "qmu.shipping.write",
    "load": "qmu.deploy.files",
    "load_policy": "qmu.deploy.files",
    "open_run": "qmu.runs.results",
    "resume": "qmu.runs.resume",
    "train": "qmu.runs.train",
}

__all__ = [
    "DDPG",
    "TD3",
    "Callback",
    "Checkup",
    "Config",
    "ConfigError",
    "DivergedError",
    "LostRunError",
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
    "UnsavedError",
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
