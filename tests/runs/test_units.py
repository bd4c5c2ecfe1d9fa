"""Figures as a person reads them."""

import pytest

from snnlab.runs.units import shown, with_unit


@pytest.mark.parametrize(
    ("name", "number", "text"),
    [
        ("energy_joule", 4.84e-08, "48.4 nJ"),
        ("energy_joule", 9.9996e-10, "1 nJ"),
        ("ann_energy_joule", 0.0012, "1.2 mJ"),
        ("energy_joule", 3e-20, "3e-05 fJ"),
        ("energy_joule", 0.0, "0 J"),
        ("energy_delay_joule_seconds", 4.2e-9, "4.2 nJ s"),
        ("energy_delay_joule_steps", 4.2e-6, "4.2 uJ steps"),
        ("spikes_per_inference", 12345.6, "12.3 k spikes"),
        ("spikes_per_inference", 249.91, "250 spikes"),
        ("spikes_per_inference", 0.05, "0.05 spikes"),
        ("synaptic_operations", 1270060719.25, "1.27 G operations"),
        ("dense_operations", 999_600.0, "1 M operations"),
        ("multiply_accumulates", 999.4, "999 MACs"),
        ("ann_multiply_accumulates", 25408.0, "25.4 k MACs"),
        ("accumulates", 5e15, "5000 T ACs"),
        ("membrane_updates", 2660.0, "2.66 k updates"),
        ("memory_bytes/weights", 76840.0, "76.8 kB"),
        ("memory_bytes/spikes", 34.0, "34 B"),
        ("accuracy", 0.98765, "0.9877"),
        ("rate", 1.25e-6, "1.25e-06"),
        ("other", 1234.4, "1,234"),
    ],
)
def test_a_figure_has_the_unit_that_its_name_tells(name, number, text):
    assert shown(name, number) == text


def test_a_spread_has_the_prefix_of_its_mean():
    assert with_unit(4.84e-8, "J", 7.07e-10) == "48.4 ± 0.707 nJ"
    assert with_unit(76840.0, "B", 0.0) == "76.8 ± 0 kB" and with_unit(float("nan"), "J") == "nan J"
