"""Dealer market of Ganesh et al. (2019): market, investors, reference book, makers, calibration, exact results."""
