"""Builds the Cython extensions: every `.pyx` below `firmware/dsp`, `firmware/sim` and `firmware/sip`, found by looking, not by listing.

`BRANCHPBX_EXT` restricts the build to a comma list of module names ("firmware.dsp.g711,firmware.dsp.tone"); "none" builds none.
A module is rebuilt when its `.pyx`, a `.pxd` it cimports or a header of `firmware/dsp` changed.
"""

from __future__ import annotations

import os
import platform
from pathlib import Path

from setuptools import Extension, setup

HERE = Path(__file__).resolve().parent
JOBS = 2
FOLDERS = ("firmware/dsp", "firmware/sim", "firmware/sip")
LIBRARIES = {                           # beside libm and librt
    "firmware.dsp.codec": ["opus"], "firmware.dsp.alsa": ["asound"], "firmware.dsp.srtp": ["srtp2"], "firmware.dsp.dtls": ["ssl", "crypto"],
    "firmware.dsp.vault": ["crypto"],
}  # fmt: skip


def compile_flags(machine: str = platform.machine()) -> list[str]:
    """Speed without surprises: no `-ffast-math`, because a filter that saw a NaN must be able to notice it;
    no contraction into fused operations, because ARM and x86 must decide alike."""
    flags = ["-O3", "-fno-math-errno", "-fno-trapping-math", "-ffp-contract=off", "-fvisibility=hidden"]
    # Warnings that only the generated C gives.
    flags += ["-Wall", "-Wno-unused-function", "-Wno-array-bounds", "-Wno-maybe-uninitialized"]
    if machine.startswith("armv7"):
        # NEON has no denormal numbers, so GCC uses it for floats only under "unsafe" mathematics, vector types or not. What else that
        # word stands for (another order of additions, reciprocals instead of divisions) is taken back at once.
        flags += ["-mfpu=neon", "-funsafe-math-optimizations", "-fno-associative-math", "-fno-reciprocal-math", "-fsigned-zeros"]
    return flags


def wanted(module: str) -> bool:
    """True when `BRANCHPBX_EXT` does not leave this module out."""
    chosen = [name.strip() for name in os.environ.get("BRANCHPBX_EXT", "").split(",") if name.strip()]
    return not chosen or module in chosen


def extensions() -> list[Extension]:
    """One extension per `.pyx`."""
    headers = sorted(str(path.relative_to(HERE)) for path in HERE.glob("firmware/dsp/*.h"))
    found = []
    for folder in FOLDERS:
        for source in sorted((HERE / folder).glob("*.pyx")):
            relative = source.relative_to(HERE)
            module = ".".join(relative.with_suffix("").parts)
            if wanted(module):
                found.append(
                    Extension(
                        module,
                        [str(relative)],
                        include_dirs=["firmware/dsp"],
                        depends=headers,
                        extra_compile_args=compile_flags(),
                        libraries=[*LIBRARIES.get(module, ()), "m", "rt"],
                    )
                )
    return found


def cython_modules() -> list[Extension]:
    """The extensions translated to C; an installation without any (`BRANCHPBX_EXT=none`) needs no Cython."""
    found = extensions()
    if not found:
        return []
    from Cython.Build import cythonize

    # Sources that want C division or no negative indexes say so in their own first lines.
    directives = {"language_level": 3, "boundscheck": False, "embedsignature": True}
    workers = JOBS if len(found) > 1 else 0
    options = {"nthreads": workers, "compiler_directives": directives, "include_path": ["firmware/dsp"]}
    modules: list[Extension] = cythonize(found, **options)  # type: ignore[no-untyped-call]
    return modules


if __name__ == "__main__":
    os.chdir(HERE)
    setup(ext_modules=cython_modules(), options={"build_ext": {"parallel": JOBS}})
