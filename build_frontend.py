"""Fetches the third-party files of the pages (npm, by the lock file) and lays them in static/vendor when the package is built."""
# Written to be filled by the front end's builder: see hatch's custom build hooks.

from hatchling.builders.hooks.plugin.interface import BuildHookInterface


class FrontendBuildHook(BuildHookInterface):
    """Runs before the wheel, or the editable install, is made."""
