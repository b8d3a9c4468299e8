"""Codecs of the serial line that the rescue program shares: a subset of Python that MicroPython runs unchanged (L0)."""
