"""Core: protocols of markets, policies and rewards; scenarios, rollouts, evaluation, records and files."""
