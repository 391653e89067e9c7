/** Asks this host what `judge-container.ts` judges. */
import { execFile } from "node:child_process";
import { readdir, stat } from "node:fs/promises";
import { findPortHolder, holderText, tryPort } from "@holdfast/runtime/host";
import type { ContainerFacts, ModelsFolder, PortFact, ProgramAnswer } from "./container-facts.ts";

/** A driver or an engine that hangs is told as one. */
const LIMIT_MS = 20_000;
const OUTPUT_MAX_BYTES = 4 * 1024 ** 2;
/** ComfyUI on the first two cards, and the agent's health server. */
const PORTS = [8188, 8189, 9090];
/** Others may list and enter. */
const OPEN_MODE = 0o005;

/** What is asked. */
export interface GatherOptions {
  readonly modelsPath: string;
  readonly nvidiaSmi: string;
}

/** Asks everything at once. */
export async function gatherContainer(options: GatherOptions): Promise<ContainerFacts> {
  const { modelsPath, nvidiaSmi } = options;
  const [version, info, compose, driver, models, ports] = await Promise.all([
    ask("docker", ["version", "--format", "{{json .}}"]),
    ask("docker", ["info", "--format", "{{json .}}"]),
    ask("docker", ["compose", "version", "--format", "json"]),
    ask(nvidiaSmi, ["--query-gpu=driver_version", "--format=csv,noheader"]),
    lookAtFolder(modelsPath),
    Promise.all(PORTS.map(lookAtPort)),
  ]);
  return { version, info, compose, driver, modelsPath, models, ports };
}

function ask(program: string, args: readonly string[]): Promise<ProgramAnswer> {
  const options = { timeout: LIMIT_MS, maxBuffer: OUTPUT_MAX_BYTES, windowsHide: true };
  return new Promise((resolve) => {
    execFile(program, [...args], options, (error, stdout, stderr) => {
      if (error === null) return resolve({ kind: "ended", exitCode: 0, stdout, stderr });
      if (error.code === "ENOENT") return resolve({ kind: "missing" });
      if (error.killed === true) return resolve({ kind: "silent", limitMs: LIMIT_MS });
      const exitCode = typeof error.code === "number" ? error.code : 1;
      return resolve({ kind: "ended", exitCode, stdout, stderr: stderr || error.message });
    });
  });
}

async function lookAtFolder(path: string): Promise<ModelsFolder> {
  const found = await stat(path).catch(() => undefined);
  if (found === undefined) return { kind: "absent" };
  if (!found.isDirectory()) return { kind: "no_folder" };
  const entries = await readdir(path).then(
    (names) => names.length,
    () => null,
  );
  return { kind: "folder", isOpen: (found.mode & OPEN_MODE) === OPEN_MODE, entries };
}

async function lookAtPort(port: number): Promise<PortFact> {
  const trial = await tryPort("127.0.0.1", port);
  if (trial.kind === "refused") return { port, kind: "refused", reason: trial.reason };
  if (trial.kind === "free") return { port, kind: "free" };
  return { port, kind: "taken", holder: holderText(await findPortHolder(port)) };
}
