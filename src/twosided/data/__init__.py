"""Readers of files: tables, order books, bars and dates. Only this package parses data files."""
