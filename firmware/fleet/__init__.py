"""Boxes and their centre: what is signed, and what a box does with it (pure)."""
