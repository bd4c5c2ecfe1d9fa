"""Readout of spike-based backpropagation: integrates, leaks, never fires; the leak has derivative 1.

    v[t] = decay (v[t-1] + current[t])      (1) v[-1] = 0; the leak comes last
    dv[t]/dcurrent[k] = 1 for k <= t        (2) straight through, where (1) has decay^(t-k+1)

Source:  Lee et al. 2020, doi 10.3389/fnins.2020.00119, authors' code.
"""

from __future__ import annotations

from torch import Tensor

from snnlab.neurons.integrator import Integrator, IntegratorState
from snnlab.neurons.leak_corrected_lif import StraightThrough
from snnlab.neurons.neuron import check_state
from snnlab.neurons.response import Response, one_exponential


class StraightThroughIntegrator(Integrator):
    """Equation (1) with gradient (2); arguments and shapes as Integrator's."""

    def step(self, current: Tensor, state: IntegratorState) -> tuple[Tensor, IntegratorState]:
        check_state("StraightThroughIntegrator", state.v, current)
        v = StraightThrough.apply(state.v + current, self.decay)  # (1), (2)
        return v, IntegratorState(v=v)

    def response(self) -> Response:
        """eps[t] = decay^(t + 1): what comes in leaks at once."""
        return one_exponential("StraightThroughIntegrator", self.decay, self.decay, None)
