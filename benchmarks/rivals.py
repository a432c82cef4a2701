"""Measure how fast other libraries train DDPG: Stable-Baselines3 (PyTorch) and SBX (JAX).

Each measurement is a process of its own, in the environment that benchmarks/requirements.txt
describes, and prints one line of JSON:

    python benchmarks/rivals.py sb3 --env HalfCheetah-v5 --hidden 256 256 --batch 256

Both libraries run with one set of hyper-parameters, DDPG's own and one update per step, and
otherwise as they come: default optimizer, default number of threads, default replay buffer.
The timed phase begins after the warm-up, in which random steps, compilation and the first
updates take place.
"""

import argparse
import json
import os
import sys
import time
from importlib.metadata import version
from typing import Any

import gymnasium
import numpy as np
from process import package_versions, peak_rss_mib, process_age
from stable_baselines3.common.callbacks import BaseCallback
from stable_baselines3.common.noise import NormalActionNoise
from stable_baselines3.common.off_policy_algorithm import OffPolicyAlgorithm

PACKAGE = {"sb3": "stable-baselines3", "sbx": "sbx-rl"}
RANDOM_STEPS = 1000
LEARNING_RATE = 1e-3
NEVER = sys.maxsize
NOISE_STD = 0.1  # in half action ranges: both libraries scale actions to [-1, 1] first


def ddpg_arguments(env_id: str, hidden: list[int], batch: int, seed: int) -> dict[str, Any]:
    """The constructor arguments the two libraries share, their common defaults spelled out."""
    env = gymnasium.make(env_id)
    if not isinstance(env.action_space, gymnasium.spaces.Box):
        raise SystemExit(f"{env_id} has actions {env.action_space}; DDPG needs a Box")
    zeros = np.zeros(env.action_space.shape)
    return {
        "policy": "MlpPolicy",
        "env": env,
        "learning_rate": LEARNING_RATE,
        "buffer_size": 1_000_000,
        "learning_starts": RANDOM_STEPS,
        "batch_size": batch,
        "tau": 0.005,
        "gamma": 0.99,
        "train_freq": (1, "step"),
        "gradient_steps": 1,
        "action_noise": NormalActionNoise(zeros, zeros + NOISE_STD),
        "policy_kwargs": {"net_arch": hidden, "n_critics": 1},
        "seed": seed,
        "device": "cpu",
        "verbose": 0,
    }


def make_sb3(arguments: dict[str, Any]) -> OffPolicyAlgorithm:
    """Stable-Baselines3's DDPG: one learning rate serves both networks."""
    from stable_baselines3 import DDPG
    from torch.nn import ReLU

    arguments["policy_kwargs"]["activation_fn"] = ReLU
    return DDPG(**arguments)


def make_sbx(arguments: dict[str, Any]) -> OffPolicyAlgorithm:
    """SBX's DDPG: the critic's learning rate is an argument of its own."""
    os.environ["JAX_PLATFORMS"] = "cpu"  # JAX reads it on import; SBX ignores `device`
    from flax.linen import relu
    from sbx import DDPG

    arguments["policy_kwargs"]["activation_fn"] = relu
    return DDPG(qf_learning_rate=LEARNING_RATE, **arguments)


MAKE = {"sb3": make_sb3, "sbx": make_sbx}


def check_is_ddpg(model: Any) -> None:
    """Both libraries derive DDPG from TD3; stop if one of TD3's additions is left on."""
    found = (model.policy_delay, model.target_noise_clip, model.policy_kwargs["n_critics"])
    if found != (1, 0.0, 1):
        raise SystemExit(f"not DDPG: policy delay, target noise clip, critics are {found}")


class Stopwatch(BaseCallback):
    """Note the time at three points of a run, each of them between two whole steps.

    Rollouts are one step long, so a rollout begins when the previous step's update is done.
    Neither library leaves work behind: both read the losses back within each update.
    """

    def __init__(self, warmup_steps: int) -> None:
        super().__init__()
        self.warmup_steps = warmup_steps
        self.seconds_to_first_update = float("nan")
        self.began = self.timed_from = self.timed_to = float("nan")
        self.updates_before = 0

    def _on_training_start(self) -> None:
        self.began = time.perf_counter()

    def _on_rollout_start(self) -> None:
        if self.model.num_timesteps == RANDOM_STEPS + 1:
            self.seconds_to_first_update = process_age()
            self.require_updates(1, since=0)
        if self.model.num_timesteps == self.warmup_steps:
            self.updates_before = self.model._n_updates
            self.timed_from = time.perf_counter()

    def _on_step(self) -> bool:
        return True

    def _on_training_end(self) -> None:
        self.timed_to = time.perf_counter()
        timed_steps = self.model.num_timesteps - self.warmup_steps
        self.require_updates(timed_steps, since=self.updates_before)

    def require_updates(self, expected: int, since: int) -> None:
        """Stop unless the model has made as many updates since then as it should have."""
        made = self.model._n_updates - since
        if made != expected:
            raise SystemExit(f"the model made {made} updates where {expected} were expected")


def measure(options: argparse.Namespace) -> dict[str, Any]:
    """Train as the options say and return what the JSON line holds."""
    arguments = ddpg_arguments(options.env, options.hidden, options.batch, options.seed)
    model = MAKE[options.library](arguments)
    check_is_ddpg(model)
    stopwatch = Stopwatch(options.warmup_steps)
    model.learn(options.warmup_steps + options.steps, callback=stopwatch, log_interval=NEVER)
    seconds = stopwatch.timed_to - stopwatch.timed_from
    return {
        "library": options.library,
        "version": version(PACKAGE[options.library]),
        "env": options.env,
        "hidden": options.hidden,
        "batch": options.batch,
        "seed": options.seed,
        "steps": options.steps,
        "seconds": round(seconds, 3),
        "steps_per_second": round(options.steps / seconds, 1),
        "seconds_to_first_update": round(stopwatch.seconds_to_first_update, 2),
        "warmup_seconds": round(stopwatch.timed_from - stopwatch.began, 3),
        "peak_rss_mib": round(peak_rss_mib(), 1),
        "versions": package_versions(),
    }


def parse_options() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description="Time another library's DDPG; prints JSON.")
    parser.add_argument("library", choices=tuple(MAKE))
    parser.add_argument("--env", default="HalfCheetah-v5", help="a Gymnasium environment's id")
    parser.add_argument("--hidden", type=int, nargs="+", default=[256, 256], help="layer widths")
    parser.add_argument("--batch", type=int, default=256, help="transitions per update")
    parser.add_argument("--warmup-steps", type=int, default=2000, help="steps before the clock")
    parser.add_argument("--steps", type=int, default=5000, help="steps on the clock")
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    if options.warmup_steps <= RANDOM_STEPS:
        parser.error(f"--warmup-steps must be more than the {RANDOM_STEPS} random steps")
    if options.steps < 1:
        parser.error("--steps must be at least 1")
    return options


if __name__ == "__main__":
    print(json.dumps(measure(parse_options())))
