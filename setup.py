"""What pyproject.toml cannot say: a built package has the workflow inside (see drdc/runtime/project.py)."""

from pathlib import Path

from setuptools import setup
from setuptools.command.build_py import build_py

#: These lie next to the package in a checkout.
PARTS = ("Snakefile", "config", "profiles", "workflow")


class WithWorkflow(build_py):
    """Copies the parts to drdc/project; an editable installation finds them where they are."""

    def run(self) -> None:
        super().run()
        if self.editable_mode:
            return
        paths = [path for part in PARTS for path in (Path(part), *Path(part).rglob("*"))]
        for file in filter(Path.is_file, paths):
            copy = Path(self.build_lib, "drdc/project", file)
            copy.parent.mkdir(parents=True, exist_ok=True)
            self.copy_file(str(file), str(copy))


setup(cmdclass={"build_py": WithWorkflow})
