"""``python -m snnlab``: see train.py."""

from snnlab.train import main

main()
