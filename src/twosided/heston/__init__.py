"""The Heston model: price process, exact moments, Bayesian calibration from bars."""
