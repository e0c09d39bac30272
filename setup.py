"""Builds the compiled part: plain C without Python's headers, by the compiler that ziglang's wheel brings (or $CC).

One wheel fits every Python of a platform. BACKUP_WHEEL_TARGET, one of TARGETS, builds for another platform than this
one (`make wheels`); CFLAGS are added. A warning stops nothing, unless CFLAGS says -Werror, as `make setup` does.
"""

from __future__ import annotations

import os
import platform
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

from setuptools import Extension, setup
from setuptools.command.bdist_wheel import bdist_wheel
from setuptools.command.build_ext import build_ext

FLAGS = ("-std=c11", "-O2", "-fPIC", "-shared", "-s", "-Wall", "-Wextra")
TARGETS = {  # as zig calls it: as wheels call it
    "x86_64-linux-gnu.2.28": "manylinux_2_28_x86_64",
    "aarch64-linux-gnu.2.28": "manylinux_2_28_aarch64",
    "x86_64-linux-musl": "musllinux_1_2_x86_64",
    "aarch64-linux-musl": "musllinux_1_2_aarch64",
    "x86_64-macos.11.0": "macosx_11_0_x86_64",
    "aarch64-macos.11.0": "macosx_11_0_arm64",
}


def target() -> str | None:
    """The platform to build for, as zig calls it; None where the compiler decides, for this machine."""
    if wanted := os.environ.get("BACKUP_WHEEL_TARGET"):
        return wanted
    here = f"{platform.machine()}-linux-gnu.2.28"
    zig = find_spec("ziglang") and "CC" not in os.environ
    return here if zig and platform.libc_ver()[0] == "glibc" and here in TARGETS else None


def compiler() -> list[str]:
    """The command that compiles C: $CC, ziglang when it is installed, the system's otherwise."""
    if "CC" in os.environ:
        return os.environ["CC"].split()
    if not find_spec("ziglang"):
        return ["cc"]
    return [sys.executable, "-m", "ziglang", "cc", *(["-target", wanted] if (wanted := target()) else [])]


class BuildPlainC(build_ext):
    """Compiles an extension's sources into one shared library that ctypes loads."""

    def get_ext_filename(self, fullname: str) -> str:
        """Without the tag of a Python version: it needs none."""
        return str(Path(*fullname.split(".")).with_suffix(".so"))

    def build_extension(self, ext: Extension) -> None:
        """Compile `ext` to where setuptools wants it."""
        path = Path(self.get_ext_fullpath(ext.name))
        path.parent.mkdir(parents=True, exist_ok=True)
        cache = Path(self.build_temp).resolve() / "zig"
        environment = {"ZIG_GLOBAL_CACHE_DIR": str(cache), "ZIG_LOCAL_CACHE_DIR": str(cache), **os.environ}
        flags = [*FLAGS, *os.environ.get("CFLAGS", "").split()]
        subprocess.run([*compiler(), *flags, "-o", str(path), *ext.sources], check=True, env=environment)  # noqa: S603  our own command


class PlainWheel(bdist_wheel):
    """A wheel for every Python 3 of its platform."""

    def get_tag(self) -> tuple[str, str, str]:
        """Any Python, no ABI, this platform or the one of BACKUP_WHEEL_TARGET."""
        wanted = target()
        return "py3", "none", TARGETS[wanted] if wanted else super().get_tag()[2]


SOURCES = [f"backup_pipeline/native/{name}.c" for name in ("copy_rows", "csv_rows", "binary_rows", "xlsx_rows")]
setup(
    ext_modules=[Extension("backup_pipeline.native._rows", SOURCES)],
    cmdclass={"build_ext": BuildPlainC, "bdist_wheel": PlainWheel},
)
