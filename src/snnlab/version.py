"""The version of snnlab, by itself: records and exported files carry it."""

__version__ = "0.1.0"
