"""The command line: commands, settings, terminal output."""
