"""Search: many runs that are fitted and validated, never tested, over a space that is told beforehand."""
