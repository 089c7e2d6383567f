"""Reproductions of papers. Only this package contains the printed numbers and the units of papers."""
