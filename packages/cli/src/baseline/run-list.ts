/** `holdfast baseline list`: what was recorded, the newest first. */
import { readdir } from "node:fs/promises";
import { join } from "node:path";
import type { CommandContext } from "../command-context.ts";
import { textTable } from "../terminal/text-table.ts";
import { BASELINES } from "./baselines.ts";

interface Listed {
  readonly name: string;
  readonly path: string;
  readonly loads: readonly string[];
}

/** Runs the command. */
export async function runList(
  { root, json }: { readonly root: string; readonly json?: boolean },
  { terminal }: CommandContext,
): Promise<void> {
  const folder = join(root, BASELINES);
  const entries = await readdir(folder, { withFileTypes: true }).catch(() => []);
  const names = entries.filter((one) => one.isDirectory()).map(({ name }) => name);
  const baselines: Listed[] = [];
  for (const name of names.sort((a, b) => b.localeCompare(a, "en", { numeric: true }))) {
    const path = join(folder, name);
    const files = await readdir(path);
    baselines.push({
      name,
      path,
      loads: files.filter((file) => /^load.*\.json$/.test(file)).sort(),
    });
  }
  if (json === true) return terminal.line(JSON.stringify(baselines, null, 2));
  if (baselines.length === 0) {
    return terminal.line(`no baseline in ${folder}: holdfast baseline record makes one`);
  }
  const table = textTable(
    baselines,
    [
      { head: "BASELINE", cell: (one) => one.name },
      { head: "RUNS", cell: (one) => one.loads.join(", ") },
      { head: "README", cell: (one) => join(one.path, "README.md") },
    ],
    terminal.resultColumns,
  );
  for (const line of table) terminal.line(line);
}
