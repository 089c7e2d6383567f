"""Planning with a model of the market (Gore 2025), which printed no result: what it is worth, in real bars."""
