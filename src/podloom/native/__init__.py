"""The static C programs of the package (relay/, tools/), compiled by build_native.py."""

from pathlib import Path

from podloom.model.errors import Unsupported


def native_path(name: str) -> Path:
    """The path of the compiled program `name`; raises Unsupported when the package was built without it."""
    path = Path(__file__).parent / name
    if not path.exists():
        raise Unsupported(
            f"program {name}", f"not found at {path}", "run `make install`, which compiles relay/ and tools/"
        )
    return path
