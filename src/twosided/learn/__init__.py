"""Learners: PPO, SAC and tabular methods. Nothing here knows a market."""
