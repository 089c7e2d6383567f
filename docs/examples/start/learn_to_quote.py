"""
Tutorial: a market maker that learns
====================================

From events to a learned policy and to the exact answer, in the smallest market of the project: the electronic
market maker of Chan and Shelton (2001), as in the case study of Phelps (2022). Everything in it can be
inspected, and everything can be checked.
"""

# %%
# The market
# ----------
#
# One event happens at a time. The *fundamental price* p* rises or falls by a tick; an *uninformed* trader
# buys or sells for reasons of its own; or an *informed* trader arrives, who knows p*: it buys if p* is above
# the maker's price, sells if it is below, and otherwise does not trade. The maker has a single price pᵐ at
# which it buys and sells. It does not observe p*. It observes the *imbalance*: the number of buy orders less
# sell orders since it last changed its price. Before each event it may change the price by a tick.

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
# The probabilities of all events must sum to 1: twice 0.2, twice 0.1, and 0.4. A *day* is 150 events. For
# each order that it fills the maker is paid the distance from p* to its price, which is a loss whenever the
# order is informed. With a single price there is no spread to earn: this maker can only lose less.
#
# A policy by hand
# ----------------
#
# The imbalance is informative. If many more traders have bought than sold, p* is probably above the price.
# Therefore raise the price once the imbalance reaches a threshold h, and lower it at -h. A day of the policy
# with h = 2:

day = ts.trace(scenario, ts.ThresholdPolicy(2), seed=0, paths=1)
prices = day.unpivot(["mid", "bid"], index="time", variable_name="price", value_name="ticks")
names = {"mid": "fundamental price p*", "bid": "maker’s price pᵐ"}
prices = prices.with_columns(pl.col("price").replace(names))
figure_lines(prices, "time", {"ticks": "price, ticks"}, "price", x_title="event").show()

# %%
# The maker follows a price that it cannot see, from the orders that it receives.
#
# What is the policy worth?
# -------------------------
#
# Simulate many days and take the mean. Days are independent of each other, which gives the standard error.

thresholds = {f"h = {h}": ts.ThresholdPolicy(h) for h in (1, 2, 3)}
records = ts.evaluate(scenario, thresholds, seed=0, steps=150 * 2000)
for name in thresholds:
    reward = find(records, name, "reward")
    print(f"{name}: {reward.value:.3f} ± {reward.error:.3f} ticks per step")

# %%
# That is Monte Carlo evaluation. Four times as many days halve the error. But this market is small enough to
# need no sampling at all. Only the distance p* − pᵐ and the imbalance matter, and both are integers: the
# market is a Markov chain of a few thousand states, and values are sums.

chain = electronic_chain(market, horizon=150)
exact = {h: day_value(chain, ts.ThresholdPolicy(h)) for h in (1, 2, 3)}
for h, answer in exact.items():
    print(f"h = {h}: {answer.value:.5f}")
assert [round(answer.value, 5) for answer in exact.values()] == [-0.43658, -0.53502, -0.68557]

# %%
# The first threshold is the best of the three. The case study sampled −0.436, −0.542 and −0.678.
#
# What is an action worth?
# ------------------------
#
# Group the steps by observation and action: Q(s, a) is the mean reward of the steps in which the maker
# observed the imbalance s and chose the change a. A policy that never tries an action cannot estimate its
# value, so this one explores: now and then it draws any change. Sampled and exact values agree:

exploring, cells = ts.ThresholdPolicy(2, epsilon=0.1), ts.ImbalanceCells(2)
sampled = monte_carlo_action_values(scenario, exploring, cells, num_episodes=2000)
known = state_action_values(chain, exploring, cells)
assert (abs(sampled.values - known) < 5 * sampled.errors).all()
figure_table(known, cells.labels, ("lower", "stay", "raise"), "Q(s, a), ticks per step").show()

# %%
# The best change of each row is framed. At imbalance 0 all three pay the same on the next step. Choosing the
# best change instead of the policy's is *policy improvement*, and repeating it is policy iteration. The
# theorem that policy iteration converges to an optimal policy assumes that the cells are states of a Markov
# decision process. The imbalance is not: what an imbalance of 1 implies about p* depends on what the maker
# has been doing. Here policy iteration cycles if it starts from a bad policy:


def values(policy):
    return state_action_values(chain, policy, cells)


always_raise = np.full(cells.size, 2)
print(policy_iteration(values, cells, quote_changes(), first=always_raise))

# %%
# Learning while trading
# ----------------------
#
# SARSA evaluates and improves at once. After every step it moves one entry of the table Q(s, a) towards the
# reward plus the value of the action that it takes next. It acts greedily with respect to the table, and
# explores with a small probability. Eight learners train side by side, in one compiled program. An arrow
# shows the change of the price at each imbalance:

policies, progress = ts.train(scenario, ts.SARSA(total_timesteps=150 * 2000), seed=0, seeds=8)
figure_arrows(np.asarray(policies[0].table), (-1, 0, 1), cells.labels, "imbalance").show()

# %%
# A table can be evaluated exactly, so no simulation is needed:

for policy in policies:
    print(round(day_value(chain, policy).value, 5))

# %%
# The optimum
# -----------
#
# There are 3⁵ = 243 deterministic tables for the five cells. The chain evaluates them all:

best = best_table(chain)
print([int(change) for change in best.changes], round(best.value.value, 5))
assert abs(best.value.value - exact[1].value) < 1e-6

# %%
# No table beats threshold 1. Tables that differ from it only at imbalances that it never reaches tie with it.
# And if the maker observed p*?

informed = full_information(chain)
print(f"observing p* is worth {informed.value - best.value.value:.5f} ticks per step")

# %%
# A maker that observes p* sets its price to it and loses nothing. The cost of informed traders is the cost of
# not knowing p*.
#
# Where to go on
# --------------
#
# ``twosided reproduce phelps2022`` runs the whole case study: five thousand days for each of seven ways of
# learning, markets in which a threshold of 2 or 3 is better than 1, a maker that adapts when the market
# changes, and Chan and Shelton's market of a bid and an ask, in which the maker chooses the spread. See
# :doc:`/papers/phelps2022`.

# sphinx_gallery_thumbnail_path = '_static/thumbnails/learn_to_quote.png'
