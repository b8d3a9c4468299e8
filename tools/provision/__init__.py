"""The host tool that sets branch boxes up over their serial line: `python -m tools.provision --help`."""
