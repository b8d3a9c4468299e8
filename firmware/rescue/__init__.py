"""The rescue program of the appliance: MicroPython, in a small system of its own beside both slots (docs/rescue.md).

It imports only `firmware.wire` and itself, and keeps to the subset of Python that tests/test_rescue_subset.py checks.
"""
