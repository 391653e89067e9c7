/**
 * The machine's log of transitions on the disk: NDJSON, bounded in size, so that what happened before
 * the agent was started again can still be read. Losing a line of it harms nobody, and a full disk
 * must not harm the services: writing is done behind, and its failures are logged only.
 */
import { appendFile, mkdir, open, rename, rm, stat, writeFile } from "node:fs/promises";
import { dirname } from "node:path";
import type { AgentLog } from "@holdfast/agent";
import { z } from "zod";
import { SERVICE_STATES } from "./model.ts";
import { TRANSITIONS_PER_SERVICE, type ServiceTransitionEntry } from "./transition-history.ts";

/** Where transitions are kept across restarts. */
export interface TransitionJournal {
  /** What was found when it was opened, oldest first. */
  readonly restored: readonly ServiceTransitionEntry[];
  /** Has it written soon. */
  append(entry: ServiceTransitionEntry): void;
  /** Resolves when all that was appended is written, or could not be. */
  flush(): Promise<void>;
}

/** How to open a journal. */
export interface JournalOptions {
  readonly file: string;
  readonly log: AgentLog;
  /** The file is made smaller when it would grow beyond. */
  readonly maxBytes?: number;
}

const DEFAULT_MAX_BYTES = 1024 * 1024;
/** Entries that wait while the disk takes none; the oldest go first. */
const PENDING_MAX = 1_000;

const state = z.enum(SERVICE_STATES);
const entrySchema = z.object({
  service: z.string().min(1).max(256),
  at: z.number(),
  from: state.nullable(),
  to: state,
  reason: z.string().max(2_000),
});

/** Opens a journal, made when it is missing. One that cannot be read begins empty: never throws. */
export async function openTransitionJournal(options: JournalOptions): Promise<TransitionJournal> {
  const { file, log } = options;
  const maxBytes = options.maxBytes ?? DEFAULT_MAX_BYTES;
  let restored: readonly ServiceTransitionEntry[] = [];
  try {
    await mkdir(dirname(file), { recursive: true });
    restored = keepLast(parseEntries(await readEnd(file, maxBytes)), maxBytes);
  } catch (err) {
    log.warn({ err, file }, "transition log cannot be read, beginning anew");
  }
  return { restored, ...createWriter(file, log, maxBytes) };
}

function createWriter(
  file: string,
  log: AgentLog,
  maxBytes: number,
): Pick<TransitionJournal, "append" | "flush"> {
  let pending: ServiceTransitionEntry[] = [];
  let writing: Promise<void> | undefined;
  // A crash or a full disk may have left half a line: the next one must not be glued to it.
  let mayBeTorn = true;
  let isFailing = false;
  const writeBatch = async (batch: readonly ServiceTransitionEntry[]): Promise<void> => {
    const text = `${mayBeTorn ? "\n" : ""}${toLines(batch)}`;
    if ((await sizeOf(file)) + Buffer.byteLength(text) > maxBytes) {
      await rewrite(file, [...parseEntries(await readEnd(file, maxBytes)), ...batch], maxBytes);
    } else await appendFile(file, text, { mode: 0o600 });
  };
  const drain = async (): Promise<void> => {
    while (pending.length > 0) {
      const batch = pending;
      pending = [];
      try {
        await writeBatch(batch);
        mayBeTorn = false;
        isFailing = false;
      } catch (err) {
        mayBeTorn = true;
        pending = [...batch, ...pending].slice(-PENDING_MAX);
        // Once a time of trouble; tried again with the next transition.
        if (!isFailing) log.warn({ err, file }, "transition log cannot be written");
        isFailing = true;
        return;
      }
    }
  };
  const begin = (): Promise<void> =>
    (writing ??= drain().finally(() => {
      writing = undefined;
    }));
  return {
    append(entry) {
      pending = [...pending, entry].slice(-PENDING_MAX);
      void begin();
    },
    flush: begin,
  };
}

/** The last entries of each service, and of those the last ones that fit into half the size. */
function keepLast(
  entries: readonly ServiceTransitionEntry[],
  maxBytes: number,
): readonly ServiceTransitionEntry[] {
  const counts = new Map<string, number>();
  const kept: ServiceTransitionEntry[] = [];
  let bytes = 0;
  for (const entry of entries.toReversed()) {
    const count = (counts.get(entry.service) ?? 0) + 1;
    if (count > TRANSITIONS_PER_SERVICE) continue;
    bytes += Buffer.byteLength(toLines([entry]));
    // Half: the file is not made smaller again at the very next transition.
    if (bytes > maxBytes / 2) break;
    counts.set(entry.service, count);
    kept.push(entry);
  }
  return kept.toReversed();
}

async function rewrite(
  file: string,
  entries: readonly ServiceTransitionEntry[],
  maxBytes: number,
): Promise<void> {
  const next = `${file}.${process.pid}.next`;
  try {
    await writeFile(next, toLines(keepLast(entries, maxBytes)), { mode: 0o600 });
    await rename(next, file);
  } finally {
    await rm(next, { force: true });
  }
}

function toLines(entries: readonly ServiceTransitionEntry[]): string {
  return entries.map((entry) => `${JSON.stringify(entry)}\n`).join("");
}

/** Entries of a text; lines that are none (torn, blank, of another version) are passed over. */
function parseEntries(text: string): readonly ServiceTransitionEntry[] {
  return text.split("\n").flatMap((line) => {
    try {
      const parsed = entrySchema.safeParse(JSON.parse(line));
      return parsed.success ? [parsed.data] : [];
    } catch {
      return [];
    }
  });
}

async function sizeOf(file: string): Promise<number> {
  return await stat(file).then(
    ({ size }) => size,
    (error: NodeJS.ErrnoException) => {
      if (error.code === "ENOENT") return 0;
      throw error;
    },
  );
}

/** The last bytes of a file, whoever wrote so much into it; empty when there is none. */
async function readEnd(file: string, maxBytes: number): Promise<string> {
  const size = await sizeOf(file);
  if (size === 0) return "";
  const handle = await open(file, "r");
  try {
    const length = Math.min(size, maxBytes);
    const { buffer, bytesRead } = await handle.read(Buffer.alloc(length), 0, length, size - length);
    return buffer.toString("utf8", 0, bytesRead);
  } finally {
    await handle.close();
  }
}
