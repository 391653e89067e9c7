/**
 * How far delivery came: which records are done, and which run of MLflow's belongs to which key. Losing the
 * last lines of it costs nothing but deliveries that are made twice, and runs that are looked for again; so
 * it is synced only before a file of the journal is removed.
 */
import { appendFile, open, rename, rm } from "node:fs/promises";
import { join } from "node:path";
import { z } from "zod";
import { countOf, isWithin, withRange, type Range } from "./ranges.ts";
import { readLines } from "./read-lines.ts";
import type { Position } from "./record.ts";
import { syncFolder } from "./segment-files.ts";

const runSchema = z.object({
  id: z.string(),
  /** Folder of its artifacts at the server; null with `elsewhere` where it is not there. */
  folder: z.string().nullable(),
  elsewhere: z.string(),
  /** Whether a second run of this key may have been made unseen. */
  isDoubtful: z.boolean(),
});
const lineSchema = z.discriminatedUnion("t", [
  z.object({ t: z.literal("run"), key: z.string(), run: runSchema }),
  z.object({ t: z.literal("ended"), key: z.string() }),
  z.object({ t: z.literal("done"), s: z.number().int(), l: z.tuple([z.number(), z.number()]) }),
  z.object({ t: z.literal("dropped"), s: z.number().int() }),
]);
type Line = z.infer<typeof lineSchema>;

/** The run of MLflow's that belongs to a key. */
export type KnownRun = z.infer<typeof runSchema>;

/** How far delivery came. Changes are kept in memory until {@link Progress.save}. */
export interface Progress {
  run(key: string): KnownRun | undefined;
  learn(key: string, run: KnownRun): void;
  /** Its run has ended: it is looked for again should more come. */
  forget(key: string): void;
  isDone(position: Position): boolean;
  markDone(segment: number, range: Range): void;
  doneCount(segment: number): number;
  /** A segment whose file is about to be removed. */
  drop(segment: number): void;
  /** No segment up to this one is ever made again. */
  readonly lastDropped: number;
  /** Writes what is new. Throws what the disk throws; the next call writes all of it anew. */
  save(options?: { readonly isSynced: boolean }): Promise<void>;
}

const FILE = "progress.ndjson";
/** Written anew, and so made smaller, beyond this. */
const FILE_BYTES_MAX = 1024 * 1024;
/** Runs that began and did not end; older ones are looked for in MLflow when they are needed. */
const RUNS_MAX = 10_000;

/** Reads what is there; a file that is missing or damaged begins empty. */
export async function openProgress(folder: string): Promise<Progress> {
  const path = join(folder, FILE);
  const runs = new Map<string, KnownRun>();
  const done = new Map<number, readonly Range[]>();
  let lastDropped = 0;
  let fresh: Line[] = [];
  let fileBytes = 0;
  // The first write of a life is of the whole: so nothing is glued to a torn line.
  let isRewriteDue = true;
  let turn: Promise<void> = Promise.resolve();

  function apply(line: Line): void {
    switch (line.t) {
      case "run":
        runs.set(line.key, line.run);
        if (runs.size > RUNS_MAX) runs.delete(runs.keys().next().value ?? "");
        return;
      case "ended":
        runs.delete(line.key);
        return;
      case "done":
        done.set(line.s, withRange(done.get(line.s) ?? [], line.l));
        return;
      case "dropped":
        done.delete(line.s);
        lastDropped = Math.max(lastDropped, line.s);
    }
  }
  function change(line: Line): void {
    apply(line);
    fresh.push(line);
  }
  function everything(): Line[] {
    return [
      { t: "dropped", s: lastDropped },
      ...[...runs].map(([key, run]): Line => ({ t: "run", key, run })),
      ...[...done].flatMap(([s, ranges]) =>
        ranges.map(([from, to]): Line => ({ t: "done", s, l: [from, to] })),
      ),
    ];
  }
  async function write(isSynced: boolean): Promise<void> {
    if (isRewriteDue || fileBytes > FILE_BYTES_MAX) {
      fresh = [];
      isRewriteDue = true;
      fileBytes = await replaceFile(folder, path, toText(everything()));
      isRewriteDue = false;
      return;
    }
    const text = toText(fresh);
    fresh = [];
    try {
      if (text !== "") await appendFile(path, text);
      if (isSynced) await syncFile(path);
      fileBytes += text.length;
    } catch (error) {
      isRewriteDue = true;
      throw error;
    }
  }

  for await (const text of readLines(path)) {
    const line = parse(text);
    if (line !== undefined) apply(line);
  }
  return {
    run: (key) => runs.get(key),
    learn: (key, run) => change({ t: "run", key, run }),
    forget: (key) => change({ t: "ended", key }),
    isDone: ({ segment, line }) => isWithin(done.get(segment) ?? [], line),
    markDone: (s, [from, to]) => change({ t: "done", s, l: [from, to] }),
    doneCount: (segment) => countOf(done.get(segment) ?? []),
    drop: (s) => change({ t: "dropped", s }),
    get lastDropped() {
      return lastDropped;
    },
    save(options = { isSynced: false }) {
      const mine = turn.then(() => write(options.isSynced));
      turn = mine.catch(() => undefined);
      return mine;
    },
  };
}

function toText(lines: readonly Line[]): string {
  return lines.map((line) => `${JSON.stringify(line)}\n`).join("");
}

function parse(text: string): Line | undefined {
  try {
    const parsed = lineSchema.safeParse(JSON.parse(text));
    return parsed.success ? parsed.data : undefined;
  } catch {
    return undefined;
  }
}

async function replaceFile(folder: string, path: string, text: string): Promise<number> {
  const next = `${path}.next`;
  try {
    const handle = await open(next, "w", 0o600);
    try {
      await handle.writeFile(text);
      await handle.sync();
    } finally {
      await handle.close();
    }
    await rename(next, path);
    await syncFolder(folder);
  } finally {
    await rm(next, { force: true });
  }
  return text.length;
}

async function syncFile(path: string): Promise<void> {
  const handle = await open(path, "r+");
  try {
    await handle.datasync();
  } finally {
    await handle.close();
  }
}
