"""Reads `extra_model_paths.yaml`: the part of YAML that such files use, or JSON.

Maps of maps, texts (plain, quoted, or blocks after `|`), true and false, comments. Raises ValueError with the line for anything else.
"""

import json

__version__ = "1.0.0"


def load(text):
    """The file's content: a dict of dicts of texts. None for an empty file."""
    try:
        return json.loads(text)
    except ValueError:
        pass
    lines = text.split("\n")
    found, at = _read_map(lines, 0, 0)
    if at < len(lines):
        raise ValueError(f"line {at + 1}: expected an entry, found {lines[at]!r}")
    return found or None


def _is_blank(line):
    return line.strip() == "" or line.lstrip().startswith("#") or line.strip() == "---"


def _indent(line):
    return len(line) - len(line.lstrip(" "))


def _read_map(lines, at, least):
    found, level = {}, None
    while at < len(lines):
        line = lines[at]
        if _is_blank(line):
            at += 1
            continue
        indent = _indent(line)
        if indent < least:
            break
        if level is None:
            level = indent
        if indent < level:
            break
        if indent > level:
            raise ValueError(f"line {at + 1}: is indented more than the entry before it")
        key, value = _split(line.strip(), at)
        at += 1
        if value[:1] in ("|", ">"):
            text, at = _read_block(lines, at, indent)
            found[key] = text if value[0] == "|" else " ".join(text.split("\n"))
        elif value == "":
            inner, at = _read_map(lines, at, indent + 1)
            found[key] = inner
        else:
            found[key] = _scalar(value, at)
    return found, at


def _split(text, at):
    if text[:1] in ('"', "'"):
        end = _closing(text)
        key, rest = _scalar(text[: end + 1], at), text[end + 1 :].lstrip()
        if not rest.startswith(":"):
            raise ValueError(f"line {at + 1}: expected ':' after {key!r}")
        return key, _without_comment(rest[1:].strip())
    key, colon, value = text.partition(":")
    if not colon or (value != "" and value[0] not in " \t"):
        raise ValueError(f"line {at + 1}: expected 'name: value', found {text!r}")
    return key.strip(), _without_comment(value.strip())


def _closing(text):
    at = 1
    while at < len(text):
        if text[0] == '"' and text[at] == "\\":
            at += 2
            continue
        if text[at] == text[0]:
            if text[0] == "'" and text[at + 1 : at + 2] == "'":
                at += 2
                continue
            return at
        at += 1
    raise ValueError(f"a quote is not closed: {text!r}")


def _without_comment(value):
    if value[:1] in ('"', "'"):
        return value[: _closing(value) + 1]
    if value.startswith("#"):
        return ""
    at = value.find(" #")
    return value if at < 0 else value[:at].rstrip()


def _scalar(value, at):
    if value[0] == '"':
        return json.loads(value)
    if value[0] == "'":
        return value[1:-1].replace("''", "'")
    if value in ("true", "True"):
        return True
    if value in ("false", "False"):
        return False
    if value[0] in "[{&*!":
        raise ValueError(f"line {at}: expected a text, found {value!r}")
    return value


def _read_block(lines, at, outer):
    taken, level = [], None
    while at < len(lines):
        line = lines[at]
        if line.strip() != "":
            if _indent(line) <= outer:
                break
            level = _indent(line) if level is None else level
        taken.append(line[level or 0 :])
        at += 1
    return "\n".join(taken).strip("\n"), at
