"""Our own files and the third-party ones: served under an address that changes with their content, so kept for a year."""

import hashlib
from pathlib import Path

from starlette.middleware.gzip import GZipMiddleware
from starlette.responses import Response
from starlette.staticfiles import StaticFiles
from starlette.types import Scope

FOLDER = Path(__file__).parent / "static"
KEPT = "public, max-age=31536000, immutable"


class KeptFiles(StaticFiles):
    """Static files of one version."""

    async def get_response(self, path: str, scope: Scope) -> Response:
        response = await super().get_response(path, scope)
        if response.status_code == 200:
            response.headers["cache-control"] = KEPT
        return response


class Assets:
    """The address of every file begins with a hash over all of them; relative links inside them (fonts) follow by themselves."""

    def __init__(self, folder: Path = FOLDER) -> None:
        self.folder, self.version = folder, _version(folder)

    @property
    def mount(self) -> str:
        return f"/static/{self.version}"

    def url(self, name: str) -> str:
        return f"{self.mount}/{name}"

    def app(self) -> GZipMiddleware:
        """What answers below `mount`."""
        return GZipMiddleware(KeptFiles(directory=self.folder), minimum_size=1024)


def _version(folder: Path) -> str:
    digest = hashlib.sha256()
    for file in sorted(path for path in folder.rglob("*") if path.is_file()):
        digest.update(str(file.relative_to(folder)).encode() + b"\0" + file.read_bytes())
    return digest.hexdigest()[:12]
