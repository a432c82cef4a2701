"""Compare what a step of pictures takes in memory: ours, and Stable-Baselines3's replay buffers.

    python benchmarks/stored.py                     # SB3 in .venv-bench (make bench installs it)

Each is built, for so many steps of 84 x 84 x 3 that are seen in stacks of three, and the bytes of
its arrays are counted. The results go to benchmarks/results/stored-DATE.json.
"""

import argparse
import datetime
import json
import math
import sys
from pathlib import Path
from typing import Any

from process import machine, package_versions
from speed import run_json

HERE = Path(__file__).resolve().parent
RIVAL = HERE.parent / ".venv-bench" / "bin" / "python"
IMAGE, FRAMES, ACTIONS, STEPS = (84, 84, 3), 3, 6, 20_000


def measure_ours() -> dict[str, float]:
    """Return the bytes of a step in a stream, which the learner has built."""
    import jax

    from qmu.config import reading
    from qmu.config.members import members_of
    from qmu.layout import Layout
    from qmu.learning.devices import find_devices
    from qmu.learning.groups import divide
    from qmu.learning.learner import Learner

    options = {
        "train": {"device": "cpu", "seeds": 1, "total_steps": 10 * STEPS},
        "replay": {"capacity": STEPS, "batch_size": 64},
    }
    groups = divide(members_of(reading.from_dict(options), {}), find_devices("cpu"))
    learner = Learner(groups, Layout(0, (IMAGE,), FRAMES), ACTIONS)
    (members,) = learner.members
    held = sum(array.nbytes for array in jax.tree.leaves(members.stream))
    return {"stream": held / STEPS}


def measure_sb3() -> dict[str, float]:
    """Return the bytes of a step in both kinds of Stable-Baselines3's replay buffer."""
    import numpy as np
    from gymnasium.spaces import Box
    from stable_baselines3.common.buffers import ReplayBuffer

    height, width, channels = IMAGE
    seen = Box(0, 255, (FRAMES * channels, height, width), np.uint8)
    actions = Box(-1, 1, (ACTIONS,), np.float32)

    def bytes_of(optimized: bool) -> float:
        buffer = ReplayBuffer(
            STEPS,
            seen,
            actions,
            "cpu",
            optimize_memory_usage=optimized,
            handle_timeout_termination=not optimized,
        )
        arrays = [one for one in vars(buffer).values() if isinstance(one, np.ndarray)]
        return sum(array.nbytes for array in arrays) / STEPS

    return {"ordinary": bytes_of(optimized=False), "optimized": bytes_of(optimized=True)}


MEASURE = {"ours": measure_ours, "sb3": measure_sb3}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("what", nargs="?", choices=["compare", *MEASURE], default="compare")
    parser.add_argument("--sb3", default=str(RIVAL), help="a Python that has Stable-Baselines3")
    parser.add_argument("--output", type=Path)
    arguments = parser.parse_args()
    if arguments.what != "compare":
        print(json.dumps(MEASURE[arguments.what]() | {"versions": package_versions()}))
        return
    script = str(HERE / "stored.py")
    ours = run_json([sys.executable, script, "ours"])
    sb3 = run_json([arguments.sb3, script, "sb3"])
    # A frame, the action and the reward.
    least = math.prod(IMAGE) + 4 * (ACTIONS + 1)
    stream = ours["stream"]
    result: dict[str, Any] = {
        "image": list(IMAGE),
        "frames": FRAMES,
        "steps": STEPS,
        "bytes_per_step": {
            "a frame and the numbers": least,
            "qmu": stream,
            "Stable-Baselines3": sb3["ordinary"],
            "Stable-Baselines3, optimize_memory_usage": sb3["optimized"],
        },
        "ratios": {
            "qmu / a frame and the numbers": stream / least,
            "qmu / SB3": stream / sb3["ordinary"],
            "qmu / SB3, optimize_memory_usage": stream / sb3["optimized"],
        },
    }
    for name, one in result["bytes_per_step"].items():
        print(f"  {name:45} {one:12,.0f} bytes a step  {one / 1e3:8,.1f} GB a million")
    for name, one in result["ratios"].items():
        print(f"  {name:45} {one:.4f}")
    today = datetime.datetime.now(datetime.UTC).date()
    versions = {"ours": ours["versions"], "sb3": sb3["versions"]}
    result |= {"date": str(today), "machine": machine(), "versions": versions}
    output = arguments.output or HERE / "results" / f"stored-{today}.json"
    output.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
