"""Learners and planning models of both parts of the study."""

import dataclasses
import functools
import pickle
from typing import Any

import jax.numpy as jnp
import numpy as np

from twosided.bars.calibrated import heston_bars_from_fits
from twosided.bars.heston_bars import HestonBars
from twosided.bars.planning import PlanningSAC
from twosided.data.bars import Bars
from twosided.heston.fit import rolling_fits
from twosided.heston.sampler import Sampling
from twosided.learn.sac import SAC

SUBSTEPS = 10
"""Steps of the model in a bar."""
DRAWS = Sampling(num_chains=2, num_warmup=150, num_samples=200)
"""Sampler of a fit; short, because there are many fits, and each one only supplies draws."""
SETTINGS: dict[str, Any] = {
    "num_envs": 1,
    "hidden_sizes": (64, 64),
    "batch_size": 128,
    "gamma": 0.95,
    "actor_lr": 1e-3,
    "critic_lr": 1e-3,
    "ent_coef_lr": 1e-3,
}
"""Settings of all learners. The effect of an action lasts a few bars, so an effective horizon of twenty is enough."""
WARMUP = 64
"""Bars of random actions before the training, by default."""


def learner(bars: int, updates: int, model: HestonBars | None = None, warmup: int = WARMUP) -> SAC:
    """Return SAC for a number of bars, warm-up and last bar included, and of gradient steps after each bar."""
    size = {
        "total_timesteps": bars - warmup - 1,
        "learning_starts": warmup,
        "gradient_steps": updates,
        "buffer_size": bars,
    }
    settings: dict[str, Any] = SETTINGS | size
    if model is None:
        return SAC(**settings)
    return PlanningSAC(**settings, model=model, plan_buffer_size=20_000)


def fitted(bars: Bars, window: int, block: int, seed: int, years_per_bar: float | None = None) -> HestonBars:
    """Model of the bars by rolling fits: each of the last `window` bars, for the `window` bars that follow.

    Cached for the life of the process, since misspecified models start from the same fits.
    """
    return _fitted(pickle.dumps((bars, window, block, seed, years_per_bar)))


@functools.cache
def _fitted(arguments: bytes) -> HestonBars:
    """Return the model for pickled arguments, because bars are not hashable."""
    bars, window, block, seed, years_per_bar = pickle.loads(arguments)
    fits = rolling_fits(
        bars, window, window, sampling=DRAWS, block=block, years_per_bar=years_per_bar, seed=seed
    )
    return heston_bars_from_fits(bars, fits, substeps=SUBSTEPS, seed=seed)


def constant(model: HestonBars) -> HestonBars:
    """Misspecified model with a constant variance, the median long-run variance of each fit.

    Before the first fit it is that of the latest bars' moves, as in the model itself.
    """
    long_run_variance = jnp.median(model.draws.long_run_variance, axis=1, keepdims=True)
    draws = dataclasses.replace(
        model.draws,
        long_run_variance=jnp.broadcast_to(long_run_variance, model.draws.long_run_variance.shape),
        mean_reversion=jnp.full_like(model.draws.mean_reversion, 1e-3),
        vol_of_vol=jnp.full_like(model.draws.vol_of_vol, 1e-3),
    )
    volatility = jnp.where(
        model.fit_index == 0, model.volatility, jnp.sqrt(long_run_variance[model.fit_index, 0])
    )
    return dataclasses.replace(
        model, draws=draws, volatility=volatility, volatility_std=jnp.zeros_like(model.volatility_std)
    )


def doubled(model: HestonBars) -> HestonBars:
    """Misspecified model with twice the variance, in the long run and now."""
    draws = dataclasses.replace(model.draws, long_run_variance=2 * model.draws.long_run_variance)
    return dataclasses.replace(
        model,
        draws=draws,
        volatility=np.sqrt(2) * model.volatility,
        volatility_std=np.sqrt(2) * model.volatility_std,
    )


MODEL_LABELS = {
    "none": "SAC",
    "true": "planning, the true model",
    "fitted": "planning, rolling fits",
    "constant": "planning, constant volatility",
    "doubled": "planning, variance doubled",
}
"""Labels of learners, by the model that they plan with."""
