"""Reinforcement-learning market making: simulate two-sided markets, train makers, measure how far from the best.

The public names stand in `__init__.pyi`. Each is loaded when it is first used, so that the command line's help
does not wait for JAX. `gymnasium.make` knows "twosided/Dealer-v0" from here on.
"""

import lazy_loader

from twosided.adapters.registration import register_with_gymnasium

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
register_with_gymnasium()
