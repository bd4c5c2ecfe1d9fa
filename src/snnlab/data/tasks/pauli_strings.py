"""A Hamiltonian of one's own: a sum of Pauli strings, written as ``["-1 ZZI", "-0.5 XII"]``, one letter a spin."""

from __future__ import annotations

from snnlab.data.loader import Loader
from snnlab.data.tasks.spins import Spins
from snnlab.errors import InputError
from snnlab.questions.hamiltonian import Hamiltonian, Term, summed


class PauliStrings(Spins):
    """A Hamiltonian of one's own.

    Args:
        terms: each a coefficient and a string of I, X, Y, Z, with a space between; the same string adds up.
        train_starts, val_starts, test_starts, start_seed: as of Spins.

    Raises:  InputError: naming the term that cannot be read, and what would do.
    """

    name = "pauli_strings"

    def __init__(
        self,
        loader: Loader,
        terms: list[str] = ["-1 ZZI", "-1 IZZ", "-0.5 XII", "-0.5 IXI", "-0.5 IIX"],  # noqa: B006
        train_starts: int = 10_000,
        val_starts: int = 100,
        test_starts: int = 1000,
        start_seed: int = 0,
    ) -> None:
        self.terms = [read(term) for term in terms]
        super().__init__(loader, train_starts, val_starts, test_starts, start_seed)

    def make(self) -> Hamiltonian:
        return summed(self.terms)


def read(term: str) -> Term:
    """A coefficient and a string of ``"-0.5 XII"``."""
    words = term.split()
    try:
        coefficient, string = float(words[0]), words[1]
        if len(words) != 2:
            raise ValueError
    except (ValueError, IndexError) as error:
        raise InputError(
            f"data.pauli_strings: the term {term!r:.60} must be a number and a string of I, X, Y, Z, as '-0.5 XII'"
        ) from error
    return coefficient, string
