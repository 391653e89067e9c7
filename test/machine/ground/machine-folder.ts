/** The folder of a test's machine: short, and gone at the end with every process that has to do with it. */
import { mkdirSync, writeFileSync } from "node:fs";
import { mkdtemp, realpath, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { until } from "../../support/processes.ts";
import { endProcessesWith, processesWith } from "./processes-left.ts";

/** A socket's path in PM2's home must stay below 108 characters. */
const LONGEST_TMP = 40;
/** What was told to end may take so long about it. */
const END_LIMIT_MS = 10_000;

/** A folder for one test. */
export interface MachineFolder {
  readonly path: string;
  /** Of the machine itself: `<path>/m`. */
  readonly machine: string;
  /** Writes `machine.yaml` (JSON is YAML) and returns its path. */
  writeManifest(manifest: object): string;
  /** Writes a file that only its owner can read (a token), and returns its path. */
  writeSecret(name: string, text: string): string;
  /**
   * Removes it. Throws, naming them, when processes of it were still there after some seconds; they are
   * ended all the same, so that one test's leftovers are not the next one's trouble.
   */
  close(): Promise<void>;
}

/** Makes one. */
export async function makeMachineFolder(): Promise<MachineFolder> {
  const parent = tmpdir().length <= LONGEST_TMP ? tmpdir() : "/tmp";
  const path = await realpath(await mkdtemp(join(parent, "hf-")));
  const machine = join(path, "m");
  mkdirSync(machine);
  return {
    path,
    machine,
    writeManifest(manifest) {
      const file = join(path, "machine.yaml");
      writeFileSync(file, JSON.stringify({ version: 1, ...manifest }, null, 2));
      return file;
    },
    writeSecret(name, text) {
      const file = join(path, name);
      writeFileSync(file, text, { mode: 0o600 });
      return file;
    },
    async close() {
      const isEmpty = (): boolean => processesWith(path).length === 0;
      await until("every process is gone", isEmpty, END_LIMIT_MS).catch(() => undefined);
      const left = endProcessesWith(path);
      if (left.length > 0) await until("they are gone", isEmpty, END_LIMIT_MS);
      await rm(path, { recursive: true, force: true, maxRetries: 5 });
      if (left.length === 0) return;
      const names = left.map(({ pid, command }) => `${pid} ${command.slice(0, 200)}`);
      throw new Error(`processes were left behind:\n${names.join("\n")}`);
    },
  };
}
