"""The factory test of a board: ordered steps that measure through the drivers, with a fixture on the jacks (L5)."""
