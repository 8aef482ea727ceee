"""The endpoints, one module per part of the API."""

from __future__ import annotations

import importlib
import pkgutil


def load() -> None:
    """Imports every module here, so that its endpoints are registered."""
    for module in pkgutil.iter_modules(__path__):
        importlib.import_module(f"{__name__}.{module.name}")
