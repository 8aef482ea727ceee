"""The picture of a console: its text drawn in a small font, with a cursor that blinks."""

from __future__ import annotations

from functools import lru_cache

from pve_simulator.consoles.shell import COLUMNS, ROWS, Shell
from pve_simulator.tables import rows

CELL_WIDTH, CELL_HEIGHT = 8, 16
WIDTH, HEIGHT = COLUMNS * CELL_WIDTH, ROWS * CELL_HEIGHT
LIGHT, DARK = b"\xaa\xaa\xaa\x00", b"\x00\x00\x00\x00"  # pixels: blue, green, red, unused
TOP, LEFT = 1, 1  # pixels around a letter, whose dots are two pixels high


def picture(shell: Shell, blink: bool) -> list[bytes]:
    """The lines of the screen, each as a strip of pixels, four bytes each."""
    shown = [line[at : at + COLUMNS] for line in shell.lines for at in range(0, max(1, len(line)), COLUMNS)][-ROWS:]
    strips = [strip(line + ("\x7f" if blink and number == len(shown) - 1 else "")) for number, line in enumerate(shown)]
    return strips + [strip("")] * (ROWS - len(strips))


@lru_cache(512)
def strip(text: str) -> bytes:
    """A line of text as pixels, row after row."""
    letters = [glyph(letter) for letter in text[:COLUMNS].ljust(COLUMNS)]
    return b"".join(letter[row] for row in range(CELL_HEIGHT) for letter in letters)


@lru_cache(256)
def glyph(letter: str) -> list[bytes]:
    """A letter as rows of pixels; `\\x7f` is the cursor."""
    if letter == "\x7f":
        return [LIGHT * CELL_WIDTH] * CELL_HEIGHT
    columns = font().get(letter, font()["?"])
    drawn = []
    for y in range(CELL_HEIGHT):
        dot = (y - TOP) // 2
        lit = [dot in range(7) and LEFT <= x < LEFT + 5 and columns[x - LEFT] >> dot & 1 for x in range(CELL_WIDTH)]
        drawn.append(b"".join(LIGHT if on else DARK for on in lit))
    return drawn


@lru_cache(1)
def font() -> dict[str, bytes]:
    """Five columns of seven dots for each letter, the lowest bit on top."""
    return {row["letter"]: bytes.fromhex(row["columns"]) for row in rows("font")}
