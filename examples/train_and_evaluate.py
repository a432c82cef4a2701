"""Train three seeds, look at their curves, measure the best policy, and use it.

python examples/train_and_evaluate.py --total-steps 10000
"""

import gymnasium as gym
import tyro

import qmu


def main(total_steps: int = 10_000, seeds: int = 3) -> qmu.Run:
    """Return the run of three agents that learn side by side."""
    run = qmu.train(
        "Pendulum-v1",
        seeds=seeds,
        total_steps=total_steps,
        train={"eval_interval": max(total_steps // 5, 1)},
        progress=True,
    )
    run.plot().savefig("pendulum.png")

    # New episodes: neither those that chose the best policy nor those that training saw.
    score = run.evaluate(episodes=20)
    print(f"best policy: {score.mean:.1f} ± {score.std:.1f} over {len(score.rewards)} episodes")

    policy = run.policy()
    world = gym.make("Pendulum-v1")
    observation, _ = world.reset(seed=1)
    total, ended = 0.0, False
    while not ended:
        observation, reward, terminated, truncated, _ = world.step(policy(observation))
        total += float(reward)
        ended = terminated or truncated
    world.close()
    print(f"one episode by hand: {total:.1f}")
    return run


if __name__ == "__main__":
    tyro.cli(main)
