"""`/view` and `/upload/image`."""

import mimetypes
import os
import re
from email.utils import formatdate

import folder_paths
from wire import Reply, json_reply

SHOWN_AS_BYTES = {"text/html", "text/html-sandboxed", "application/xhtml+xml", "text/javascript", "text/css"}


def view(request):
    """Any file of the output, temp and input folders (F17), with Range and ETag."""
    name = request.query.get("filename")
    if name is None:
        return Reply(404)
    name, marked = folder_paths.split_annotation(name)
    if name == "" or name.startswith("/") or ".." in name:
        return Reply(400)
    area = marked or request.query.get("type", "output")
    root = folder_paths.get_directory(area) if area in ("output", "input", "temp") else None
    if root is None:
        return Reply(400)
    folder = os.path.join(root, request.query.get("subfolder", ""))
    if not folder_paths.is_inside(root, folder):
        return Reply(403)
    name = os.path.basename(name)
    path = os.path.join(folder, name)
    if not os.path.isfile(path):
        return Reply(404)
    return _send(path, name, request.headers)


def _send(path, name, asked):
    with open(path, "rb") as stream:
        content = stream.read()
        about = os.fstat(stream.fileno())
    kind = mimetypes.guess_type(name)[0] or "application/octet-stream"
    etag = f'"{about.st_mtime_ns:x}-{about.st_size:x}"'
    headers = {
        "Content-Disposition": f'filename="{name}"',
        "Content-Type": "application/octet-stream" if kind in SHOWN_AS_BYTES else kind,
        "ETag": etag,
        "Last-Modified": formatdate(about.st_mtime, usegmt=True),
    }
    if asked.get("if-none-match") == etag:
        return Reply(304, headers=headers)
    headers["Accept-Ranges"] = "bytes"
    found = re.fullmatch(r"bytes=(\d*)-(\d*)", asked.get("range", ""))
    if found is None or found.group(0) == "bytes=-":
        return Reply(200, content, headers)
    first, last = found.groups()
    size = len(content)
    start = max(0, size - int(last)) if first == "" else int(first)
    end = size - 1 if first == "" or last == "" else min(size - 1, int(last))
    if start >= size or start > end:
        return Reply(416, headers={"Content-Range": f"bytes */{size}"})
    headers["Content-Range"] = f"bytes {start}-{end}/{size}"
    return Reply(206, content[start : end + 1], headers)


def _parts(request):
    """Of a form: (name, file name or None, content)."""
    found = re.search(r'boundary="?([^";]+)"?', request.headers.get("content-type", ""))
    if found is None:
        raise ValueError("no multipart form")
    for piece in (b"\r\n" + request.body).split(b"\r\n--" + found.group(1).encode("latin-1"))[1:]:
        head, blank, content = piece.partition(b"\r\n\r\n")
        if not blank:
            continue
        text = head.decode("utf-8")
        name = re.search(r'[; ]name="([^"]*)"', text)
        file_name = re.search(r'filename="([^"]*)"', text)
        yield (name.group(1) if name else ""), (file_name.group(1) if file_name else None), content


def upload(request):
    """Stores any file (F18); equal bytes under one name are stored once."""
    fields, image = {}, None
    for name, file_name, content in _parts(request):
        if name == "image" and file_name is not None:
            image = (file_name, content)
        else:
            fields[name] = content.decode("utf-8")
    area = fields.get("type", "input")
    root = {"input": 1, "output": 1, "temp": 1}[area] and folder_paths.get_directory(area)
    if image is None or image[0] == "":
        return Reply(400)
    subfolder = fields.get("subfolder", "")
    target = os.path.abspath(os.path.join(root, os.path.normpath(subfolder), image[0]))
    if not folder_paths.is_inside(root, target):
        return Reply(400)
    os.makedirs(os.path.dirname(target), exist_ok=True)
    stem, ending = os.path.splitext(target)
    count = 1
    while fields.get("overwrite") not in ("true", "1") and os.path.exists(target):
        with open(target, "rb") as stream:
            if stream.read() == image[1]:
                break
        target = f"{stem} ({count}){ending}"
        count += 1
    with open(target, "wb") as stream:
        stream.write(image[1])
    return json_reply({"name": os.path.basename(target), "subfolder": subfolder, "type": area})
