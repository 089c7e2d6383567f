"""Limit orders around a midprice: market, fill models, closed-form quotes, calibration, exact answers."""
