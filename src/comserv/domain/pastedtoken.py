"""A token as people paste it: what Proxmox printed, a header, a line of a script, a field too many or the wrong way round.

Read in good part: only what is really missing is asked for, in words; and what was understood is told.
"""

import json
import re
from dataclasses import dataclass
from typing import Any

from comserv.domain.errors import Invalid
from comserv.domain.server import TokenId, parse_token_id

UUID = r"[0-9a-fA-F]{8}(?:-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}"
_VALUE = re.compile(rf"(?<![0-9a-zA-Z-]){UUID}(?![0-9a-zA-Z-])")
_ID = re.compile(r"[^\s:/|=\"'`,;!{}()<>]{1,60}@[A-Za-z][A-Za-z0-9.\-_]+![A-Za-z][A-Za-z0-9.\-_]*[A-Za-z0-9_]")
_USER = re.compile(r"(?<![^\s\"'`=|])[^\s:/|=\"'`,;!{}()<>]{1,60}@[A-Za-z][A-Za-z0-9.\-_]+(?![\w!.-])")
_COMMAND = re.compile(r"\btoken\s+add\b\s+[\"']?([^\s\"']+@[\w.-]+)[\"']?\s+[\"']?([A-Za-z][\w.-]*)", re.S)
_TICKET = re.compile(r"\bPVE:[^:\s]+@[^:\s]+:[0-9A-Fa-f]{8}::")
_FRAME = "│|┃║"
_RULES = re.compile(r"^[\s\u2500-\u257f+=|-]+$")
_ANSI = re.compile(r"\x1b\[[0-9;]*[A-Za-z]")
_INVISIBLE = re.compile("[\u200b\u200c\u200d\ufeff\u00ad]")


@dataclass(frozen=True)
class PastedToken:
    """token_id: None, value: empty where it was not in what was pasted. how: what it was read from, for people."""

    token_id: TokenId | None = None
    value: str = ""
    how: str = ""

    @property
    def words(self) -> str:
        """What was understood, never the value itself."""
        if not self.token_id and not self.value:
            return ""
        parts = [str(self.token_id)] if self.token_id else []
        parts += ["its value" if self.token_id else "a token's value"] if self.value else []
        return f"Read {' and '.join(parts)}{' from ' + self.how if self.how else ''}."


def read_pasted(text: str) -> PastedToken:
    """Whatever of a token is in the text. Raises Invalid for what is surely something else: a ticket, a token of Proxmox
    Backup Server, several tokens."""
    text = _INVISIBLE.sub("", _ANSI.sub("", text)).replace("\u00a0", " ")
    if _TICKET.search(text):
        raise Invalid(
            fields={
                "token_id": "this is a ticket, which ends after two hours; make a token: pveum user token add USER@REALM NAME",
            }
        )
    if re.search(r"PBSAPIToken|@pbs!", text):
        raise Invalid(fields={"token_id": "this is a token of Proxmox Backup Server; one of Proxmox VE is needed"})
    from_json = _from_json(text)
    if from_json is not None:
        return from_json
    framed = any(mark in text for mark in _FRAME)
    plain = _joined(text) if framed else text
    how = "the table that pveum printed" if framed else "a PVEAPIToken line" if "PVEAPIToken" in plain else ""
    return PastedToken(_one_id(plain), _one_value(plain), how)


def read_token(token_id: str, value: str = "", *, value_needed: bool = True) -> tuple[TokenId, str]:
    """Id and value from two fields, either of which may hold both, or the other's. The value is empty where none was given
    and none is needed. Raises Invalid that says what is missing."""
    pasted = _as_meant(token_id, value) or read_pasted(f"{token_id}\n{value}")
    faults: dict[str, str] = {}
    if pasted.token_id is None:
        faults["token_id"] = _why_no_id(f"{token_id}\n{value}".strip(), token_id)
    if not pasted.value and (value_needed or value.strip()):
        faults["token_secret"] = _why_no_value(f"{token_id}\n{value}")
    if faults or pasted.token_id is None:
        raise Invalid(fields=faults)
    return pasted.token_id, pasted.value


def read_form(pasted: str, token_id: str, value: str) -> tuple[TokenId, str]:
    """From a box for whatever was printed, and two fields that stand in for what it lacks. Raises Invalid."""
    if not pasted.strip():
        return read_token(token_id, value)
    found = read_pasted(pasted)
    if found.token_id is None and not found.value:
        return read_token(pasted)
    return read_token(str(found.token_id or token_id), value or found.value)


def _as_meant(token_id: str, value: str) -> PastedToken | None:
    """Both fields as they should be."""
    if not re.fullmatch(UUID, value.strip()):
        return None
    try:
        return PastedToken(parse_token_id(token_id), value.strip().lower())
    except Invalid:
        return None


def _one_id(text: str) -> TokenId | None:
    found = dict.fromkeys(_ID.findall(text))
    if len(found) > 1:
        raise Invalid(fields={"token_id": f"these are several tokens: {', '.join(found)}; give one"})
    if found:
        return parse_token_id(next(iter(found)))
    return None


def _one_value(text: str) -> str:
    found = list(dict.fromkeys(one.lower() for one in _VALUE.findall(text)))
    if len(found) > 1:
        named = re.search(rf"(?:value|secret|![^=:\s]+[=: ])\W{{0,12}}({UUID})", text, re.I)
        if named is None:
            raise Invalid(fields={"token_secret": "these are several values; give the one that the token line printed"})
        return named[1].lower()
    return found[0] if found else ""


def _joined(text: str) -> str:
    """A table's cells as `key value`, one row a line. A narrow terminal breaks a cell: what stands in a row without a key
    goes on where the row before ended."""
    rows: list[list[str]] = []
    for line in text.splitlines():
        if _RULES.match(line) or not any(mark in line for mark in _FRAME):
            continue
        cells = [cell.strip() for cell in re.split(f"[{_FRAME}]", line)[1:-1]]
        if rows and cells and not cells[0] and len(cells) == len(rows[-1]):
            rows[-1] = [before + cell for before, cell in zip(rows[-1], cells, strict=True)]
        else:
            rows.append(cells)
    outside = [line for line in text.splitlines() if not any(mark in line for mark in _FRAME)]
    return "\n".join([*(" ".join(row) for row in rows), *outside])


def _from_json(text: str) -> PastedToken | None:
    """`--output-format json`, or the API's own reply with `data` around it."""
    start, end = text.find("{"), text.rfind("}")
    if start < 0 or end < start:
        return None
    try:
        told: Any = json.loads(text[start : end + 1])
    except ValueError:
        return None
    told = told.get("data", told) if isinstance(told, dict) else told
    if not isinstance(told, dict) or not isinstance(told.get("full-tokenid"), str):
        return None
    token_id, value = _one_id(told["full-tokenid"]), told.get("value")
    return PastedToken(token_id, _one_value(value) if isinstance(value, str) else "", "the JSON that pveum printed")


def _why_no_id(text: str, given: str) -> str:
    if command := _COMMAND.search(text):
        return f"this is the command; the token is {command[1]}!{command[2]}: run it on the server and paste what it prints"
    if user := _USER.search(text):
        return (
            f"{user[0]} is a user, and a token's id goes on with ! and a name: {user[0]}!manager. "
            f"Make one on the server: pveum user token add {user[0]} manager --privsep 1"
        )
    if _VALUE.search(given):
        return "this is the value; the id looks like comserv@pve!manager"
    if "!" in given and "@" not in given:
        return "the realm is missing: USER@REALM!TOKENID, for example comserv@pve!manager"
    if "@" in given and given.rstrip().endswith("!"):
        return "the token's name is missing after !: USER@REALM!TOKENID"
    try:
        parse_token_id(given)
    except Invalid as error:
        return error.fields["token_id"]
    return "the id is missing: USER@REALM!TOKENID, for example comserv@pve!manager"


def _why_no_value(text: str) -> str:
    if _COMMAND.search(text):
        return "the value is what this command prints; it is shown once"
    if re.search(r"[0-9a-fA-F]{8}-[0-9a-fA-F-]{4,}", text):
        return "the value is cut off or has something added: it is 36 characters, in groups of 8-4-4-4-12"
    return "a token's value is a UUID like 5f0c9d2e-…; it is shown once, when the token is made"
