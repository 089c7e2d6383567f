"""The Heston model: price process, exact moments and Bayesian calibration to bars."""
