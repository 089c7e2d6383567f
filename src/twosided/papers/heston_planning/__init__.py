"""Planning with a model of the market (Gore 2025, which prints no results): its value in real bars."""
