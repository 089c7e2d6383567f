"""Environment adapters: Gymnasium and PettingZoo."""
