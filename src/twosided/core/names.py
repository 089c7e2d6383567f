"""Names as users type them: kebab-case, and suggestions for unknown names."""

import re
from collections.abc import Sequence
from difflib import get_close_matches


def kebab(name: str) -> str:
    """Return the kebab-case name: SizedInvestors and sized_investors become sized-investors, TotalPnL total-pnl."""
    words = re.sub("(?<=[a-z0-9])(?=[A-Z][a-z]|[A-Z]{2,}$)|(?<=[A-Z])(?=[A-Z][a-z])", "-", name)
    return words.replace("_", "-").lower()


def nearest(word: str, names: Sequence[str]) -> str:
    """Return "; did you mean NAME?" for the closest name, or nothing if none is close."""
    close = get_close_matches(word, names, n=1)
    return f"; did you mean {close[0]}?" if close else ""
