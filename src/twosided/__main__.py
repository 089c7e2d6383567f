"""python -m twosided"""

from twosided.cli.main import main

main()
