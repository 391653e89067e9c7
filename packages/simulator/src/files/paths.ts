import path from "node:path";
import type { Area } from "./file-store.ts";

/** A file name that may say its folder itself: `name.png [input]` (folder_paths.py, 0.3.64). */
export function splitAnnotation(name: string): {
  readonly name: string;
  readonly area: Area | null;
} {
  for (const area of ["output", "input", "temp"] as const) {
    const mark = `[${area}]`;
    if (name.endsWith(mark)) return { name: name.slice(0, -mark.length - 1), area };
  }
  return { name, area: null };
}

/** Normalises a subfolder; null when it leaves the folder it is meant for. */
export function normaliseSubfolder(subfolder: string): string | null {
  const normal = path.posix.normalize(subfolder.replaceAll("\\", "/"));
  if (normal === "." || normal === "./") return "";
  if (normal === ".." || normal.startsWith("../") || path.posix.isAbsolute(normal)) return null;
  return normal.replace(/\/$/, "");
}

/** Splits a save node's prefix into folder and name, its `%width%`-like words filled in. */
export function splitPrefix(
  prefix: string,
  words: { readonly width: number; readonly height: number; readonly nowMs: number },
): { readonly subfolder: string; readonly name: string } | null {
  const date = new Date(words.nowMs);
  const filled = prefix.includes("%")
    ? prefix
        .replaceAll("%width%", String(words.width))
        .replaceAll("%height%", String(words.height))
        .replaceAll("%year%", String(date.getFullYear()))
        .replaceAll("%month%", two(date.getMonth() + 1))
        .replaceAll("%day%", two(date.getDate()))
        .replaceAll("%hour%", two(date.getHours()))
        .replaceAll("%minute%", two(date.getMinutes()))
        .replaceAll("%second%", two(date.getSeconds()))
    : prefix;
  const normal = path.posix.normalize(filled);
  const folder = path.posix.dirname(normal);
  const subfolder = normaliseSubfolder(folder === "." ? "" : folder);
  return subfolder === null ? null : { subfolder, name: path.posix.basename(normal) };
}

/** MIME type by a file's ending, as Python's `mimetypes` guesses it. */
export function contentTypeOf(name: string): string {
  const types: Readonly<Record<string, string>> = {
    ".png": "image/png",
    ".jpg": "image/jpeg",
    ".jpeg": "image/jpeg",
    ".webp": "image/webp",
    ".gif": "image/gif",
    ".mp4": "video/mp4",
    ".webm": "video/webm",
    ".txt": "text/plain",
    ".json": "application/json",
    ".flac": "audio/flac",
    ".mp3": "audio/mpeg",
    ".wav": "audio/x-wav",
  };
  return types[path.posix.extname(name).toLowerCase()] ?? "application/octet-stream";
}

function two(value: number): string {
  return String(value).padStart(2, "0");
}
