/** Records that MLflow refused for good: kept in a file of their own, with the reason, and counted. */
import { open } from "node:fs/promises";
import { join } from "node:path";
import { readLines } from "./read-lines.ts";
import type { JournalRecord, Position } from "./record.ts";

/** One record, or one entry of it, that is not delivered. */
export interface SetAsideEntry {
  readonly position: Position;
  /** Which of the entries of a record; undefined: all of it. */
  readonly entry?: string;
  readonly reason: string;
  readonly record: JournalRecord;
}

/** The file of what was refused. */
export interface SetAside {
  /** How many there are, of earlier lives too. */
  readonly count: number;
  /** Writes and syncs them; one that is there already is not written twice. Throws what the disk throws. */
  add(entries: readonly SetAsideEntry[], at: number): Promise<void>;
}

/** Name of the file, to be told to a person. */
export const SET_ASIDE_FILE = "set-aside.ndjson";

/** Opens the file; there is none before the first refusal. */
export async function openSetAside(folder: string): Promise<SetAside> {
  const path = join(folder, SET_ASIDE_FILE);
  const ids = new Set<string>();
  for await (const line of readLines(path)) {
    const id = readId(line);
    if (id !== undefined) ids.add(id);
  }
  let turn: Promise<void> = Promise.resolve();

  async function write(entries: readonly SetAsideEntry[], at: number): Promise<void> {
    const fresh = entries.filter((entry) => !ids.has(idOf(entry)));
    if (fresh.length === 0) return;
    const handle = await open(path, "a", 0o600);
    try {
      // A crash may have torn the last line: the new one must not be glued to it.
      const lines = fresh.map(({ reason, record, ...rest }) =>
        JSON.stringify({ id: idOf({ ...rest }), at, reason, entry: rest.entry, record }),
      );
      await handle.writeFile(`${(await handle.stat()).size > 0 ? "\n" : ""}${lines.join("\n")}\n`);
      await handle.datasync();
    } finally {
      await handle.close();
    }
    for (const entry of fresh) ids.add(idOf(entry));
  }
  return {
    get count() {
      return ids.size;
    },
    add(entries, at) {
      const mine = turn.then(() => write(entries, at));
      turn = mine.catch(() => undefined);
      return mine;
    },
  };
}

function idOf({ position, entry }: Pick<SetAsideEntry, "position" | "entry">): string {
  return `${position.segment}:${position.line}${entry === undefined ? "" : `:${entry}`}`;
}

function readId(line: string): string | undefined {
  try {
    const { id } = JSON.parse(line) as { readonly id?: unknown };
    return typeof id === "string" ? id : undefined;
  } catch {
    return undefined;
  }
}
