"""Draw docs/pictures/: what some equations do, computed by the functions that qmu learns with.

Run `.venv/bin/python docs/make_pictures.py`, with another folder as its argument to draw elsewhere.
"""

import argparse
from collections.abc import Callable
from pathlib import Path

import jax
import jax.numpy as jnp
import matplotlib
import numpy as np

matplotlib.use("Agg")

import matplotlib.pyplot as plt
from matplotlib.figure import Figure

from qmu import config
from qmu.agent import exploration, losses
from qmu.layout import Layout
from qmu.replay import priority, stream
from qmu.rows import Rows

FOLDER = Path(__file__).with_name("pictures")
STYLE = {
    "axes.grid": True,
    "axes.spines.right": False,
    "axes.spines.top": False,
    "figure.constrained_layout.use": True,
    "font.size": 9,
    "grid.alpha": 0.3,
    "legend.frameon": False,
    "lines.linewidth": 1.3,
    # Text stays text, and nothing in a file depends on the moment that it was drawn.
    "svg.fonttype": "none",
    "svg.hashsalt": "qmu",
}


def main() -> None:
    """Draw all pictures."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", nargs="?", type=Path, default=FOLDER)
    folder = parser.parse_args().folder
    folder.mkdir(parents=True, exist_ok=True)
    with plt.rc_context(STYLE):
        for name, draw in PICTURES.items():
            figure = draw()
            figure.savefig(folder / f"{name}.svg", metadata={"Date": None})
            plt.close(figure)


def noise() -> Figure:
    """Return a picture of three noises of one size, and of where a mass goes that they push."""
    steps, started = 400, np.zeros(1, bool)
    kinds = {
        "normal": config.Explore(),
        "OU, Δt = 0.01": config.Explore(noise="ou"),
        "OU, Δt = 1": config.Explore(noise="ou", ou_dt=1.0),
    }
    figure, (left, right) = plt.subplots(1, 2, figsize=(8, 3))
    for color, (name, settings) in enumerate(kinds.items()):
        kind = exploration.NOISES[settings.noise]()
        std = exploration.scales(settings, range(1), 1)
        kind.draw(np.random.default_rng(1), (steps, 1, 1), settings, std)
        values = np.array([kind.at(time, started)[0, 0] for time in range(steps)])
        left.plot(values, label=name, color=f"C{color}", linewidth=1 if color else 0.6)
        right.plot(np.cumsum(values), color=f"C{color}")
    left.set(xlabel="step", ylabel="noise, in half action ranges", title="σ = 0.2, θ = 0.15")
    left.set_ylim(-1.9, 1.1)
    left.legend()
    right.set(xlabel="step", ylabel="sum of the noise", title="where a push of that size leads")
    return figure


def soft_update() -> Figure:
    """Return a picture of targets that follow a weight which has jumped from 0 to 1."""
    updates = np.arange(1_000)
    figure, axes = plt.subplots(figsize=(6, 3))
    for tau, interval in ((0.05, 1), (0.005, 1), (0.001, 1), (1.0, 300)):
        target, path = 0.0, []
        for update in updates:
            path.append(target)
            if (update + 1) % interval == 0:
                target = float(losses.soft_update(target, 1.0, tau))
        label = f"τ = {tau:g}" + (f" every {interval}" if interval > 1 else "")
        axes.plot(updates, path, label=label)
    axes.axhline(0.5, color="gray", linewidth=0.8, linestyle=":")
    axes.set(xlabel="updates after the jump", ylabel="share that the target has taken over")
    axes.legend()
    return figure


def n_step() -> Figure:
    """Return a picture of how far a reward has been heard of after some sweeps of targets."""
    states, gamma = 20, 0.95
    figure, panels = plt.subplots(1, 3, figsize=(8, 2.8), sharey=True)
    exact = gamma ** np.arange(states - 1, -1, -1)
    for panel, steps in zip(panels, (1, 3, 5), strict=True):
        batch = chain(states, steps, gamma)
        value = jnp.zeros(states + 1)
        for sweep in range(1, 5):
            after = batch.next_obs[:, 0].astype(int)
            target = losses.td_target(batch.reward, batch.discount, value[after])
            value = value.at[:states].set(target)
            panel.plot(value[:states], label=f"{sweep}", color=plt.cm.viridis((4 - sweep) / 4))
        panel.plot(exact, color="gray", linestyle=":", label="true")
        panel.set(xlabel="state", title="1 step" if steps == 1 else f"{steps} steps")
    panels[0].set_ylabel("value")
    panels[0].legend(title="sweeps", fontsize=8)
    return figure


def chain(states: int, steps: int, gamma: float) -> stream.Batch:
    """Return every window of an episode whose only reward, 1, comes with its last action."""
    last = np.arange(states + 1) == states
    time = np.arange(states + 1, dtype=np.float32)
    one = (1, 1, states + 2)

    def padded(values: np.ndarray) -> jax.Array:
        return jnp.asarray(np.append(values, values[-1:], axis=0)).reshape(*one, *values.shape[1:])

    rows = Rows(
        obs=padded(time[:, None]),
        action=padded(np.zeros((states + 1, 1), np.float32)),
        reward=padded((time == states - 1).astype(np.float32)),
        terminated=padded(time == states - 1),
        last=padded(last),
        count=jnp.full((1, 1), states + 1),
    )
    filled = stream.append(stream.init_stream(2 * states, 1, 1, Layout(1), 1), rows)
    slot = jnp.arange(states)
    valid = jnp.ones(states, bool)
    return stream.windows(filled, 0, jnp.zeros_like(slot), slot, valid, steps, gamma)


def priorities() -> Figure:
    """Return a picture of how often transitions are drawn, and what each draw then weighs."""
    batch, errors = 4_096, jnp.linspace(0.02, 2.0, 64)
    figure, (left, right) = plt.subplots(1, 2, figsize=(8, 3))
    for color, alpha in enumerate((0.0, 0.6, 1.0)):
        place, _ = priority.draw(renewed(errors, alpha), jax.random.key(0), (batch,))
        drawn = np.bincount(np.asarray(place), minlength=len(errors)) / batch * len(errors)
        left.plot(errors, drawn, ".", color=f"C{color}", markersize=4, label=f"α = {alpha:g}")
    for color, beta in enumerate((0.4, 1.0), start=3):
        place, own = priority.draw(renewed(errors, 0.6), jax.random.key(0), (batch,))
        weight = priority.weights(own, beta)
        seen, first = np.unique(np.asarray(place), return_index=True)
        right.plot(errors[seen], weight[first], color=f"C{color}", label=f"β = {beta:g}")
    left.set(xlabel="|TD error|", ylabel="draws, 1: as if uniform", title="how often it is drawn")
    right.set(xlabel="|TD error|", ylabel="weight in the loss", title="what it weighs, α = 0.6")
    left.legend()
    right.legend()
    return figure


def renewed(errors: jax.Array, alpha: float) -> priority.Priorities:
    """Return one member's priorities of transitions that have had these TD errors."""
    empty = jax.tree.map(lambda leaf: leaf[0], priority.init_priorities(1, len(errors)))
    places = jnp.arange(len(errors))
    # A transition has a priority from its first step on; an error renews it.
    fresh = priority.replaced(empty, places, jnp.ones(len(errors)))
    return priority.renewed(fresh, places, errors, alpha, priority.of_error)


def saturation() -> Figure:
    """Return a picture of the final tanh, and of the gradient that is left beyond its bend."""
    inputs = jnp.linspace(-6.0, 6.0, 241)

    def loss(given: jax.Array, penalty: float) -> jax.Array:
        # A critic that says: one unit less of the action is one unit more of value.
        value, whole = -jnp.tanh(given)[None], jnp.ones(1)
        pulled = losses.preactivation_penalty(given[None, None], whole)
        return losses.actor_loss(value, whole) + penalty * pulled

    figure, (left, right) = plt.subplots(1, 2, figsize=(8, 3))
    left.plot(inputs, jnp.tanh(inputs))
    left.axhspan(0.97, 1.02, color="C3", alpha=0.2)
    left.axhspan(-1.02, -0.97, color="C3", alpha=0.2)
    left.set(xlabel="what the tanh is given, x", ylabel="action", title="beyond 0.97: saturated")
    for penalty in (0.0, 0.01, 0.1):
        slope = jax.vmap(jax.grad(loss), (0, None))(inputs, penalty)
        right.plot(inputs, slope, label=f"λ = {penalty:g}")
    right.axhline(0.0, color="gray", linewidth=0.8)
    right.set(xlabel="x", ylabel="slope of the loss", title="the critic wants less of the action")
    right.legend()
    return figure


PICTURES: dict[str, Callable[[], Figure]] = {
    "noise": noise,
    "soft-update": soft_update,
    "n-step": n_step,
    "priorities": priorities,
    "saturation": saturation,
}

if __name__ == "__main__":
    main()
