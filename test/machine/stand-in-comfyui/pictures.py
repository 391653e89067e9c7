"""Pictures and latents: small, real files whose pixels follow from what made them and from nothing else."""

import hashlib
import json
import struct
import zlib


def digest(*parts):
    """A name for everything that went into something."""
    text = json.dumps(parts, sort_keys=True, default=str)
    return hashlib.sha256(text.encode("utf-8")).hexdigest()


class Picture:
    """One picture: a flat colour, or a pattern by a digest."""

    def __init__(self, width, height, color=None, key=None, is_inverted=False):
        self.width = width
        self.height = height
        self.color = color
        self.key = key
        self.is_inverted = is_inverted

    def inverted(self):
        return Picture(self.width, self.height, self.color, self.key, not self.is_inverted)

    def identity(self):
        return [self.width, self.height, self.color, self.key, self.is_inverted]

    def _row(self, y):
        if self.color is not None:
            row = self.color.to_bytes(3, "big") * self.width
        else:
            # Bands of eight rows: a pattern that is cheap in plain Python, and different for each digest.
            tile = hashlib.sha512(f"{self.key}:{y // 8}".encode("utf-8")).digest()[:48]
            row = (tile * (self.width // 16 + 1))[: self.width * 3]
        return bytes(255 - value for value in row) if self.is_inverted else row

    def png(self, texts=()):
        """The file; `texts` are (keyword, text) pairs that go into it, as ComfyUI's workflow does."""
        rows = []
        last_band, row = None, b""
        for y in range(self.height):
            band = 0 if self.color is not None else y // 8
            if band != last_band:
                last_band, row = band, b"\0" + self._row(y)
            rows.append(row)
        head = struct.pack(">IIBBBBB", self.width, self.height, 8, 2, 0, 0, 0)
        chunks = [_chunk(b"IHDR", head)]
        for keyword, text in texts:
            chunks.append(_chunk(b"tEXt", keyword.encode("latin-1") + b"\0" + text.encode("ascii")))
        chunks.append(_chunk(b"IDAT", zlib.compress(b"".join(rows), 4)))
        chunks.append(_chunk(b"IEND", b""))
        return b"\x89PNG\r\n\x1a\n" + b"".join(chunks)


def _chunk(kind, data):
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def picture_of_file(path):
    """A picture that stands for a file: its size, and a pattern by its bytes."""
    with open(path, "rb") as stream:
        content = stream.read()
    width, height = 64, 64
    if content[:8] == b"\x89PNG\r\n\x1a\n" and content[12:16] == b"IHDR":
        width, height = struct.unpack(">II", content[16:24])
    return Picture(width, height, key=hashlib.sha256(content).hexdigest())


class Latent:
    """One latent of a batch."""

    def __init__(self, width, height, key):
        self.width = width
        self.height = height
        self.key = key


def latents_to_bytes(latents, metadata):
    """A safetensors file with a tensor of the true size, and the digests in its metadata."""
    columns, rows = latents[0].width // 8, latents[0].height // 8
    each = 4 * rows * columns * 4
    data = b"".join((bytes.fromhex(one.key) * (each // 32 + 1))[:each] for one in latents)
    keys = json.dumps([[one.width, one.height, one.key] for one in latents])
    about = {
        "__metadata__": {**metadata, "standin": keys},
        "latent_tensor": {"dtype": "F32", "shape": [len(latents), 4, rows, columns], "data_offsets": [0, len(data)]},
    }
    head = json.dumps(about).encode("utf-8")
    return struct.pack("<Q", len(head)) + head + data


def read_header(path, limit=100 * 1024 * 1024):
    """The JSON header of a safetensors file; None for any other file."""
    with open(path, "rb") as stream:
        first = stream.read(8)
        if len(first) < 8:
            return None
        length = struct.unpack("<Q", first)[0]
        if length > limit:
            return None
        try:
            header = json.loads(stream.read(length))
        except ValueError:
            return None
    return header if isinstance(header, dict) else None


def latents_from_file(path):
    """What `latents_to_bytes` wrote; raises ValueError for anything else."""
    keys = ((read_header(path) or {}).get("__metadata__") or {}).get("standin")
    if keys is None:
        raise ValueError(f"{path} is no latent of this stand-in")
    return [Latent(*each) for each in json.loads(keys)]
