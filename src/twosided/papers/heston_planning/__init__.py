"""Planning with a model of the market (Gore 2025, without printed results): its value in terms of real bars."""
