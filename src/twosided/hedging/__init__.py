"""Hedging of client flow (Bakshaev 2020): one asset, skewed prices, portfolios, the price of risk and exact optima.

market.py          the market of one asset, with or without skew
portfolio.py       the market of a portfolio
clients.py         client trade flow            spreads.py    rolling volatility and stochastic spreads
hedgers.py         policies with fixed rules    rewards.py    position penalties and the price-of-risk reward
exact.py           optimum of one asset by dynamic programming; client_flow.py prepares its inputs
price_of_risk.py   optimum of the price-of-risk reward
least_variance.py  variance-optimal hedges of a portfolio
optimum.py         the optimum as `twosided.optimum` returns it
extras.py          quantities that these markets report in addition
plots.py           figures of an episode
"""
