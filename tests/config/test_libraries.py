"""Loading torch and lightning quickly leaves the interpreter as a plain import would."""

import subprocess
import sys

LOOK = """
import gc, sys
from snnlab.config import libraries
libraries.load()
assert gc.isenabled() and "lightning" in sys.modules and "scipy.signal" not in sys.modules
import scipy.signal
assert scipy.signal.convolve([1, 2], [1, 1]).tolist() == [1, 3, 2]
frozen = gc.get_freeze_count()
libraries.load()
assert gc.get_freeze_count() == frozen > 0
"""

USED_MEANWHILE = """
import sys
from snnlab.config.libraries import StandIn
sys.modules["scipy.signal"] = StandIn("scipy.signal")
from scipy.signal import convolve
assert convolve([1, 2], [1, 1]).tolist() == [1, 3, 2] and not isinstance(sys.modules["scipy.signal"], StandIn)
"""


def output(code: str) -> str:
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    return done.stdout + done.stderr


def test_what_was_held_back_is_there_and_the_collector_runs():
    assert output(LOOK) == ""


def test_a_module_held_back_is_imported_once_it_is_used():
    assert output(USED_MEANWHILE) == ""


INTERRUPTED = """
import importlib, sys
from snnlab.config import libraries
def stop(name):
    raise KeyboardInterrupt
libraries.importlib = type("Stub", (), {"import_module": staticmethod(stop)})
try:
    libraries.load()
except KeyboardInterrupt:
    assert "scipy.signal" not in sys.modules
    import scipy.signal.windows
else:
    raise AssertionError
"""


def test_an_import_that_is_interrupted_leaves_nothing_in_its_place():
    assert output(INTERRUPTED) == ""
