"""Learning algorithms: PPO, SAC and tabular methods. This package does not depend on any market."""
