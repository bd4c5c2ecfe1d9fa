"""A Hamiltonian of N spins 1/2 as a sum of Pauli strings, its matrix elements, and its ground-state energy.

    H = sum over terms of coefficient * P,  P a string of I, X, Y, Z, one letter a spin
    v in {0, 1}^N   a basis state, number sum_i v_i 2^i;  s_i = 1 - 2 v_i is the eigenvalue of Z_i        (1)
    <v|P|v'> = prod_{Z} s_i prod_{Y} (-i s_i)  where v' is v with the spins of X and Y flipped, else 0     (2)

It is stoquastic in this basis where no element off the diagonal is positive; then a ground state has no negative
amplitude (Perron, Frobenius), and psi(v) = sqrt(p(v)) can be one.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from snnlab.errors import InputError

MOST_SPINS = 14  # 2^N states are gone through one by one
MOST_ELEMENTS = 2**24  # that are kept
DENSE = 256  # states, up to which the matrix is written out
LEAST = 1e-12  # of an element that counts as positive, beside the largest coefficient

Term = tuple[float, str]


@dataclass(frozen=True)
class Hamiltonian:
    """H, see the docstring of this file.

    Args:
        terms: coefficients and strings, all strings of one length N, 2 to 14.

    Raises:
        InputError: naming the term, and what would do.
    """

    terms: tuple[Term, ...]

    def __post_init__(self) -> None:
        if not self.terms:
            raise InputError("Hamiltonian: terms = [] leaves no energy to be found; ['-1 ZZ', '-0.5 XI'] is one")
        for coefficient, string in self.terms:
            named = f"Hamiltonian: the term {coefficient:g} {string}"
            if not string or set(string) - set("IXYZ"):
                raise InputError(f"{named} must be a string of I, X, Y and Z, one letter for each spin")
            if len(string) != self.spins:
                raise InputError(f"{named} is of {len(string)} spins, and {self.terms[0][1]} of {self.spins}")
            if not math.isfinite(coefficient) or abs(coefficient) > 1e6:
                raise InputError(f"{named} must have a finite coefficient of at most 1e6")
            if string.count("Y") % 2:
                raise InputError(
                    f"{named} has an odd number of Y, so imaginary elements, and the states here are real; turn the "
                    "spins until there is an even number"
                )
        if not 2 <= self.spins <= MOST_SPINS:
            raise InputError(f"Hamiltonian: {self.spins} spins, and there may be 2 to {MOST_SPINS}")
        if (size := len({flipped(string) for _, string in self.terms}) * 2**self.spins) > MOST_ELEMENTS:
            raise InputError(
                f"Hamiltonian: {size:,} matrix elements are more than the {MOST_ELEMENTS:,} that are kept; take fewer "
                "spins, or terms that flip the same ones"
            )

    @property
    def spins(self) -> int:
        """N."""
        return len(self.terms[0][1])

    @cached_property
    def states(self) -> np.ndarray:
        """Every basis state v [2^N, N] in the order of its number, (1)."""
        return np.arange(2**self.spins)[:, None] >> np.arange(self.spins) & 1

    @cached_property
    def elements(self) -> dict[int, np.ndarray]:
        """By the spins that are flipped, as the bits of a number: <v|H|v'> [2^N] for each v, (2); 0: the diagonal."""
        signs, found = 1.0 - 2.0 * self.states, {0: np.zeros(2**self.spins)}
        for coefficient, string in self.terms:
            of_sign = [i for i, letter in enumerate(string) if letter in "YZ"]
            values = coefficient * (-1.0) ** (string.count("Y") // 2) * signs[:, of_sign].prod(1)
            flips = flipped(string)
            found[flips] = found.get(flips, 0.0) + values
        return found

    def check_stoquastic(self) -> None:
        """Refuse a Hamiltonian with a positive element off the diagonal.

        Raises:
            InputError: naming two states and their element.
        """
        least = LEAST * max(abs(coefficient) for coefficient, _ in self.terms)
        for flips, values in self.elements.items():
            if flips and values.max() > least:
                state = int(values.argmax())
                raise InputError(
                    f"Hamiltonian: <{self.ket(state)}|H|{self.ket(state ^ flips)}> = {values.max():g} is positive, so "
                    "its ground state may have signs, and psi(v) = sqrt(p(v)) has none; turn the spins of a sublattice "
                    "(data.marshall=true of an antiferromagnet on two sublattices), or change the signs of X"
                )

    def ket(self, state: int) -> str:
        """A basis state as the letters v_0 v_1 ..."""
        return "".join(map(str, self.states[state]))

    def matrix(self) -> Any:
        """H [2^N, 2^N], sparse."""
        from scipy.sparse import coo_matrix

        rows = np.arange(2**self.spins)
        values = np.concatenate(list(self.elements.values()))
        columns = np.concatenate([rows ^ flips for flips in self.elements])
        return coo_matrix((values, (np.tile(rows, len(self.elements)), columns))).tocsr()

    @cached_property
    def ground(self) -> tuple[float, np.ndarray]:
        """E_0 and a state [2^N] that has it; of several any one."""
        if 2**self.spins <= DENSE:
            energies, states = np.linalg.eigh(self.matrix().toarray())
        else:
            from scipy.sparse.linalg import eigsh

            start = np.random.default_rng(0).random(2**self.spins)
            energies, states = eigsh(self.matrix(), k=1, which="SA", v0=start, tol=1e-12)
        return float(energies[0]), states[:, 0]


def flipped(string: str) -> int:
    """The spins that a Pauli string flips, as the bits of a number."""
    return sum(1 << i for i, letter in enumerate(string) if letter in "XY")


def on(spins: int, letters: dict[int, str]) -> str:
    """The Pauli string with these letters at these spins, I elsewhere."""
    return "".join(letters.get(i, "I") for i in range(spins))


def summed(terms: list[Term]) -> Hamiltonian:
    """The Hamiltonian of some terms, those of the same string added, in order; what adds up to 0 is left out."""
    found: dict[str, float] = {}
    for coefficient, string in terms:
        found[string] = found.get(string, 0.0) + coefficient
    kept = tuple((coefficient, string) for string, coefficient in found.items() if coefficient)
    return Hamiltonian(kept)


def bonds(spins: int, periodic: bool) -> list[tuple[int, int]]:
    """Neighbours i, i + 1 of a chain; of a ring the last and the first as well."""
    return [(i, (i + 1) % spins) for i in range(spins if periodic else spins - 1)]
