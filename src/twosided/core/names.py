"""Names as people write them."""

import re


def kebab(name: str) -> str:
    """SizedInvestors, sized_investors and sized-investors are sized-investors; TotalPnL is total-pnl."""
    words = re.sub("(?<=[a-z0-9])(?=[A-Z][a-z]|[A-Z]{2,}$)|(?<=[A-Z])(?=[A-Z][a-z])", "-", name)
    return words.replace("_", "-").lower()
