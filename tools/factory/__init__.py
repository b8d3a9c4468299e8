"""The factory station (docs/factory.md)."""
