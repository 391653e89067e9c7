import type { OutputFileRef } from "@holdfast/comfyui/protocol";
import type { CollectedOutput } from "@holdfast/contract";
import { cutToEnd } from "./wire-text.ts";

/** Folder, below ComfyUI's own, that everything of Holdfast's goes to. */
export const HOLDFAST_FOLDER = "holdfast";

/** The prefix that makes an attempt's file names its own, so that no cached file is named (F16). */
export function attemptPrefix(attemptId: string): string {
  return `${HOLDFAST_FOLDER}/${attemptId}`;
}

const MEDIA_TYPES: Readonly<Record<string, string>> = {
  apng: "image/apng",
  avif: "image/avif",
  bmp: "image/bmp",
  exr: "image/x-exr",
  flac: "audio/flac",
  gif: "image/gif",
  glb: "model/gltf-binary",
  jpeg: "image/jpeg",
  jpg: "image/jpeg",
  json: "application/json",
  m4a: "audio/mp4",
  mkv: "video/x-matroska",
  mov: "video/quicktime",
  mp3: "audio/mpeg",
  mp4: "video/mp4",
  ogg: "audio/ogg",
  opus: "audio/opus",
  png: "image/png",
  svg: "image/svg+xml",
  tif: "image/tiff",
  tiff: "image/tiff",
  txt: "text/plain; charset=utf-8",
  wav: "audio/wav",
  webm: "video/webm",
  webp: "image/webp",
};

/** A file's media type by its name; what is not known is bytes. */
export function mediaTypeOf(filename: string): string {
  const extension = filename.slice(filename.lastIndexOf(".") + 1).toLowerCase();
  return Object.hasOwn(MEDIA_TYPES, extension)
    ? (MEDIA_TYPES[extension] ?? "application/octet-stream")
    : "application/octet-stream";
}

/** What sort of output a file is: by its media type first, then by the key it was listed under. */
export function outputKindOf(file: OutputFileRef): CollectedOutput["kind"] {
  if (file.key === "latents" || file.filename.endsWith(".latent")) return "latent";
  const [family] = mediaTypeOf(file.filename).split("/");
  if (family === "image" || family === "video" || family === "audio" || family === "text") {
    return family;
  }
  if (file.key === "images") return "image";
  if (file.key === "gifs" || file.key === "video") return "video";
  return file.key === "audio" ? "audio" : "file";
}

/**
 * The name under which the caller gets a file: folders of the caller's own prefix kept, the
 * attempt's prefix gone. Backslashes of a Windows host become slashes.
 */
export function outputNameOf(file: OutputFileRef, attemptId: string): string {
  const subfolder = file.subfolder.replaceAll("\\", "/");
  const prefix = attemptPrefix(attemptId);
  const own =
    subfolder === prefix
      ? ""
      : subfolder.startsWith(`${prefix}/`)
        ? subfolder.slice(prefix.length + 1)
        : subfolder;
  return cutToEnd(own === "" ? file.filename : `${own}/${file.filename}`, NAME_MAX);
}

/** Whether a file lies in a folder of another attempt: a cache named somebody else's output (F16). */
export function isOfOtherAttempt(file: OutputFileRef, attemptId: string): boolean {
  const subfolder = `${file.subfolder.replaceAll("\\", "/")}/`;
  return (
    file.type === "output" &&
    subfolder.startsWith(`${HOLDFAST_FOLDER}/att_`) &&
    !subfolder.startsWith(`${attemptPrefix(attemptId)}/`)
  );
}

const NAME_MAX = 512;
