"""Exact results for the dealer market: best responses, hedge costs and dynamic programming over inventory."""
