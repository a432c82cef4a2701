#!/usr/bin/env bash
# sbx-rl 0.28.0: DDPG and TD3 take a schedule as learning rate and never follow it.
#
# Expected: with a schedule that is 0 from the middle on, weights stand still in the second half, as in
# Stable-Baselines3 2.9.2 and in SBX's own SAC.
# Seen: in SBX's DDPG and TD3 they go on. The schedule is only asked for its first value, without a word.
#
# It matters in comparisons: a decaying learning rate is a constant one there.
set -euo pipefail

folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"
"${PYTHON:-python3}" -m venv env
env/bin/python -m pip install --quiet torch==2.13.0 sbx-rl==0.28.0 stable_baselines3==2.9.2 gymnasium==1.4.0 jax==0.10.2 jaxlib==0.10.2 flax==0.12.8 optax==0.2.8 numpy==2.4.6

export JAX_PLATFORMS=cpu
env/bin/python - >seen <<'END'
import jax
import numpy as np
import sbx
import stable_baselines3
from stable_baselines3.common.callbacks import BaseCallback

STEPS = 200


class Weights(BaseCallback):
    """Keeps the actor's weights of every step."""

    def __init__(self, read):
        super().__init__()
        self.read, self.seen = read, []

    def _on_step(self):
        self.seen.append(np.concatenate([np.array(leaf).ravel() for leaf in self.read(self.model)]))
        return True


def of_jax(model):
    return jax.tree.leaves(model.policy.actor_state.params)


def of_torch(model):
    return [weight.detach().numpy() for weight in model.actor.parameters()]


def moves(algorithm, read):
    """Return whether weights move where the schedule says 0."""
    model = algorithm(
        "MlpPolicy", "Pendulum-v1", learning_rate=lambda left: 1e-3 if left > 0.5 else 0.0,
        learning_starts=10, batch_size=16, seed=0, device="cpu",
    )
    weights = Weights(read)
    model.learn(STEPS, callback=weights)
    assert np.any(weights.seen[20] != weights.seen[80])
    return bool(np.any(weights.seen[-1] != weights.seen[STEPS // 2 + 10]))


print("sbx", sbx.__version__, "and stable_baselines3", stable_baselines3.__version__)
print("expected: weights stand still while the learning rate is 0")
for name, algorithm, read in (
    ("SBX's DDPG", sbx.DDPG, of_jax),
    ("SBX's TD3", sbx.TD3, of_jax),
    ("SBX's SAC", sbx.SAC, of_jax),
    ("SB3's DDPG", stable_baselines3.DDPG, of_torch),
):
    print(f"seen, {name}: they {'move' if moves(algorithm, read) else 'stand still'}")
END
cat seen
diff seen - <<'END'
sbx 0.28.0 and stable_baselines3 2.9.2
expected: weights stand still while the learning rate is 0
seen, SBX's DDPG: they move
seen, SBX's TD3: they move
seen, SBX's SAC: they stand still
seen, SB3's DDPG: they stand still
END
