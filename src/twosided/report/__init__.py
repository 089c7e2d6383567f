"""HTML pages from records and figures."""
