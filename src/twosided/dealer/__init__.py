"""The dealer market of Ganesh et al. (2019): market, investors, reference book, makers, calibration and exact results."""
