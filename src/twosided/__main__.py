"""python -m twosided"""

from twosided.cli import main

main()
