"""HTTP/1.1 and WebSocket (RFC 6455), as much of them as ComfyUI's clients use, on asyncio alone."""

import asyncio
import base64
import hashlib
import json
import struct
import traceback
from email.utils import formatdate
from urllib.parse import parse_qs, unquote, urlsplit

HEAD_MAX = 64 * 1024
REASONS = {
    101: "Switching Protocols", 200: "OK", 206: "Partial Content", 304: "Not Modified", 400: "Bad Request",
    403: "Forbidden", 404: "Not Found", 405: "Method Not Allowed", 413: "Request Entity Too Large",
    416: "Range Not Satisfiable", 500: "Internal Server Error",
}
ACCEPT_GUID = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"


class Request:
    def __init__(self, method, target, headers, body):
        self.method, self.headers, self.body = method, headers, body
        parts = urlsplit(target)
        self.path = unquote(parts.path)
        self.query = {name: values[-1] for name, values in parse_qs(parts.query, keep_blank_values=True).items()}

    def json(self):
        return json.loads(self.body)


class Reply:
    def __init__(self, status=200, body=b"", headers=None):
        self.status, self.body, self.headers = status, body, headers or {}


def json_reply(value, status=200):
    return Reply(status, json.dumps(value).encode("utf-8"), {"Content-Type": "application/json; charset=utf-8"})


def text_reply(text, status):
    return Reply(status, text.encode("utf-8"), {"Content-Type": "text/plain; charset=utf-8"})


def server_error():
    return text_reply("500 Internal Server Error\n\nServer got itself in trouble", 500)


async def _read_head(reader):
    """(method, target, headers), or None at the end of the connection."""
    try:
        head = await reader.readuntil(b"\r\n\r\n")
    except (asyncio.IncompleteReadError, asyncio.LimitOverrunError, ConnectionError):
        return None
    lines = head.decode("latin-1").split("\r\n")
    words = lines[0].split(" ")
    if len(words) != 3:
        return None
    headers = {}
    for line in lines[1:]:
        name, colon, value = line.partition(":")
        if colon:
            headers[name.strip().lower()] = value.strip()
    return words[0], words[1], headers


async def _read_body(reader, headers, limit):
    """The body; None when it is longer than the limit."""
    if headers.get("transfer-encoding", "").lower() == "chunked":
        parts, total = [], 0
        while True:
            size = int((await reader.readuntil(b"\r\n")).split(b";")[0], 16)
            total += size
            if total > limit:
                return None
            parts.append((await reader.readexactly(size + 2))[:-2])
            if size == 0:
                return b"".join(parts)
    length = int(headers.get("content-length") or 0)
    if length > limit:
        return None
    return await reader.readexactly(length)


def _encode(reply, method):
    head = [f"HTTP/1.1 {reply.status} {REASONS.get(reply.status, 'Unknown')}"]
    headers = {"Date": formatdate(usegmt=True), "Server": "Python stand-in", **reply.headers}
    if reply.status not in (101, 304):
        headers.setdefault("Content-Length", str(len(reply.body)))
    head.extend(f"{name}: {value}" for name, value in headers.items())
    body = b"" if method == "HEAD" else reply.body
    return ("\r\n".join(head) + "\r\n\r\n").encode("latin-1") + body


class Server:
    """Answers requests with `handle(request)`, and upgrades `/ws` to a Socket for `on_socket`."""

    def __init__(self, handle, on_socket, gate, body_limit):
        self._handle, self._on_socket, self._gate, self._body_limit = handle, on_socket, gate, body_limit

    async def serve(self, reader, writer):
        try:
            while await self._serve_one(reader, writer):
                pass
        except (ConnectionError, asyncio.IncompleteReadError, asyncio.LimitOverrunError, ValueError):
            pass  # The peer went away, or speaks something else.
        except asyncio.CancelledError:
            pass  # The process ends.
        finally:
            writer.close()

    async def _serve_one(self, reader, writer):
        """True when the connection goes on."""
        head = await _read_head(reader)
        if head is None:
            return False
        method, target, headers = head
        if headers.get("expect", "").lower() == "100-continue":
            writer.write(b"HTTP/1.1 100 Continue\r\n\r\n")
        body = await _read_body(reader, headers, self._body_limit)
        await self._gate()
        if body is None:
            writer.write(_encode(Reply(413), method))
            await writer.drain()
            return False
        request = Request(method, target, headers, body)
        if headers.get("upgrade", "").lower() == "websocket" and request.path in ("/ws", "/api/ws"):
            await self._upgrade(request, reader, writer)
            return False
        try:
            reply = self._handle(request)
        except Exception:
            traceback.print_exc()
            reply = server_error()
        writer.write(_encode(reply, method))
        await writer.drain()
        return headers.get("connection", "").lower() != "close"

    async def _upgrade(self, request, reader, writer):
        key = request.headers.get("sec-websocket-key", "").encode("latin-1")
        accept = base64.b64encode(hashlib.sha1(key + ACCEPT_GUID).digest()).decode("latin-1")
        headers = {"Upgrade": "websocket", "Connection": "Upgrade", "Sec-WebSocket-Accept": accept}
        writer.write(_encode(Reply(101, headers=headers), "GET"))
        socket = Socket(reader, writer)
        await self._on_socket(socket, request)


class Socket:
    """One WebSocket: `send` queues a frame, iteration gives what the client says."""

    def __init__(self, reader, writer):
        self._reader, self._writer = reader, writer
        self._is_closed = False

    def send(self, payload):
        """Text for a str, binary for bytes."""
        data = payload.encode("utf-8") if isinstance(payload, str) else payload
        self._write(0x1 if isinstance(payload, str) else 0x2, data)

    def _write(self, opcode, data):
        if self._is_closed or self._writer.is_closing():
            return
        if len(data) < 126:
            head = struct.pack(">BB", 0x80 | opcode, len(data))
        elif len(data) < 65536:
            head = struct.pack(">BBH", 0x80 | opcode, 126, len(data))
        else:
            head = struct.pack(">BBQ", 0x80 | opcode, 127, len(data))
        self._writer.write(head + data)

    async def _frame(self):
        first, second = await self._reader.readexactly(2)
        length = second & 0x7F
        if length == 126:
            length = struct.unpack(">H", await self._reader.readexactly(2))[0]
        elif length == 127:
            length = struct.unpack(">Q", await self._reader.readexactly(8))[0]
        mask = await self._reader.readexactly(4) if second & 0x80 else b"\0\0\0\0"
        data = await self._reader.readexactly(length)
        return first & 0x80, first & 0x0F, bytes(byte ^ mask[i % 4] for i, byte in enumerate(data))

    async def messages(self):
        """Every whole message, as bytes; ends when the client closes, or is gone."""
        parts = b""
        try:
            while True:
                is_last, opcode, data = await self._frame()
                if opcode == 0x8:
                    self._write(0x8, data[:2])
                    self._is_closed = True
                    await self._writer.drain()
                    return
                if opcode == 0x9:
                    self._write(0xA, data)
                elif opcode in (0x0, 0x1, 0x2):
                    parts += data
                    if is_last:
                        message, parts = parts, b""
                        yield message
        except (asyncio.IncompleteReadError, ConnectionError):
            return
