"""Reproductions of papers: the only place that knows a paper's printed numbers."""
