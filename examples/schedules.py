"""Learning rates and noise as functions of the step: a warm-up, a cosine, and three stages.

python examples/schedules.py --total-steps 10000
"""

import math
from collections.abc import Callable

import tyro

import qmu


def cosine(top: float, total_steps: int, warm_up: int) -> Callable[[int], float]:
    """Return a schedule that rises to `top` in a straight line and falls to 0 as a cosine."""

    def schedule(step: int) -> float:
        if step < warm_up:
            return top * (step + 1) / warm_up
        share = (step - warm_up) / max(total_steps - warm_up, 1)
        return top * 0.5 * (1 + math.cos(math.pi * min(share, 1.0)))

    return schedule


def main(total_steps: int = 10_000) -> qmu.Run:
    """Return a run whose rates and noise follow functions of the step."""
    rate = cosine(1e-3, total_steps, warm_up=total_steps // 10)

    def noise(step: int) -> float:
        return 0.4 if step < total_steps // 3 else 0.2 if step < 2 * total_steps // 3 else 0.05

    run = qmu.train(
        "Pendulum-v1",
        total_steps=total_steps,
        schedules={"actor.lr": rate, "critic.lr": rate, "explore.std": noise},
        train={"eval_interval": max(total_steps // 5, 1)},
        log={"interval": max(total_steps // 20, 1)},
    )
    for line in run.metrics():
        if "train/actor_lr" in line:
            print(f"step {line['step']:>6,}: learning rate {line['train/actor_lr']:.2e}")
    run.plot("train/actor_lr").savefig("rates.png")
    return run


if __name__ == "__main__":
    tyro.cli(main)
