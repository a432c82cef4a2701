"""Train one program until its deterministic evaluation reaches a score; print one line of JSON.

    python benchmarks/reach.py qmu --world HalfCheetah-v5 --score 5000 --seed 0
    .venv-bench/bin/python benchmarks/reach.py sbx-sac --world HalfCheetah-v5 --score 5000

benchmarks/minutes.py runs it, a process for each run. The clock starts with the process, so that
it counts the interpreter's start, the imports and compilation. It stands still in evaluations: with
qmu from where the learner has caught up until the evaluation is written down, with a rival in the
episodes alone. The time with evaluations is reported, too.

An evaluation is the same for all: every so many steps as many episodes side by side, each with a
seed of its own, which does not depend on the run's seed.

qmu runs as `qmu.train` runs it, and writes all that a run writes. Its learning rates fall over a
planned length, `--total-steps`, whenever the run ends.
"""

import argparse
import json
import time
from pathlib import Path
from typing import Any, NamedTuple

import gymnasium
import numpy as np
from process import package_versions, peak_rss_mib, process_age

# As qmu has them (qmu.learning.loop.SELECTION_SEEDS): the rivals' Python has no qmu.
EVALUATION_SEEDS = 1_000_000


class Recipe(NamedTuple):
    """An algorithm of another library, and its constructor's arguments for MuJoCo's worlds.

    `noise_std` is that of normal action noise, in half action ranges. With `normalized` it sees
    observations through the library's own running normalization.
    """

    library: str
    algorithm: str
    arguments: dict[str, Any]
    noise_std: float | None = None
    normalized: bool = False


# rl-baselines3-zoo, commit 22e3ff2: `mujoco-defaults` in hyperparams/td3.yml, sac.yml, tqc.yml and
# crossq.yml. It has them for version 4 of these worlds; what it does not name is the library's
# default. SBX's documentation sends its users to the same files.
ZOO_TD3: dict[str, Any] = {
    "learning_starts": 10_000,
    "learning_rate": 1e-3,
    "batch_size": 256,
    "train_freq": 1,
    "gradient_steps": 1,
    "policy_kwargs": {"net_arch": [400, 300]},
}
ZOO_SAC: dict[str, Any] = {"learning_starts": 10_000}
# Bhatt et al. 2024 and the zoo have critics of 2048-2048. SBX's default is 1024-1024, "for faster
# computation" (sbx/crossq/policies.py): a quarter of the products, and this is a race by the clock.
CROSSQ: dict[str, Any] = {
    "learning_starts": 5_000,
    "learning_rate": 1e-3,
    "policy_delay": 3,
    "policy_kwargs": {"net_arch": {"pi": [256, 256], "qf": [1024, 1024]}},
}
# What SBX's README (commit 9bdc9c1, "Note about SimBa") recommends for MuJoCo's worlds.
SIMBA: dict[str, Any] = {
    "policy": "SimbaPolicy",
    "learning_starts": 10_000,
    "learning_rate": 3e-4,
    "policy_kwargs": {
        "optimizer_class": "adamw",
        "net_arch": {"pi": [128], "qf": [256, 256]},
        "n_critics": 2,
    },
}
RIVALS = {
    "sbx-td3": Recipe("sbx", "TD3", ZOO_TD3, noise_std=0.1),
    "sbx-sac": Recipe("sbx", "SAC", ZOO_SAC),
    "sbx-tqc": Recipe("sbx", "TQC", ZOO_SAC),
    "sbx-crossq": Recipe("sbx", "CrossQ", CROSSQ),
    "sbx-tqc-simba": Recipe("sbx", "TQC", SIMBA, normalized=True),
    "sb3-td3": Recipe("stable_baselines3", "TD3", ZOO_TD3, noise_std=0.1),
    "sb3-sac": Recipe("stable_baselines3", "SAC", ZOO_SAC),
}
# Where the zoo has something else for one world.
ZOO_WORLDS: dict[tuple[str, str], dict[str, Any]] = {
    ("sbx-tqc", "Hopper-v5"): {"top_quantiles_to_drop_per_net": 5}
}


class Race:
    """A run against a score, a time and a number of steps, and what it has come to.

    `why` it is over is None until then: `score`, `limit` or `steps`. What comes later does not
    count any more.
    """

    def __init__(self, score: float, limit: float, most_steps: int) -> None:
        self.score, self.limit, self.most_steps = score, limit, most_steps
        self.began = time.perf_counter() - process_age()
        self.evaluating = 0.0
        self.curve: list[tuple[int, float, float]] = []
        self.steps = 0
        self.why: str | None = None
        self.ended = (float("nan"), float("nan"))

    def clock(self) -> tuple[float, float]:
        """Return the seconds since the process was started, without evaluations and with them."""
        whole = time.perf_counter() - self.began
        return whole - self.evaluating, whole

    def take(self, step: int) -> None:
        """Hear that there have been so many steps; end where the time is up."""
        if self.why is None:
            self.steps = step
            if self.clock()[0] > self.limit:
                self.end("limit")

    def evaluate(self, score: float, seconds: float) -> None:
        """Hear the mean return of an evaluation, and what it has taken."""
        if self.why is not None:
            return
        self.evaluating += seconds
        self.curve.append((self.steps, round(self.clock()[0], 2), round(score, 2)))
        if score >= self.score:
            self.end("score")
        elif self.steps >= self.most_steps:
            self.end("steps")

    def end(self, why: str) -> None:
        """End the race now."""
        self.why, self.ended = why, self.clock()

    def result(self) -> dict[str, Any]:
        """Return what has come of it, for JSON."""
        training, whole = self.ended
        return {
            "reached": self.why == "score",
            "why": self.why,
            "seconds": round(training, 2),
            "seconds_with_evaluations": round(whole, 2),
            "steps": self.steps,
            "curve": self.curve,
        }


def run_qmu(arguments: argparse.Namespace, race: Race) -> dict[str, Any]:
    """Train with qmu until the race is over, and return the run's options."""
    import qmu
    from qmu import Moment, Stop

    class Judge(qmu.Callback):
        def __init__(self) -> None:
            self.caught_up = 0.0

        def on_chunk(self, moment: Moment) -> Stop | None:
            due = moment.step // arguments.every > race.steps // arguments.every
            race.take(moment.step)
            if due:
                # The evaluation would wait for the learner, and that is no part of it.
                moment.policies()
                self.caught_up = time.perf_counter()
            return self.verdict()

        def on_evaluation(self, moment: Moment) -> Stop | None:
            (score,) = moment.scores.values()
            race.evaluate(score.mean, time.perf_counter() - self.caught_up)
            return self.verdict()

        def verdict(self) -> Stop | None:
            return None if race.why is None else Stop(race.why)

    train = {
        "total_steps": arguments.total_steps,
        "seed": arguments.seed,
        "eval_interval": arguments.every,
        "eval_episodes": arguments.episodes,
        # After the race is over.
        "final_episodes": 1,
    }
    qmu.train(arguments.world, preset=arguments.preset, callbacks=[Judge()], train=train)
    return {"preset": Path(arguments.preset).stem, "train": train}


def run_rival(arguments: argparse.Namespace, race: Race) -> dict[str, Any]:
    """Train with another library until the race is over, and return its settings."""
    recipe = RIVALS[arguments.program]
    own = recipe.arguments | ZOO_WORLDS.get((arguments.program, arguments.world), {})
    worlds = [gymnasium.make(arguments.world) for _ in range(arguments.episodes)]
    model = make_rival(recipe, arguments.world, arguments.seed, own)

    def go_on(_: dict[str, Any], __: dict[str, Any]) -> bool:
        race.take(model.num_timesteps)
        if race.why is None and model.num_timesteps % arguments.every == 0:
            before = time.perf_counter()
            score = evaluate(model, worlds)
            race.evaluate(score, time.perf_counter() - before)
        return race.why is None

    model.learn(arguments.most_steps, callback=go_on, log_interval=None)
    return own | {"noise_std": recipe.noise_std, "normalized": recipe.normalized}


def make_rival(recipe: Recipe, world: str, seed: int, own: dict[str, Any]) -> Any:
    """Return another library's model with these settings."""
    from importlib import import_module

    from stable_baselines3.common.env_util import make_vec_env
    from stable_baselines3.common.noise import NormalActionNoise
    from stable_baselines3.common.vec_env import VecNormalize

    env = make_vec_env(world, seed=seed)
    if recipe.normalized:
        env = VecNormalize(env, norm_obs=True, norm_reward=False)
    arguments = {"policy": "MlpPolicy", "seed": seed, "device": "cpu"} | own
    if recipe.noise_std is not None:
        zeros = np.zeros(env.action_space.shape)
        arguments["action_noise"] = NormalActionNoise(zeros, zeros + recipe.noise_std)
    policy = dict(own.get("policy_kwargs", {}))
    if "optimizer_class" in policy:
        policy["optimizer_class"] = getattr(import_module("optax"), policy["optimizer_class"])
    arguments["policy_kwargs"] = policy
    return getattr(import_module(recipe.library), recipe.algorithm)(env=env, **arguments)


def evaluate(model: Any, worlds: list[Any]) -> float:
    """Return the mean return of an episode of each world, deterministic and with fixed seeds.

    All worlds' observations are given to the policy, also of those whose episode has ended: it is
    compiled for one shape.
    """
    obs = np.stack([world.reset(seed=EVALUATION_SEEDS + i)[0] for i, world in enumerate(worlds)])
    normalizer = model.get_vec_normalize_env()
    returns, running = np.zeros(len(worlds)), set(range(len(worlds)))
    while running:
        seen = obs if normalizer is None else normalizer.normalize_obs(obs)
        actions, _ = model.predict(seen, deterministic=True)
        for index in sorted(running):
            obs[index], reward, terminated, truncated, _ = worlds[index].step(actions[index])
            returns[index] += reward
            if terminated or truncated:
                running.remove(index)
    return float(returns.mean())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("program", choices=["qmu", *RIVALS])
    parser.add_argument("--world", default="HalfCheetah-v5", help="a Gymnasium environment's id")
    parser.add_argument("--score", type=float, required=True, help="mean return to reach")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--preset", default="default", help="qmu's recipe")
    parser.add_argument("--every", type=int, default=2_500, help="steps between two evaluations")
    parser.add_argument("--episodes", type=int, default=5, help="episodes of an evaluation")
    parser.add_argument("--limit", type=float, default=float("inf"), help="seconds of training")
    parser.add_argument("--total-steps", type=int, default=100_000, help="planned length of qmu's")
    parser.add_argument("--most-steps", type=int, default=1_000_000, help="of whatever program")
    arguments = parser.parse_args()
    for name in ("total_steps", "most_steps"):
        if getattr(arguments, name) % arguments.every:
            parser.error(f"--{name.replace('_', '-')} must be a multiple of --every")
    own = arguments.program == "qmu"
    planned = arguments.total_steps if own else arguments.most_steps
    race = Race(arguments.score, arguments.limit, min(planned, arguments.most_steps))
    settings = (run_qmu if own else run_rival)(arguments, race)
    found = {
        "program": arguments.program,
        "world": arguments.world,
        "score": arguments.score,
        "seed": arguments.seed,
        **race.result(),
        "settings": settings,
        "peak_rss_mib": round(peak_rss_mib(), 1),
        "versions": package_versions(),
    }
    print(json.dumps(found))


if __name__ == "__main__":
    main()
