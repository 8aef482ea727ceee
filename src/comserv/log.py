"""Structured logs: one event a line with job, server, guest and request ids; text on a terminal, JSON else."""

import logging
import sys
from collections import deque

import structlog

from comserv.domain.printable import printable

_exceptions = structlog.processors.ExceptionRenderer(
    structlog.tracebacks.ExceptionDictTransformer(show_locals=False)  # local variables may hold secrets
)


LINES_KEPT = 3000
_lines: deque[str] = deque(maxlen=LINES_KEPT)


def recent() -> tuple[str, ...]:
    """The last lines of this process's log, each JSON; for bundles."""
    return tuple(_lines)


class _Kept(logging.Handler):
    """Keeps the last lines in memory."""

    def emit(self, record: logging.LogRecord) -> None:
        _lines.append(self.format(record))


def _printable(_logger: object, _name: str, event: structlog.types.EventDict) -> structlog.types.EventDict:
    """Words of servers and people stand in events; a terminal that shows the log must not obey them."""
    return {key: printable(value) if isinstance(value, str) else value for key, value in event.items()}


def configure(level: str = "INFO", form: str = "") -> None:
    """form: `json`, `text`, or empty for what fits standard error."""
    text = form == "text" or (not form and sys.stderr.isatty())
    shared: list[structlog.types.Processor] = [
        structlog.contextvars.merge_contextvars,
        structlog.stdlib.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        structlog.processors.StackInfoRenderer(),
        _printable,
    ]
    render: list[structlog.types.Processor] = (
        [structlog.dev.ConsoleRenderer(exception_formatter=structlog.dev.plain_traceback)]
        if text
        else [_exceptions, structlog.processors.JSONRenderer(ensure_ascii=False)]
    )
    structlog.configure(
        processors=[*shared, structlog.stdlib.ProcessorFormatter.wrap_for_formatter],
        logger_factory=structlog.stdlib.LoggerFactory(),
        wrapper_class=structlog.stdlib.BoundLogger,
        cache_logger_on_first_use=True,
    )
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(_formatter(shared, render))
    root = logging.getLogger()
    kept = _Kept()
    kept.setFormatter(_formatter(shared, [_exceptions, structlog.processors.JSONRenderer(ensure_ascii=False)]))
    root.handlers[:] = [handler, kept]
    root.setLevel(level.upper())
    for noisy in ("uvicorn", "uvicorn.access", "uvicorn.error", "aiosqlite", "asyncio", "alembic"):
        logging.getLogger(noisy).setLevel(logging.WARNING)


def _formatter(
    shared: list[structlog.types.Processor], render: list[structlog.types.Processor]
) -> structlog.stdlib.ProcessorFormatter:
    first = structlog.stdlib.ProcessorFormatter.remove_processors_meta
    return structlog.stdlib.ProcessorFormatter(foreign_pre_chain=shared, processors=[first, *render])
