/** Log files as they go out: text as `tail` prints it, or JSON. */
import { basename } from "node:path";
import { StringDecoder } from "node:string_decoder";
import { toInstant } from "./answers.ts";
import type { LogPiece } from "./log-follow.ts";
import type { LogTail } from "./log-tail.ts";
import type { LogLine, LogsAnswer } from "./model.ts";

/** The end of one file. */
export interface FileTail {
  readonly path: string;
  readonly tail: LogTail;
}

const NEWLINE = Buffer.from("\n");
/** A line that grows beyond this without an end is told in parts. */
const LINE_MAX_CHARS = 64 * 1024;

/** The tails as JSON. */
export function tailsAsJson(service: string, tails: readonly FileTail[]): LogsAnswer {
  return {
    service,
    files: tails.map(({ path, tail }) => ({
      file: basename(path),
      sizeBytes: tail.sizeBytes,
      modifiedAt: toInstant(tail.modifiedAt),
      isTruncated: tail.isTruncated,
      lines: toLines(tail.bytes),
    })),
  };
}

/** Turns pieces of files into what is written to the client. */
export interface LogFormatter {
  piece(piece: LogPiece): Buffer;
}

/** As `tail` does it: the bytes as they are, and a head whenever they are of another file than before. */
export function createTextFormatter(hasHeads: boolean): LogFormatter {
  let last: string | undefined;
  let endsLine = true;
  return {
    piece({ path, bytes }) {
      if (bytes.length === 0) return bytes;
      const parts: Buffer[] = [];
      if (hasHeads && path !== last) {
        if (!endsLine) parts.push(NEWLINE);
        const blank = last === undefined ? "" : "\n";
        parts.push(Buffer.from(`${blank}==> ${basename(path)} <==\n`));
      }
      last = path;
      endsLine = bytes.at(-1) === NEWLINE[0];
      return Buffer.concat([...parts, bytes]);
    },
  };
}

/** One JSON object a line; a line that has not ended yet waits for its end. */
export function createJsonFormatter(): LogFormatter {
  const open = new Map<string, { readonly decoder: StringDecoder; text: string }>();
  return {
    piece({ path, bytes }) {
      const state = open.get(path) ?? { decoder: new StringDecoder("utf8"), text: "" };
      open.set(path, state);
      const lines = `${state.text}${state.decoder.write(bytes)}`.split("\n");
      state.text = lines.pop() ?? "";
      if (state.text.length > LINE_MAX_CHARS) {
        lines.push(state.text);
        state.text = "";
      }
      const file = basename(path);
      return Buffer.from(
        lines.map((line) => `${JSON.stringify(toLogLine(file, line))}\n`).join(""),
      );
    },
  };
}

function toLogLine(file: string, line: string): LogLine {
  return { file, line: line.endsWith("\r") ? line.slice(0, -1) : line };
}

function toLines(bytes: Buffer): string[] {
  if (bytes.length === 0) return [];
  const lines = bytes.toString("utf8").split("\n");
  if (lines.at(-1) === "") lines.pop();
  return lines.map((line) => (line.endsWith("\r") ? line.slice(0, -1) : line));
}
