"""End a run when it is good enough, and keep what the members' policies say on the way.

python examples/callback_stops_early.py --wanted -200
"""

from pathlib import Path

import numpy as np
import tyro

import qmu


class GoodEnough(qmu.Callback):
    """Ends the run when every seed's evaluation has reached a score."""

    def __init__(self, wanted: float) -> None:
        """Take the score."""
        self.wanted = wanted

    def on_evaluation(self, moment: qmu.Moment) -> qmu.Stop | None:
        """End the run if the worst seed is good enough."""
        worst = min(score.mean for score in moment.scores.values())
        if worst < self.wanted:
            return None
        return qmu.Stop(f"every seed is above {self.wanted}")


class Watch(qmu.Callback):
    """Writes down what the policies do in one state, and where checkpoints are."""

    def __init__(self) -> None:
        """Begin with nothing seen."""
        self.torques: list[tuple[int, list[float]]] = []
        self.checkpoints: list[Path] = []

    def on_evaluation(self, moment: qmu.Moment) -> None:
        """Ask every member's policy what it does with the pendulum at rest, hanging down."""
        hanging = np.array([-1.0, 0.0, 0.0])
        torques = [float(policy(hanging)[0]) for policy in moment.policies().values()]
        self.torques.append((moment.step, torques))

    def on_save(self, moment: qmu.Moment, folder: Path) -> None:
        """Write down where the checkpoint is."""
        self.checkpoints.append(folder)


def main(total_steps: int = 20_000, wanted: float = -200.0) -> qmu.Run:
    """Return a run that ends at `total_steps`, or when both seeds are good enough."""
    watch = Watch()
    run = qmu.train(
        "Pendulum-v1",
        preset="auto",
        seeds=2,
        total_steps=total_steps,
        train={"eval_interval": max(total_steps // 20, 1)},
        callbacks=[watch, GoodEnough(wanted)],
    )
    for step, torques in watch.torques:
        print(f"step {step:,}: torques {', '.join(f'{torque:+.2f}' for torque in torques)}")
    print(run.info.get("stopped", "it came to its last step"), "at step", run.info["steps"])
    print("newest checkpoint:", watch.checkpoints[-1])
    return run


if __name__ == "__main__":
    tyro.cli(main)
