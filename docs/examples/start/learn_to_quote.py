"""
Tutorial: a market maker that learns
====================================

This tutorial leads from single events to a learned policy and the exact optimum. It uses the smallest market of
the project, the electronic market of Chan and Shelton (2001), as in the case study of Phelps (2022). Every result
can be checked exactly.
"""

# %%
# The market
# ----------
#
# One event happens at a time:
#
# - The *fundamental price* p* rises or falls by a tick.
# - An *uninformed* trader buys or sells, independently of p*.
# - An *informed* trader, who knows p*, arrives. The trader buys if p* is above the maker's price, sells if it is
#   below, and otherwise does not trade.
#
# The maker buys and sells at a single price pᵐ. It does not observe p*. It observes the *imbalance*: the number
# of buy orders less the number of sell orders since it last changed its price. Before each event it may change
# its price by a tick.

import numpy as np
import polars as pl

import twosided as ts
from twosided.core.records import find
from twosided.electronic.chain import electronic_chain
from twosided.electronic.exact import best_table, day_value, full_information, state_action_values
from twosided.electronic.policies import quote_changes
from twosided.learn.monte_carlo import monte_carlo_action_values
from twosided.learn.policy_iteration import policy_iteration
from twosided.plots import figure_arrows, figure_lines, figure_table

market = ts.ElectronicMarket(price_change=0.2, uninformed=0.1, informed=0.4)
scenario = ts.Scenario(market, competitors=(), reward=ts.SpreadPnL(), horizon=150)

# %%
# The probabilities of all events sum to 1: twice 0.2, twice 0.1, and 0.4. A *day* is 150 events. For each order
# that it fills, the maker earns the distance between p* and its price, which is a loss if the order is informed.
# With a single price there is no spread to earn, so the best maker is the one that loses least.
#
# A hand-written policy
# ---------------------
#
# The imbalance is informative: if many more traders have bought than sold, p* is probably above the maker's
# price. The policy therefore raises the price when the imbalance reaches a threshold h, and lowers it at -h. The
# figure shows a day of the policy with h = 2.

day = ts.trace(scenario, ts.ThresholdPolicy(2), seed=0, paths=1)
prices = day.unpivot(["mid", "bid"], index="time", variable_name="price", value_name="ticks")
names = {"mid": "fundamental price p*", "bid": "maker’s price pᵐ"}
prices = prices.with_columns(pl.col("price").replace(names))
figure_lines(prices, "time", {"ticks": "price, ticks"}, "price", x_title="event").show()

# %%
# The maker follows a price that it does not observe, using only the orders that it receives.
#
# The value of a policy
# ---------------------
#
# Monte Carlo evaluation simulates many days and takes the mean. Days are independent of each other, so the
# standard error follows from their variance.

thresholds = {f"h = {h}": ts.ThresholdPolicy(h) for h in (1, 2, 3)}
records = ts.evaluate(scenario, thresholds, seed=0, steps=150 * 2000)
for name in thresholds:
    reward = find(records, name, "reward")
    print(f"{name}: {reward.value:.3f} ± {reward.error:.3f} ticks per step")

# %%
# Four times as many days halve the error. This market, however, is small enough for exact values. Its state
# consists of the distance p* − pᵐ and the imbalance. Both are integers, so the market is a Markov chain of a few
# thousand states, and values are sums over them.

chain = electronic_chain(market, horizon=150)
exact = {h: day_value(chain, ts.ThresholdPolicy(h)) for h in (1, 2, 3)}
for h, answer in exact.items():
    print(f"h = {h}: {answer.value:.5f}")
assert [round(answer.value, 5) for answer in exact.values()] == [-0.43658, -0.53502, -0.68557]

# %%
# The first threshold is the best of the three. The sampled values in the case study are −0.436, −0.542 and
# −0.678.
#
# The value of an action
# ----------------------
#
# Group the steps by observation and action: Q(s, a) is the mean reward of the steps in which the maker observed
# the imbalance s and chose the change a. The value of an action that a policy never takes cannot be estimated.
# The policy below therefore explores: with a probability of 0.1 it draws a random change. Sampled and exact
# values agree:

exploring, cells = ts.ThresholdPolicy(2, epsilon=0.1), ts.ImbalanceCells(2)
sampled = monte_carlo_action_values(scenario, exploring, cells, num_episodes=2000)
known = state_action_values(chain, exploring, cells)
assert (abs(sampled.values - known) < 5 * sampled.errors).all()
figure_table(known, cells.labels, ("lower", "stay", "raise"), "Q(s, a), ticks per step").show()

# %%
# The best change of each row is framed. At imbalance 0 all three have the same reward in the next step. Choosing
# the best change instead of the policy's own is *policy improvement*, and repeating it is *policy iteration*.
# Policy iteration converges to an optimal policy if the cells are the states of a Markov decision process. Cells
# of the imbalance are not, because the information about p* in an imbalance of 1 depends on the maker's earlier
# actions. Here policy iteration cycles if it starts from a bad policy:


def values(policy):
    return state_action_values(chain, policy, cells)


always_raise = np.full(cells.size, 2)
print(policy_iteration(values, cells, quote_changes(), first=always_raise))

# %%
# Learning while trading
# ----------------------
#
# SARSA evaluates and improves a policy at the same time. After every step it moves one entry of the table Q(s, a)
# towards the reward plus the discounted value of the next action. It acts greedily with respect to the table,
# and explores with a small probability. Eight learners train side by side, in one compiled program. The arrows
# show the change of the price at each imbalance, for the first learner:

policies, progress = ts.train(scenario, ts.SARSA(total_timesteps=150 * 2000), seed=0, seeds=8)
figure_arrows(np.asarray(policies[0].table), (-1, 0, 1), cells.labels, "imbalance").show()

# %%
# The values of the eight tables are exact, without simulation:

for policy in policies:
    print(round(day_value(chain, policy).value, 5))

# %%
# The optimum
# -----------
#
# There are 3⁵ = 243 deterministic tables for the five cells. The best one is found by evaluating all of them:

best = best_table(chain)
print([int(change) for change in best.changes], round(best.value.value, 5))
assert abs(best.value.value - exact[1].value) < 1e-6

# %%
# No table is better than threshold 1. Tables that differ from it only at imbalances that it never reaches have the
# same value. The next value is that of a maker that observes p*:

informed = full_information(chain)
print(f"observing p* is worth {informed.value - best.value.value:.5f} ticks per step")

# %%
# A maker that observes p* sets its price to p* and loses nothing. The loss to informed traders is therefore the
# cost of not knowing p*.
#
# Next steps
# ----------
#
# ``twosided reproduce phelps2022`` runs the whole case study. It trains several learning algorithms on five
# thousand days each, and a maker that adapts when the market changes. It also covers the market with a bid and
# an ask, in which the maker chooses the spread. See :doc:`/papers/phelps2022`.

# sphinx_gallery_thumbnail_path = '_static/thumbnails/learn_to_quote.png'
