"""Training runs: settings, training, evaluation, files, resuming, provenance."""
