import path from "node:path";
import type { Area, FileStore, StoredFile } from "../files/file-store.ts";
import { contentTypeOf, normaliseSubfolder, splitAnnotation } from "../files/paths.ts";
import { encodeJpeg } from "../pixels/jpeg.ts";
import { knownPicture } from "../pixels/picture.ts";
import { decodePng, encodePng } from "../pixels/png.ts";
import { encodeWebp } from "../pixels/webp.ts";
import { parseMultipart, type FormPart } from "./multipart.ts";
import { empty, json, serverError, type Reply } from "./reply.ts";
import type { SimRequest } from "./request.ts";

const AREAS: ReadonlySet<string> = new Set(["input", "output", "temp"]);

/** Types that are never shown in a browser. */
const DOWNLOADED: ReadonlySet<string> = new Set(["text/html", "text/javascript", "text/css"]);

/** What may happen to a file between disk and answer. */
export type FileTamper = (file: StoredFile, name: string) => StoredFile | null;

/** `GET /view` (server.py:424, 0.3.64), with Range and ETag as aiohttp's FileResponse has them. */
export function viewFile(files: FileStore, request: SimRequest, tamper: FileTamper): Reply {
  const { query } = request;
  const asked = query.get("filename");
  if (asked === null) return empty(404);
  const { name, area: named } = splitAnnotation(asked);
  if (name === "" || name.startsWith("/") || name.includes("..")) return empty(400);
  const area = named ?? query.get("type") ?? "output";
  if (!AREAS.has(area)) return empty(400);
  const subfolder = normaliseSubfolder(query.get("subfolder") ?? "");
  if (subfolder === null) return empty(403);
  const fileName = path.posix.basename(name);
  const stored = files.read(area as Area, subfolder, fileName);
  const file = stored === null ? null : tamper(stored, fileName);
  if (file === null) return empty(404);
  const disposition = { "Content-Disposition": `filename="${fileName}"` };
  const converted = convert(file, query);
  if (converted !== null) {
    return {
      status: 200,
      headers: { ...disposition, "Content-Type": converted.type },
      body: converted.bytes,
    };
  }
  return fileReply(file, fileName, request.headers, disposition);
}

function convert(
  file: StoredFile,
  query: URLSearchParams,
): { readonly type: string; readonly bytes: Buffer } | null {
  const preview = query.get("preview");
  const channel = query.get("channel");
  if (preview === null && channel !== "rgb" && channel !== "a") return null;
  const png = decodePng(file.bytes);
  if (png === null) return null;
  const picture = knownPicture(png.width, png.height, png.rgb);
  if (preview !== null) {
    const isJpeg = preview.split(";")[0] === "jpeg" && channel?.includes("a") !== true;
    return isJpeg
      ? { type: "image/jpeg", bytes: encodeJpeg(picture) }
      : { type: "image/webp", bytes: encodeWebp(picture) };
  }
  if (channel === "rgb") {
    return { type: "image/png", bytes: encodePng(png.width, png.height, png.rgb) };
  }
  const pixels = new Uint8Array(png.width * png.height * 4);
  for (let i = 0; i < png.width * png.height; i += 1) pixels[i * 4 + 3] = png.alpha?.[i] ?? 255;
  return { type: "image/png", bytes: encodePng(png.width, png.height, pixels) };
}

function fileReply(
  file: StoredFile,
  name: string,
  asked: SimRequest["headers"],
  disposition: Readonly<Record<string, string>>,
): Reply {
  const type = contentTypeOf(name);
  const size = file.bytes.length;
  const stamp = BigInt(Math.round(file.mtimeMs * 1000)) * 1000n;
  const etag = `"${stamp.toString(16)}-${size.toString(16)}"`;
  const headers: Record<string, string> = {
    ...disposition,
    "Content-Type": DOWNLOADED.has(type) ? "application/octet-stream" : type,
    ETag: etag,
    "Last-Modified": new Date(file.mtimeMs).toUTCString(),
  };
  if (asked["if-none-match"] === etag) return { status: 304, headers };
  headers["Accept-Ranges"] = "bytes";
  const range = /^bytes=(\d*)-(\d*)$/.exec(asked.range ?? "");
  if (range === null || (range[1] === "" && range[2] === "")) {
    return { status: 200, headers, body: file.bytes };
  }
  const isSuffix = range[1] === "";
  const first = isSuffix ? Math.max(0, size - Number(range[2])) : Number(range[1]);
  const last = isSuffix || range[2] === "" ? size - 1 : Math.min(size - 1, Number(range[2]));
  if (first >= size || first > last) {
    return { status: 416, headers: { "Content-Range": `bytes */${String(size)}` } };
  }
  headers["Content-Range"] = `bytes ${String(first)}-${String(last)}/${String(size)}`;
  return { status: 206, headers, body: file.bytes.subarray(first, last + 1) };
}

/** `POST /upload/image`: any file is taken, equal bytes under one name once (F18). */
export function uploadImage(files: FileStore, request: SimRequest): Reply {
  return upload(files, request, (part) => part.bytes);
}

/** `POST /upload/mask`: the mask's alpha goes onto the picture it belongs to. */
export function uploadMask(files: FileStore, request: SimRequest): Reply {
  return upload(files, request, (part, fields) => {
    const reference = fields.get("original_ref");
    if (reference === undefined) return null;
    const wanted = JSON.parse(reference) as Readonly<Record<string, string>>;
    const { name, area } = splitAnnotation(wanted["filename"] ?? "");
    const subfolder = normaliseSubfolder(wanted["subfolder"] ?? "") ?? "";
    const original = files.read(area ?? ((wanted["type"] ?? "output") as Area), subfolder, name);
    const base = original === null ? null : decodePng(original.bytes);
    const mask = decodePng(part.bytes);
    if (base === null || mask === null) return part.bytes;
    const pixels = new Uint8Array(base.width * base.height * 4);
    for (let i = 0; i < base.width * base.height; i += 1) {
      pixels.set(base.rgb.subarray(i * 3, i * 3 + 3), i * 4);
      pixels[i * 4 + 3] = mask.alpha?.[i] ?? 255;
    }
    return encodePng(base.width, base.height, pixels, base.texts);
  });
}

function upload(
  files: FileStore,
  request: SimRequest,
  prepare: (part: FormPart, fields: ReadonlyMap<string, string>) => Buffer | null,
): Reply {
  const parts = parseMultipart(request.headers["content-type"], request.body);
  const image = parts.find((part) => part.name === "image" && part.fileName !== null);
  const fields = new Map(
    parts
      .filter((part) => part.fileName === null)
      .map((part) => [part.name, part.bytes.toString("utf8")]),
  );
  const type = fields.get("type") ?? "input";
  if (!AREAS.has(type)) return serverError();
  const fileName = image?.fileName ?? "";
  if (image === undefined || fileName === "") return empty(400);
  const subfolder = fields.get("subfolder") ?? "";
  const target = normaliseSubfolder(path.posix.join(subfolder, fileName));
  if (target === null || path.posix.isAbsolute(subfolder)) return empty(400);
  const folder = path.posix.dirname(target) === "." ? "" : path.posix.dirname(target);
  const overwrite = ["true", "1"].includes(fields.get("overwrite") ?? "");
  const spot = findSpot(
    files,
    type as Area,
    folder,
    path.posix.basename(target),
    image.bytes,
    overwrite,
  );
  if (!spot.isThere) {
    const bytes = prepare(image, fields);
    if (bytes === null) return serverError();
    files.write(type as Area, folder, spot.name, Buffer.from(bytes));
  }
  return json({ name: spot.name, subfolder, type });
}

/** The name a file gets: its own, or `name (1).png` when other bytes have it. */
function findSpot(
  files: FileStore,
  area: Area,
  folder: string,
  name: string,
  bytes: Buffer,
  overwrite: boolean,
): { readonly name: string; readonly isThere: boolean } {
  if (overwrite) return { name, isThere: false };
  const ending = path.posix.extname(name);
  const stem = name.slice(0, name.length - ending.length);
  let candidate = name;
  for (let i = 1; ; i += 1) {
    const there = files.read(area, folder, candidate);
    if (there === null) return { name: candidate, isThere: false };
    if (there.bytes.equals(bytes)) return { name: candidate, isThere: true };
    candidate = `${stem} (${String(i)})${ending}`;
  }
}
