"""Readers of files: tables, order books, bars and dates."""
