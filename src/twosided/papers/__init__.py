"""Reproductions of papers. A paper's printed numbers and units are only here."""
