"""A dealer that hedges client flow (Bakshaev 2020): one asset, skew, portfolios, the price of risk, exact answers."""
