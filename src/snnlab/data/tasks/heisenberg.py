"""The Heisenberg chain, in Pauli matrices (spins 1/2 have 1/4 of the energy).

    H = J sum_i (X_i X_{i+1} + Y_i Y_{i+1} + delta Z_i Z_{i+1})          J > 0: antiferromagnet
    marshall: every other spin is turned by pi about z,  H' = J sum_i (-X X - Y Y + delta Z Z)        (1)

(1) has the energies of H, and for J > 0 no positive element off the diagonal: a ground state of H has the signs of
Marshall's rule, (-1) to the number of turned spins that are down, and H' has none. It needs two sublattices: a ring of
an even number of spins, or an open chain. The ferromagnet (J < 0) has no positive element without it.
"""

from __future__ import annotations

from snnlab.data.contract import check_range
from snnlab.data.loader import Loader
from snnlab.data.tasks.spins import Spins, check_coupling
from snnlab.errors import InputError
from snnlab.questions.hamiltonian import MOST_SPINS, Hamiltonian, bonds, on, summed


class Heisenberg(Spins):
    """The Heisenberg chain.

    Args:
        spins: N, 2 to 14.
        coupling: J.
        anisotropy: delta; 1 is Heisenberg's, 0 the XX chain.
        periodic: whether the chain is a ring.
        marshall: whether every other spin is turned, (1).
        train_starts, val_starts, test_starts, start_seed: as of Spins.

    Raises:  InputError: an argument out of range, J = 0, or no two sublattices.
    """

    name = "heisenberg"

    def __init__(
        self,
        loader: Loader,
        spins: int = 4,
        coupling: float = 1.0,
        anisotropy: float = 1.0,
        periodic: bool = True,
        marshall: bool = True,
        train_starts: int = 10_000,
        val_starts: int = 100,
        test_starts: int = 1000,
        start_seed: int = 0,
    ) -> None:
        check_range("data.heisenberg: spins", spins, 2, MOST_SPINS, "4 to 10 are usual")
        check_coupling("data.heisenberg: coupling", coupling)
        check_coupling("data.heisenberg: anisotropy", anisotropy)
        if marshall and periodic and spins % 2:
            raise InputError(
                f"data.heisenberg: a ring of {spins} spins has no two sublattices to turn one of; use an even number, "
                "data.periodic=false, or data.marshall=false"
            )
        self.spins, self.coupling, self.anisotropy = spins, coupling, anisotropy
        self.periodic, self.marshall = periodic, marshall
        super().__init__(loader, train_starts, val_starts, test_starts, start_seed)

    def make(self) -> Hamiltonian:
        across = -self.coupling if self.marshall else self.coupling
        strengths = {"X": across, "Y": across, "Z": self.coupling * self.anisotropy}
        pairs = bonds(self.spins, self.periodic)
        return summed([(J, on(self.spins, {i: a, j: a})) for i, j in pairs for a, J in strengths.items()])
