/** One download at a time over a real server and a folder of its own, made anew for each test. */
import { seededRandom, type Clock } from "@holdfast/runtime";
import { systemClock } from "@holdfast/runtime/system";
import type { FakeClock } from "@holdfast/runtime/testing";
import assert from "node:assert/strict";
import { existsSync } from "node:fs";
import { mkdir, mkdtemp, readdir, readFile, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach } from "vitest";
import type { DownloadSource } from "../src/install/models/download-source.ts";
import {
  downloadFile,
  type DownloadOutcome,
  type DownloadRequest,
} from "../src/install/models/download.ts";
import { createDownloadSource } from "../src/install/models/http-source.ts";
import type { OpenPart } from "../src/install/models/part-writer.ts";
import { content, startFileServer, type FileServer } from "./file-server.ts";

/** The file that every download asks for. */
export const FILE = content(3 * 1024 * 1024 + 17);

export interface How extends Partial<DownloadRequest> {
  readonly clock?: Clock;
  readonly openPart?: OpenPart;
  readonly tries?: number;
  readonly signal?: AbortSignal;
}

/** Retries at once, unless a test brings a clock. */
const hasty: Clock = {
  ...systemClock,
  sleep: (ms, signal) => systemClock.sleep(ms > 1_000 ? ms : 0, signal),
};

export class DownloadKit {
  server!: FileServer;
  /** Folder of the models. */
  root = "";
  notes: string[] = [];
  #source!: DownloadSource;

  /** A kit that opens before each test of the file that calls, and closes after it. */
  static forEachTest(): DownloadKit {
    const kit = new DownloadKit();
    beforeEach(async () => await kit.#open());
    afterEach(async () => await kit.#close());
    return kit;
  }

  get target(): string {
    return join(this.root, "checkpoints", "x.safetensors");
  }

  get partial(): string {
    return join(this.root, ".holdfast-partial");
  }

  part(sha256 = FILE.sha256): string {
    return join(this.partial, `${sha256}.part`);
  }

  async fetch(how: How = {}): Promise<DownloadOutcome> {
    const { clock = hasty, openPart, tries = 8, signal, ...request } = how;
    return await downloadFile(
      {
        url: this.server.url("/x"),
        sha256: FILE.sha256,
        sizeBytes: null,
        licence: null,
        target: this.target,
        partialFolder: this.partial,
        mayReplace: () => false,
        ...request,
      },
      {
        source: this.#source,
        clock,
        random: seededRandom(1),
        ...(openPart === undefined ? {} : { openPart }),
        limits: {
          tries,
          stallMs: 60_000,
          backoff: { initialMs: 100, factor: 1, maxMs: 100, jitter: 0 },
        },
        onNote: (line) => this.notes.push(line),
      },
      signal ?? new AbortController().signal,
    );
  }

  /** Leaves a part as an earlier run would. */
  async keep(bytes: Buffer, record: Record<string, unknown> = {}, sha256 = FILE.sha256) {
    await mkdir(this.partial, { recursive: true });
    await writeFile(this.part(sha256), bytes);
    const whole = { url: this.server.url("/x"), etag: null, lastModified: null, totalBytes: null };
    await writeFile(join(this.partial, `${sha256}.json`), JSON.stringify({ ...whole, ...record }));
  }

  async expectFile(): Promise<void> {
    assert.ok((await readFile(this.target)).equals(FILE.bytes), "the file is another one");
    assert.deepEqual(await readdir(this.partial), []);
  }

  failureOf(outcome: DownloadOutcome) {
    if (outcome.kind !== "failed") throw new Error("it did not fail");
    assert.ok(!existsSync(this.target), "a failure left a file in place");
    return outcome.failure;
  }

  /** Lets a fake clock run while a download goes on over real sockets. */
  async untilAsleep(clock: FakeClock, sleepers: number): Promise<void> {
    while (clock.sleeperCount() < sleepers) await systemClock.sleep(2);
  }

  async untilNoted(count: number): Promise<void> {
    while (this.notes.length < count) await systemClock.sleep(2);
  }

  async #open(): Promise<void> {
    this.server = await startFileServer();
    this.#source = createDownloadSource({ auth: [] });
    this.root = await mkdtemp(join(tmpdir(), "hf-models-"));
    await mkdir(join(this.root, "checkpoints"));
    this.notes = [];
  }

  async #close(): Promise<void> {
    await this.#source.close();
    await this.server.close();
    await rm(this.root, { recursive: true, force: true });
  }
}
