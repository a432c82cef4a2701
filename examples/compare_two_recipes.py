"""Two recipes over several seeds: which one is better, and how sure is that?

python examples/compare_two_recipes.py --total-steps 10000 --seeds 5
"""

import numpy as np
import tyro

import qmu


def main(total_steps: int = 10_000, seeds: int = 5) -> dict[str, qmu.Run]:
    """Return a run of each recipe. `qmu study` does this for more recipes and worlds."""
    runs = {}
    for recipe in ("default", "td3"):
        runs[recipe] = qmu.train(
            "Pendulum-v1",
            preset=recipe,
            seeds=seeds,
            total_steps=total_steps,
            explore={"start_steps": total_steps // 5},
            train={"eval_interval": max(total_steps // 5, 1)},
            log={"name": recipe},
        )
        runs[recipe].plot().savefig(f"{recipe}.png")
        scores = [member["final_mean_reward"] for member in runs[recipe].info["members"]]
        print(
            f"{recipe:8} {np.mean(scores):8.1f}  worst {min(scores):8.1f}  best {max(scores):8.1f}"
        )
    # Intervals, and the probability that one beats the other.
    print("qmu compare", *(run.directory for run in runs.values()))
    return runs


if __name__ == "__main__":
    tyro.cli(main)
