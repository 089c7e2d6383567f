"""Exact answers for the dealer market: best responses, hedging costs, dynamic programming over inventory."""
