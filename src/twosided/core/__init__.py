"""The protocol and what every market shares: markets, scenarios, rollouts, evaluation, records, files."""
