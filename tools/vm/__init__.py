"""The appliance image on an emulated board: `python -m tools.vm build | run | bundle` (docs/image.md).

Everything that is fetched or made lies in build/vm, in folders named after a hash of what went in; nothing of it is in the repository.
"""
