"""Every option exactly once: a file per group, with its help and its checks; and their whole."""

from qmu.config.encoder import Encoder as Encoder
from qmu.config.env import Env as Env
from qmu.config.explore import Explore as Explore
from qmu.config.lengths import (
    UNLIMITED_STEPS as UNLIMITED_STEPS,
)
from qmu.config.lengths import (
    batch_rows as batch_rows,
)
from qmu.config.lengths import (
    learn_after as learn_after,
)
from qmu.config.lengths import (
    planned_updates as planned_updates,
)
from qmu.config.lengths import (
    schedule_steps as schedule_steps,
)
from qmu.config.lengths import (
    seeds as seeds,
)
from qmu.config.lengths import (
    start_steps as start_steps,
)
from qmu.config.lengths import (
    stored_numbers as stored_numbers,
)
from qmu.config.lengths import (
    stream_rows as stream_rows,
)
from qmu.config.lengths import (
    total_steps as total_steps,
)
from qmu.config.log import Log as Log
from qmu.config.memory import Memory as Memory
from qmu.config.networks import Actor as Actor
from qmu.config.networks import Critic as Critic
from qmu.config.networks import Network as Network
from qmu.config.replay import Replay as Replay
from qmu.config.spelling import NONE as NONE
from qmu.config.spelling import flag as flag
from qmu.config.spelling import without_group as without_group
from qmu.config.target import Target as Target
from qmu.config.train import Train as Train
from qmu.config.whole import (
    GROUPS as GROUPS,
)
from qmu.config.whole import (
    Config as Config,
)
from qmu.config.whole import (
    options as options,
)
from qmu.config.whole import (
    replace as replace,
)
from qmu.config.whole import (
    resolved as resolved,
)
from qmu.config.whole import (
    shapes as shapes,
)
from qmu.config.whole import (
    to_dict as to_dict,
)
