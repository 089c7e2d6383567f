"""What both halves of the study share: makers of two offsets, their learners, and the models that they plan with."""

import dataclasses
import functools
import pickle
from typing import Any

import jax.numpy as jnp
import numpy as np

from twosided.bars.calibrated import heston_bars
from twosided.bars.heston_bars import HestonBars
from twosided.bars.planning import PlanningSAC
from twosided.data.bars import Bars
from twosided.heston.fit import rolling
from twosided.heston.sampler import Sampling
from twosided.learn.sac import SAC

SUBSTEPS = 10
"""Of the model in a bar."""
DRAWS = Sampling(chains=2, warmup=150, draws=200)
"""Of a fit: it is one of many, and only drawn from."""
SETTINGS: dict[str, Any] = {
    "paths": 1,
    "hidden": (64, 64),
    "batch": 128,
    "discount": 0.95,
    "actor_rate": 1e-3,
    "critic_rate": 1e-3,
    "temperature_rate": 1e-3,
}
"""Of all learners. What is decided after a bar shows in a few more, so that looking twenty ahead is enough."""


WARMUP = 64
"""Bars on which a learner only looks around, unless it is said otherwise."""


def learner(bars: int, updates: int, model: HestonBars | None = None, warmup: int = WARMUP) -> SAC:
    """Soft actor-critic on so many bars, its warm-up and last included, and so many gradient steps after each."""
    lived = {"steps": bars - warmup - 1, "warmup": warmup, "updates": updates, "buffer": bars}
    settings: dict[str, Any] = SETTINGS | lived
    if model is None:
        return SAC(**settings)
    return PlanningSAC(**settings, model=model, plan_buffer=20_000)


def fitted(bars: Bars, window: int, block: int, seed: int, years_per_bar: float | None = None) -> HestonBars:
    """What fits of the last `window` bars, one after as many again, knew of the bars that followed.

    Kept for as long as the process lives: models that are made wrong begin with the fits of the one that is not.
    """
    return _fitted(pickle.dumps((bars, window, block, seed, years_per_bar)))


@functools.cache
def _fitted(asked: bytes) -> HestonBars:
    """The same, of what has no hash of its own."""
    bars, window, block, seed, years_per_bar = pickle.loads(asked)
    fits = rolling(bars, window, window, sampling=DRAWS, block=block, years_per_bar=years_per_bar, seed=seed)
    return heston_bars(bars, fits, substeps=SUBSTEPS, seed=seed)


def constant(model: HestonBars) -> HestonBars:
    """The model made wrong: a variance that does not move, of each fit's median level; before the first fit, of the
    last bars' moves, as the model's own."""
    level = jnp.median(model.draws.level, axis=1, keepdims=True)
    draws = dataclasses.replace(
        model.draws,
        level=jnp.broadcast_to(level, model.draws.level.shape),
        reversion=jnp.full_like(model.draws.reversion, 1e-3),
        vol_of_vol=jnp.full_like(model.draws.vol_of_vol, 1e-3),
    )
    volatility = jnp.where(model.fit == 0, model.volatility, jnp.sqrt(level[model.fit, 0]))
    return dataclasses.replace(
        model, draws=draws, volatility=volatility, deviation=jnp.zeros_like(model.deviation)
    )


def doubled(model: HestonBars) -> HestonBars:
    """The model made wrong: twice the variance, in the long run and now."""
    draws = dataclasses.replace(model.draws, level=2 * model.draws.level)
    return dataclasses.replace(
        model,
        draws=draws,
        volatility=np.sqrt(2) * model.volatility,
        deviation=np.sqrt(2) * model.deviation,
    )
