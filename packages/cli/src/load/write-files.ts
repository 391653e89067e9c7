/**
 * Files of a load run. Sample lines go to a file beside the output as they come, and are copied in behind the
 * summary at the end: a run of millions of jobs is not held in memory, and one that is killed leaves its
 * samples behind. The output gets its name when it is whole.
 *
 * I1: what was handed in is on the disk, in whole lines, when `close` or `finish` resolves.
 */
import { createWriteStream, type WriteStream } from "node:fs";
import { access, constants, lstat, open, rename, rm, stat } from "node:fs/promises";
import { basename, dirname, join, resolve } from "node:path";
import { loadFileText, type LoadSummary, type LoadTimeline } from "@holdfast/load";
import { makeFolder } from "@holdfast/runtime/host";
import { linesOf } from "./lines-of.ts";

/** A file that lines are added to. A failed write is kept, and told by `end`. */
export interface LineSink {
  /** The line's end included. */
  write(line: string): void;
  /** What went wrong, if anything did. */
  failure(): Error | null;
  end(): Promise<void>;
}

/** Samples on their way into the output. */
export interface SampleSpool {
  readonly path: string;
  /** Without the line's end. */
  add(line: string): void;
  failure(): Error | null;
  /** Writes the output; the samples' own file is removed then. */
  finish(output: string, summary: LoadSummary, timeline: LoadTimeline): Promise<void>;
  /** Ends the samples' file and leaves it where it is. */
  close(): Promise<void>;
}

/** Where under `--root` a run's lines go. */
export const METRICS_FILE = join("observability", "comfyui_metrics.ndjson");

/** Lines that wait for the disk: more, and it is too slow or full. */
const WAITING_BYTES_MAX = 64 * 1024 * 1024;

/** Opens the file that every run adds its lines to; its folder is made. */
export async function openMetrics(root: string): Promise<LineSink & { readonly path: string }> {
  return await openLines(join(root, METRICS_FILE));
}

/** Throws where a file cannot be written; its folder is made, what is in it stays, and none is left empty. */
export async function assertWritable(file: string): Promise<void> {
  await makeFolder(dirname(resolve(file)));
  const isNew = (await lstat(file).catch(() => undefined)) === undefined;
  await (await open(file, "a")).close();
  if (isNew) await rm(file, { force: true });
}

/** Opens a file to add lines to; its folder is made. */
export async function openLines(file: string): Promise<LineSink & { readonly path: string }> {
  const path = resolve(file);
  await makeFolder(dirname(path));
  return { path, ...(await openSink(path, "a")) };
}

/** Opens the samples' file beside the output; throws where nothing can be written there. */
export async function openSpool(output: string): Promise<SampleSpool> {
  const target = resolve(output);
  await makeFolder(dirname(target));
  const there = await stat(target).catch(() => undefined);
  if (there?.isDirectory() === true) throw new Error("it is a folder");
  if (there !== undefined) await access(target, constants.W_OK);
  const path = join(dirname(target), `.${basename(target)}.${process.pid}.samples`);
  const sink = await openSink(path, "w");
  return {
    path,
    add: (line) => sink.write(`${line}\n`),
    failure: () => sink.failure(),
    close: () => sink.end(),
    async finish(name, summary, timeline) {
      await sink.end();
      const failure = sink.failure();
      if (failure !== null) throw failure;
      await writeLoadFile(resolve(name), path, summary, timeline);
      await rm(path, { force: true });
    },
  };
}

async function writeLoadFile(
  target: string,
  samples: string,
  summary: LoadSummary,
  timeline: LoadTimeline,
): Promise<void> {
  const part = `${target}.${process.pid}.part`;
  const file = await open(part, "w");
  try {
    for await (const piece of loadFileText(summary, timeline, linesOf(samples)))
      await file.writeFile(piece);
    await file.sync();
  } catch (error) {
    await rm(part, { force: true });
    throw error;
  } finally {
    await file.close();
  }
  await rename(part, target);
}

async function openSink(path: string, flags: "a" | "w"): Promise<LineSink> {
  const stream = createWriteStream(path, { flags });
  let failure: Error | null = null;
  await new Promise<void>((resolve, reject) => {
    stream.once("open", () => resolve());
    stream.once("error", reject);
  });
  stream.on("error", (error) => {
    failure ??= error;
  });
  return {
    write(line) {
      if (failure !== null) return;
      stream.write(line);
      if (stream.writableLength > WAITING_BYTES_MAX) {
        failure = new Error(`${path}: more than ${WAITING_BYTES_MAX} bytes wait for the disk`);
      }
    },
    failure: () => failure,
    end: () => ended(stream),
  };
}

async function ended(stream: WriteStream): Promise<void> {
  if (stream.closed) return;
  await new Promise<void>((resolve) => {
    stream.once("close", resolve);
    stream.end();
  });
}
