"""``python -m snnlab``: see train.py."""

import sys

from snnlab.train import main

sys.exit(main())
