import { asText, isRecord, member, parseJson } from "./json-shape.ts";

/**
 * A binary frame of ComfyUI's socket (protocol.py and server.py, 0.3.64): a big-endian uint32 type,
 * then what the type says. `image` is a view into the frame, not a copy.
 */
export type BinaryFrame =
  | {
      readonly kind: "preview";
      readonly imageType: "jpeg" | "png" | "unknown";
      readonly image: Uint8Array;
      /** Only frames of type 4 (a client that announced `supports_preview_metadata`) say whose. */
      readonly promptId: string | undefined;
      readonly nodeId: string | undefined;
      readonly metadata: Readonly<Record<string, unknown>> | undefined;
    }
  | { readonly kind: "progress_text"; readonly nodeId: string; readonly text: string }
  | { readonly kind: "unknown"; readonly type: number; readonly payload: Uint8Array }
  | { readonly kind: "unparsable"; readonly reason: string };

const PREVIEW = 1;
const TEXT = 3;
const PREVIEW_WITH_METADATA = 4;

/** Reads a binary frame; never throws, whatever the bytes. */
export function parseBinaryFrame(bytes: Uint8Array): BinaryFrame {
  const type = uint32(bytes, 0);
  if (type === undefined) return { kind: "unparsable", reason: "shorter than its type" };
  switch (type) {
    case PREVIEW: {
      const format = uint32(bytes, 4);
      if (format === undefined) return { kind: "unparsable", reason: "preview without a format" };
      return {
        kind: "preview",
        imageType: format === 1 ? "jpeg" : format === 2 ? "png" : "unknown",
        image: bytes.subarray(8),
        promptId: undefined,
        nodeId: undefined,
        metadata: undefined,
      };
    }
    case TEXT: {
      const head = sized(bytes);
      if (head === undefined) return { kind: "unparsable", reason: "text without its node id" };
      return {
        kind: "progress_text",
        nodeId: decodeUtf8(head.head),
        text: decodeUtf8(head.rest),
      };
    }
    case PREVIEW_WITH_METADATA: {
      const parts = sized(bytes);
      const metadata = parts === undefined ? undefined : parseJson(decodeUtf8(parts.head));
      if (parts === undefined || !isRecord(metadata)) {
        return { kind: "unparsable", reason: "preview without its metadata" };
      }
      const mime = asText(member(metadata, "image_type"));
      return {
        kind: "preview",
        imageType: mime === "image/jpeg" ? "jpeg" : mime === "image/png" ? "png" : "unknown",
        image: parts.rest,
        promptId: asText(member(metadata, "prompt_id")),
        nodeId: asText(member(metadata, "node_id")),
        metadata,
      };
    }
    default:
      return { kind: "unknown", type, payload: bytes.subarray(4) };
  }
}

/** The head that a uint32 length at byte 4 announces, and the rest. */
function sized(bytes: Uint8Array): { head: Uint8Array; rest: Uint8Array } | undefined {
  const length = uint32(bytes, 4);
  if (length === undefined || 8 + length > bytes.length) return undefined;
  return { head: bytes.subarray(8, 8 + length), rest: bytes.subarray(8 + length) };
}

function uint32(bytes: Uint8Array, offset: number): number | undefined {
  if (bytes.length < offset + 4) return undefined;
  return new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength).getUint32(offset);
}

/** UTF-8 without the platform's decoder, which pure code cannot name. Wrong bytes become U+FFFD. */
function decodeUtf8(bytes: Uint8Array): string {
  let text = "";
  for (let i = 0; i < bytes.length;) {
    const lead = bytes[i] ?? 0;
    const size = lead < 0x80 ? 1 : lead >= 0xf0 ? 4 : lead >= 0xe0 ? 3 : lead >= 0xc0 ? 2 : 0;
    let point = size === 1 ? lead : lead & (0xff >> (size + 1));
    let isValid = size > 0 && lead < 0xf8 && i + size <= bytes.length;
    for (let k = 1; k < size && isValid; k += 1) {
      const next = bytes[i + k] ?? 0;
      isValid = (next & 0xc0) === 0x80;
      point = (point << 6) | (next & 0x3f);
    }
    isValid &&= point <= 0x10_ffff && (point < 0xd800 || point > 0xdfff);
    text += isValid ? String.fromCodePoint(point) : "\uFFFD";
    i += isValid ? size : 1;
  }
  return text;
}
