"""Limit and market orders on OHLC bars: market, bar sources, exact quotes, planning with a model of the price."""
