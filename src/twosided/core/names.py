"""Names of classes as users type them."""

import re


def kebab(name: str) -> str:
    """Return the kebab-case name: SizedInvestors and sized_investors become sized-investors, TotalPnL total-pnl."""
    words = re.sub("(?<=[a-z0-9])(?=[A-Z][a-z]|[A-Z]{2,}$)|(?<=[A-Z])(?=[A-Z][a-z])", "-", name)
    return words.replace("_", "-").lower()
