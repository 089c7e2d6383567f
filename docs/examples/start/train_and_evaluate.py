"""
Train a market maker
====================

Train a maker of the dealer market by PPO, follow its learning curve, and compare what it earns with the exact
optimum.
"""

import polars as pl

import twosided as ts
from twosided.dealer.plots import figure_epsilon
from twosided.plots import figure_earnings, figure_learning

# %%
# Two makers quote around the midprice of an exchange, and each investor trades with the one that has the
# better price. The competitor quotes the spread of the exchange on both sides: its ε is 0.

competitor = ts.PersistentQuoter(epsilon_buy=0.0, epsilon_sell=0.0)
scenario = ts.Scenario(ts.DealerMarket(), competitors=(competitor,))
optimum = ts.optimum(scenario)
print(f"supremum of PnL per step: {optimum.value:.3f}")

# %%
# ``train`` trains several seeds at once, in one compiled program. ``after_chunk`` receives the progress.

curves = []


def follow(progress):
    curves.append(pl.DataFrame({"seed": [0, 1], **progress.curve}))


learner = ts.PPO(total_timesteps=500_000, gamma=0.0)
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
# PnL by source. The trained makers earn the spread on nearly all orders and do not pay for hedges.

figure_earnings(records, list(makers), optimum=optimum.value).show()

# %%
# The supremum is not attained: a maker has to undercut its competitor by as little as possible. Quotes below
# 0 win every order.

figure_epsilon(ts.trace(scenario, policies[0]), optimal_buy=0.0, optimal_sell=0.0).show()

# sphinx_gallery_thumbnail_path = '_static/thumbnails/train_and_evaluate.png'
