"""The transverse-field Ising chain.

    H = -J sum_i Z_i Z_{i+1} - h sum_i X_i

J > 0 aligns neighbours; at h = J the infinite chain is critical. h >= 0 leaves no positive element off the diagonal.
Ground-state energies of the ring: -J N at h = 0, -h N at J = 0.
"""

from __future__ import annotations

from snnlab.data.contract import check_range
from snnlab.data.loader import Loader
from snnlab.data.tasks.spins import Spins, check_coupling
from snnlab.questions.hamiltonian import MOST_SPINS, Hamiltonian, bonds, on, summed


class TransverseIsing(Spins):
    """The transverse-field Ising chain.

    Args:
        spins: N, 2 to 14.
        coupling: J.
        field: h.
        periodic: whether the chain is a ring.
        train_starts, val_starts, test_starts, start_seed: as of Spins.

    Raises:  InputError: an argument out of range, or J and h both 0.
    """

    name = "transverse_ising"

    def __init__(
        self,
        loader: Loader,
        spins: int = 4,
        coupling: float = 1.0,
        field: float = 1.0,
        periodic: bool = True,
        train_starts: int = 10_000,
        val_starts: int = 100,
        test_starts: int = 1000,
        start_seed: int = 0,
    ) -> None:
        check_range("data.transverse_ising: spins", spins, 2, MOST_SPINS, "4 to 10 are the paper's")
        check_coupling("data.transverse_ising: coupling", coupling)
        check_coupling("data.transverse_ising: field", field)
        self.spins, self.coupling, self.field, self.periodic = spins, coupling, field, periodic
        super().__init__(loader, train_starts, val_starts, test_starts, start_seed)

    def make(self) -> Hamiltonian:
        ring = [(-self.coupling, on(self.spins, {i: "Z", j: "Z"})) for i, j in bonds(self.spins, self.periodic)]
        return summed([*ring, *((-self.field, on(self.spins, {i: "X"})) for i in range(self.spins))])
