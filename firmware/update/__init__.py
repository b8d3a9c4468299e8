"""Updates of the box: which bundle may be installed, when the box restarts, when the new version counts as good."""
