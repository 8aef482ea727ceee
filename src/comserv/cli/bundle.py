"""Bundles for a report: written to a file, by default into this folder."""

from pathlib import Path
from typing import Annotated

import typer

from comserv.cli.client import Client, speak
from comserv.cli.exits import CommandError
from comserv.cli.output import say

Output = Annotated[Path | None, typer.Option("--output", "-o", help="Where to write it; left away: into this folder.")]
Anonymous = Annotated[bool, typer.Option("--anonymous", help="Names, addresses and people as words like guest-3.")]


def write_bundle(path: str, output: Path | None, anonymous: bool) -> None:
    """path: of what it is about, `/jobs/…` or `/servers/…`. Raises CommandError where it cannot be written."""

    async def work(client: Client) -> tuple[str, bytes]:
        return await client.file(f"{path}/bundle", anonymous="true" if anonymous else "false")

    name, content = speak(work)
    target = output or Path(name)
    try:
        target.write_bytes(content)
    except OSError as error:
        raise CommandError(f"{target} cannot be written.", str(error)) from None
    say(f"{target} ({len(content) // 1024 + 1} KiB). Look through it before you send it.")
