"""The Heston model from bars, by Hamiltonian Monte Carlo.

blocks.py     bars to blocks of returns
law.py        the law of a block: what both likelihoods share; the joint density of returns and variance path
grid.py       the likelihood with the variance integrated out on a grid, with its gradient; today's variance
priors.py     priors, presets of them, and parameters without constraints
sampler.py    NUTS and HMC on several chains at once, and what says whether they agree
fit.py        a calibration from beginning to end, refits that start from the last one, and its files
model.py      what was known after each bar, as bars to plan with
checks.py     simulation-based calibration, recovery of known parameters, posterior predictive checks
"""
