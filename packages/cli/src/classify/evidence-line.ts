import { EVIDENCE_CHANNELS, type EvidenceChannel, type FailureEvidence } from "@holdfast/recovery";

/** Names of channels as collections of logged failures have them. */
const OTHER_CHANNEL_NAMES: Readonly<Record<string, EvidenceChannel>> = {
  execution_error: "execution",
  prompt_400: "validation",
};

/** A line of a collection of failures, or why it is none. */
export type EvidenceLine =
  | { readonly kind: "ok"; readonly id: unknown; readonly evidence: FailureEvidence }
  | { readonly kind: "bad"; readonly message: string };

/**
 * Reads one NDJSON line: `id`, `channel`, `exception_type`, `message`, `node_type`, `traceback_tail`,
 * `http_status`. Fields may be absent or null; others are left alone.
 */
export function parseEvidenceLine(text: string): EvidenceLine {
  let value: unknown;
  try {
    value = JSON.parse(text);
  } catch (error) {
    return { kind: "bad", message: `is not JSON: ${(error as Error).message}` };
  }
  if (typeof value !== "object" || value === null || Array.isArray(value)) {
    return { kind: "bad", message: "is not a JSON object" };
  }
  const line = value as Record<string, unknown>;
  const traceback = toLines(line["traceback_tail"]);
  return {
    kind: "ok",
    id: line["id"] ?? null,
    evidence: {
      channel: toChannel(line["channel"]),
      exceptionType: toText(line["exception_type"]),
      message: toText(line["message"]) ?? "",
      nodeType: toText(line["node_type"]),
      httpStatus: toNumber(line["http_status"]),
      ...(traceback === undefined ? {} : { traceback }),
    },
  };
}

/** The channel of a name; a log line when it is none: what is said there proves the least. */
export function toChannel(name: unknown): EvidenceChannel {
  if (typeof name !== "string") return "log";
  const known = EVIDENCE_CHANNELS.find((channel) => channel === name);
  return known ?? OTHER_CHANNEL_NAMES[name] ?? "log";
}

function toText(value: unknown): string | null {
  return typeof value === "string" ? value : null;
}

function toNumber(value: unknown): number | null {
  const number = typeof value === "string" && value !== "" ? Number(value) : value;
  return typeof number === "number" && Number.isFinite(number) ? number : null;
}

function toLines(value: unknown): readonly string[] | undefined {
  if (typeof value === "string") return value.split("\n");
  return Array.isArray(value) ? value.filter((line) => typeof line === "string") : undefined;
}
