"""The electronic market of Chan and Shelton (2001): market, tabular policies, Markov chain, exact answers."""
