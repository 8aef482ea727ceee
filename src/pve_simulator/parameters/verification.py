"""Checks values against the description, with Proxmox VE's own texts and all faults in one reply.

The order of checks within a property, and what ends them, follow PVE::JSONSchema.
"""

from __future__ import annotations

import re
from functools import lru_cache
from typing import Any

from pve_simulator.errors import ParameterError
from pve_simulator.parameters.formats import FORMATS, FormatError
from pve_simulator.parameters.propertyformats import WHOLE
from pve_simulator.schema import Method, Property

Errors = dict[str, str]
UNDEFINED = "property is not defined in schema and the schema does not allow additional properties"
MISSING = "property is missing and it is not optional"
TRUE, FALSE = ("1", "yes", "true", "on"), ("0", "no", "false", "off")


def verify(method: Method, values: dict[str, Any]) -> dict[str, Any]:
    """The values with their types: int, bool, float, str, list. Raises ParameterError with every fault."""
    errors: Errors = {}
    typed: dict[str, Any] = {}
    for name, told in method.parameters.items():
        if name not in values and not told.get("optional"):
            errors[name] = MISSING
    for name, value in values.items():
        told = method.parameter(name)
        if told is None:
            add(errors, name, UNDEFINED)
            continue
        value = joined(value, told)
        check(value, told, name, errors)
        requires(told, name, name, values, errors)
        typed[name] = value
    if errors:
        raise ParameterError(errors)
    for name, value in typed.items():
        told = method.parameter(name)
        typed[name] = converted(value, told) if told else value
    return typed


def add(errors: Errors, path: str, text: str) -> None:
    """Adds a fault; several of one parameter are joined as Perl does it, by a backslash and an n."""
    errors[path] = f"{errors[path]}\\n{text}" if path in errors else text


def joined(value: Any, told: Property) -> Any:
    """A list given for a text that is a list itself becomes that text; one value given for a list becomes a list."""
    name = told.get("format")
    if isinstance(value, list) and told.get("type") == "string" and isinstance(name, str) and name.endswith("-list"):
        return ",".join(str(item) for item in value)
    if told.get("type") == "array" and not isinstance(value, (list, dict)) and value is not None:
        return [value]
    return value


def requires(told: Property, name: str, path: str, values: dict[str, Any], errors: Errors) -> None:
    """Adds what a property needs beside it."""
    needed = told.get("requires")
    if isinstance(needed, str) and values.get(needed) is None:
        prefix = path.rpartition(".")[0]
        add(errors, f"{prefix}.{needed}" if prefix else needed, f"missing property required by '{path}'")


def check(value: Any, told: Property, path: str, errors: Errors) -> None:
    """Adds what is wrong with one value; a JSON null is left to the code behind."""
    if value is None or not has_type(value, told.get("type", "string"), path, errors):
        return
    if isinstance(value, list):
        for index, item in enumerate(value):
            check(item, told.get("items", {}), f"{path}[{index}]", errors)
        return
    fault = flaw(value, told, path)
    if fault:
        add(errors, path, fault)


def has_type(value: Any, kind: str, path: str, errors: Errors) -> bool:
    """Whether a value has a type; adds the fault if not."""
    if kind == "array":
        if not isinstance(value, list):
            add(errors, path, "type check ('array') failed")
        return isinstance(value, list)
    if isinstance(value, (list, dict)):
        add(errors, path, f"type check ('{kind}') failed - got {'ARRAY' if isinstance(value, list) else 'HASH'}")
        return False
    text = plain(value)
    fits = {
        "boolean": lambda: isinstance(value, bool) or text in ("0", "1"),
        "integer": lambda: re.fullmatch(r"[+-]?\d+", text),
        "number": lambda: re.fullmatch(r"[+-]?(?:\d+(?:\.\d+)?|\.\d+)(?:[eE][+-]?\d+)?", text),
    }.get(kind)
    if fits is None or fits():
        return True
    add(errors, path, f"type check ('{kind}') failed - got '{text}'")
    return False


def plain(value: Any) -> str:
    """A value as text; JSON's true and false are 1 and 0."""
    return str(int(value)) if isinstance(value, bool) else str(value)


def flaw(value: Any, told: Property, path: str) -> str | None:
    """What is wrong with a value of the right type: the first fault, or None."""
    text = plain(value)
    if "format" in told and (fault := misformed(told["format"], text, path)) is not None:
        return f"invalid format - {fault}\n"
    if "pattern" in told and not compiled(told["pattern"]).fullmatch(text):
        return "value does not match the regex pattern"
    if "maxLength" in told and len(text) > told["maxLength"]:
        return f"value may only be {told['maxLength']} characters long"
    if "minLength" in told and len(text) < told["minLength"]:
        return f"value must be at least {told['minLength']} characters long"
    if re.fullmatch(r"[+-]?\d+(?:\.\d+)?", text):
        if "maximum" in told and float(text) > told["maximum"]:
            return f"value must have a maximum value of {told['maximum']}"
        if "minimum" in told and float(text) < told["minimum"]:
            return f"value must have a minimum value of {told['minimum']}"
    if told.get("enum") and text not in map(str, told["enum"]):
        return f"value '{text}' does not have a value in the enumeration '{', '.join(map(str, told['enum']))}'"
    return None


@lru_cache(1000)
def compiled(pattern: str) -> re.Pattern[str]:
    """A Perl pattern for Python: `(?^i:` is `(?i:`, `(?^:` is `(?:`, anchors at both ends are implied."""
    pattern = pattern.replace("(?^i:", "(?i:").replace("(?^:", "(?:")
    return re.compile(f"(?:{pattern})", re.DOTALL)


def misformed(form: Any, text: str, path: str) -> str | None:
    """The text of a format's refusal without its last newline, or None; an unknown format lets everything pass."""
    if isinstance(form, dict):
        return misformed_property_string(form, text, path)
    checker = FORMATS.get(form)
    if isinstance(checker, dict):
        fault = misformed_property_string(checker, text, path)
        return fault or unfit(form, checker, text)
    if checker is None and form.endswith("-opt"):
        return misformed(form.removesuffix("-opt"), text, path) if text else None
    if checker is None and form.endswith("-list"):
        items = [item for item in re.split(r"[,;\s\0]+", text) if item]
        return next((fault for item in items if (fault := misformed(form[:-5], item, path)) is not None), None)
    if checker is not None:
        try:
            checker(text)
        except FormatError as refusal:
            return str(refusal)
    return None


def unfit(form: str, told: dict[str, Property], text: str) -> str | None:
    """What is wrong with a well-formed property string as a whole, or None."""
    try:
        if form in WHOLE:
            WHOLE[form](parse_property_string(told, text))
    except FormatError as refusal:
        return str(refusal)
    return None


def misformed_property_string(form: dict[str, Property], text: str, path: str) -> str | None:
    """The faults of a property string (`virtio,bridge=vmbr0`), or None."""
    try:
        values = parse_property_string(form, text)
    except FormatError as refusal:
        return str(refusal)
    errors: Errors = {}
    for key, told in form.items():
        if "alias" not in told and key not in values and not told.get("optional"):
            errors[f"{path}.{key}"] = MISSING
    for key, value in values.items():
        told = form.get(key)
        if told is None:
            add(errors, f"{path}.{key}", UNDEFINED)
            continue
        check(value, told, f"{path}.{key}", errors)
        requires(told, key, f"{path}.{key}", values, errors)
    if not errors:
        return None
    return "format error\n" + "\n".join(f"{key}: {fault}" for key, fault in sorted(errors.items()))


def parse_property_string(form: dict[str, Property] | str, text: str) -> dict[str, str]:
    """The members of a property string by name, default key and aliases resolved; texts, booleans as `0` or `1`.

    `form` may be the name of a format. Raises FormatError where the string cannot be split.
    """
    if isinstance(form, str):
        found = FORMATS[form]
        form = found if isinstance(found, dict) else {}
    values: dict[str, str] = {}
    default = next((key for key, told in form.items() if told.get("default_key")), None)
    for part in text.split(","):
        if not part.strip():
            continue
        key, equals, value = part.partition("=")
        if equals and key and value:
            if key in values:
                raise FormatError(f"duplicate key in comma-separated list property: {key}")
            told = form.get(key, {})
            if "alias" in told:
                if "keyAlias" in told:
                    if told["keyAlias"] in values:
                        raise FormatError(f"key alias '{told['keyAlias']}' is already defined")
                    values[told["keyAlias"]] = key
                key = told["alias"]
                told = form.get(key, {})
            if told.get("type") == "boolean":
                value = "1" if value.lower() in TRUE else "0" if value.lower() in FALSE else value
            values[key] = value
        elif not equals:
            if default is None:
                raise FormatError("value without key, but schema does not define a default key")
            if default in values:
                raise FormatError(f"duplicate key in comma-separated list property: {default}")
            values[default] = part
        else:
            raise FormatError("missing key in comma-separated list property")
    return values


def converted(value: Any, told: Property) -> Any:
    """A verified value in its type."""
    if value is None or isinstance(value, list):
        return value
    kind = told.get("type", "string")
    if kind == "integer":
        return int(value)
    if kind == "boolean":
        return value if isinstance(value, bool) else str(value) == "1"
    if kind == "number":
        return float(value)
    return plain(value)
