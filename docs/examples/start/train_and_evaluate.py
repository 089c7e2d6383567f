"""
Train a market maker
====================

Train a maker of the dealer market by PPO, draw its learning curve, and compare its PnL with the exact optimum.
"""

import polars as pl

import twosided as ts
from twosided.dealer.plots import figure_epsilon
from twosided.plots import figure_earnings, figure_learning

# %%
# Two makers quote around the midprice of an exchange, and each investor trades with the one that offers the
# better price. The competitor quotes the spread of the exchange on both sides: its ε is 0.

competitor = ts.PersistentQuoter(epsilon_buy=0.0, epsilon_sell=0.0)
scenario = ts.Scenario(ts.DealerMarket(), competitors=(competitor,))
optimum = ts.optimum(scenario)
print(f"supremum of PnL per step: {optimum.value:.3f}")

# %%
# ``train`` trains several seeds side by side, in one compiled program. It calls ``after_chunk`` after each
# chunk of the training.

curves = []


def follow(progress):
    curves.append(pl.DataFrame({"seed": [0, 1], **progress.curve}))


learner = ts.PPO(total_timesteps=150_000, num_envs=32, gamma=0.0)
policies, _ = ts.train(scenario, learner, seed=0, seeds=2, chunks=20, after_chunk=follow)
curve = pl.concat(curves).with_columns(optimality_gap=100 * (1 - pl.col("eval_pnl") / optimum.value))
figure_learning(curve, optimum=optimum.value).show()

# %%
# Evaluate both makers, and a maker that quotes at random, on common random numbers.

makers = {f"seed {seed}": policy for seed, policy in enumerate(policies)}
makers["random"] = ts.RandomQuoter()
records = ts.evaluate(scenario, makers, steps=200_000, optimum=optimum)
frame = ts.to_frame(records).filter(pl.col("maker") == 0)
frame.filter(pl.col("metric").is_in(["pnl_total", "optimality_gap", "market_share"])).select(
    "case", "metric", "value", "error"
)

# %%
# PnL by source. The trained makers earn the spread on nearly all orders and hardly hedge.

figure_earnings(records, list(makers), optimum=optimum.value).show()

# %%
# A maker that undercuts its competitor, with ε below 0, wins every order. The supremum is approached by
# undercutting as little as possible, and is not attained.

figure_epsilon(ts.trace(scenario, policies[0]), optimal_buy=0.0, optimal_sell=0.0).show()

# sphinx_gallery_thumbnail_path = '_static/thumbnails/train_and_evaluate.png'
