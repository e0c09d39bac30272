"""Builds the compiled part: plain C without Python's headers, by the compiler that ziglang's wheel brings (or $CC)."""

from __future__ import annotations

import os
import platform
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

from setuptools import Extension, setup
from setuptools.command.build_ext import build_ext

FLAGS = ("-std=c11", "-O2", "-fPIC", "-shared", "-Wall", "-Wextra", "-Werror")
OLDEST_GLIBC = "2.28"


def compiler() -> list[str]:
    """The command that compiles C: $CC, ziglang when it is installed, the system's otherwise."""
    if "CC" in os.environ:
        return os.environ["CC"].split()
    if not find_spec("ziglang"):
        return ["cc"]
    command = [sys.executable, "-m", "ziglang", "cc"]
    if platform.libc_ver()[0] == "glibc":
        command += ["-target", f"{platform.machine()}-linux-gnu.{OLDEST_GLIBC}"]
    return command


class BuildPlainC(build_ext):
    """Compiles an extension's sources into one shared library that ctypes loads."""

    def build_extension(self, ext: Extension) -> None:
        """Compile `ext` to where setuptools wants it."""
        target = Path(self.get_ext_fullpath(ext.name))
        target.parent.mkdir(parents=True, exist_ok=True)
        cache = Path(self.build_temp).resolve() / "zig"
        environment = {"ZIG_GLOBAL_CACHE_DIR": str(cache), "ZIG_LOCAL_CACHE_DIR": str(cache), **os.environ}
        subprocess.run([*compiler(), *FLAGS, "-o", str(target), *ext.sources], check=True, env=environment)  # noqa: S603  our own command


SOURCES = [f"backup_pipeline/native/{name}.c" for name in ("copy_rows", "csv_rows", "binary_rows")]
setup(ext_modules=[Extension("backup_pipeline.native._rows", SOURCES)], cmdclass={"build_ext": BuildPlainC})
