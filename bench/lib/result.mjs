/** Result files: what was measured, and on what machine, beside what. */
import { readdirSync, readFileSync } from "node:fs";
import { mkdir, writeFile } from "node:fs/promises";
import { cpus, loadavg, platform, release, totalmem } from "node:os";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";
import { format, resolveConfig } from "prettier";
import { processCpuMs } from "./cpu.mjs";
import { pause } from "./measure.mjs";

const FOLDER = join(dirname(dirname(fileURLToPath(import.meta.url))), "results");
/** Over this load average at the start the numbers say little. */
const NOISY_LOAD = 1.5;
const GLANCE_MS = 300;
/** A program counts as running beside from this share of one core. */
const BUSY_SHARE = 0.05;

/** The machine as it is now, before anything is measured. */
export async function machineFacts() {
  const load = loadavg().map((value) => Math.round(value * 100) / 100);
  const [cpu] = cpus();
  return {
    at: new Date().toISOString(),
    cores: cpus().length,
    cpu: cpu?.model ?? "unknown",
    memoryMb: Math.round(totalmem() / 1024 / 1024),
    system: `${platform()} ${release()}`,
    node: process.version,
    loadAverage: load,
    noisy: load[0] > NOISY_LOAD,
    beside: await busyBeside(),
  };
}

/** Prints the head of a bench: what is measured, and whether the machine is quiet enough. */
export function announce(name, machine) {
  const beside = machine.beside.length === 0 ? "nothing" : machine.beside.join(", ");
  process.stdout.write(
    `\n== ${name}: ${machine.cores} cores, Node ${machine.node}, load ${machine.loadAverage[0]}, beside: ${beside}\n`,
  );
  if (machine.noisy)
    process.stdout.write("   NOISY: the machine is busy, take no figure from here\n");
}

/** Keeps a result as `bench/results/DATE-NAME.json`; a later one of the same day replaces it. */
export async function saveResult(name, machine, body) {
  const file = join(FOLDER, `${machine.at.slice(0, 10)}-${name}.json`);
  await mkdir(FOLDER, { recursive: true });
  const command = ["npm run bench --", name, ...process.argv.slice(2)].join(" ");
  const text = JSON.stringify({ bench: name, command, machine, ...body });
  const style = await resolveConfig(file);
  await writeFile(file, await format(text, { ...style, parser: "json" }));
  process.stdout.write(`\nkept as bench/results/${file.slice(FOLDER.length + 1)}\n`);
}

/** Names of programs that use the processor now, this one left out: `node 43%`. */
async function busyBeside() {
  const before = cpuByProcess();
  await pause(GLANCE_MS);
  const byName = new Map();
  for (const [pid, { name, cpuMs }] of cpuByProcess()) {
    const used = cpuMs - (before.get(pid)?.cpuMs ?? cpuMs);
    byName.set(name, (byName.get(name) ?? 0) + used / GLANCE_MS);
  }
  return [...byName]
    .filter(([, share]) => share >= BUSY_SHARE)
    .sort((a, b) => b[1] - a[1])
    .map(([name, share]) => `${name} ${Math.round(share * 100)}%`);
}

function cpuByProcess() {
  const found = new Map();
  for (const entry of listFolder("/proc")) {
    const pid = Number(entry);
    if (!Number.isInteger(pid) || pid === process.pid) continue;
    try {
      const name = readFileSync(`/proc/${pid}/comm`, "utf8").trim();
      found.set(pid, { name, cpuMs: processCpuMs(pid) ?? 0 });
    } catch {
      // It ended while we looked.
    }
  }
  return found;
}

function listFolder(path) {
  try {
    return readdirSync(path);
  } catch {
    return []; // No /proc: not Linux.
  }
}
