"""Takes the library along where HOGMESH_LIB names it; the wheel is this machine's then, and otherwise looks for an installed one."""
import os
import pathlib
import shutil

from setuptools import setup
from setuptools.command.build_py import build_py
from setuptools.dist import Distribution

LIBRARY = os.environ.get('HOGMESH_LIB')


class WithLibrary(build_py):
    def run(self):
        super().run()
        if LIBRARY:
            shutil.copy2(pathlib.Path(LIBRARY).resolve(strict=True), pathlib.Path(self.build_lib) / 'hogmesh' / 'libhogmesh.so.0')


class OfThisMachine(Distribution):
    def has_ext_modules(self):
        return bool(LIBRARY)


options = {}
if LIBRARY:
    try:
        from wheel.bdist_wheel import bdist_wheel

        class AnyPython(bdist_wheel):
            """Of any Python 3, on this machine's kind."""

            def get_tag(self):
                return 'py3', 'none', super().get_tag()[2]

        options['bdist_wheel'] = AnyPython
    except ImportError:
        pass
setup(cmdclass={'build_py': WithLibrary, **options}, distclass=OfThisMachine)
