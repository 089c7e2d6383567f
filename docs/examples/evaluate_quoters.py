"""
Compare market makers
=====================

Evaluate several policies on common random numbers.
"""

import twosided as ts
from twosided.core.evaluation import trace
from twosided.plots import figure_episode

scenario = ts.Scenario(ts.DealerMarket(), competitors=(ts.PersistentQuoter(epsilon_buy=0.0, epsilon_sell=0.0),))
frame = trace(scenario, ts.RandomQuoter(), paths=1)
frame.head()

# %%
# The figure shows the episode.
print(frame.columns)
figure_episode(frame).show()
