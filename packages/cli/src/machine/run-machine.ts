/** `holdfast machine …`: each command opens the machine folder, does one thing, and says what it came to. */
import { mkdir, stat, writeFile } from "node:fs/promises";
import { dirname, isAbsolute } from "node:path";
import {
  createGpuQuery,
  machinePlaces,
  manifestTemplate,
  openMachineFolder,
  type MachineFolder,
} from "@holdfast/machine";
import { systemClock, systemRandom } from "@holdfast/runtime/system";
import type { CommandContext } from "../command-context.ts";
import { CommandFailure } from "../command-failure.ts";
import { EXIT } from "../exit-codes.ts";
import { machineSettings, type MachineSettings } from "../up/machine-settings.ts";
import { logFor, readSettings } from "../up/settings.ts";
import { listenForStop } from "../up/stop-signals.ts";
import { watchInstall } from "./install-progress.ts";
import type { MachineCommandOptions } from "./options.ts";
import { planLines } from "./plan-text.ts";
import { askHealth, statusLines } from "./status-text.ts";

/** How long another installer is waited for unless told otherwise: long enough for one that ends. */
const LOCK_WAIT_MS = 2_000;

/** `holdfast machine init`. */
export async function init(options: MachineCommandOptions, context: CommandContext): Promise<void> {
  const { terminal } = context;
  const { manifestPath, programs } = machineSettings(readSettings(options, context));
  if (options.force !== true && (await stat(manifestPath).catch(() => undefined)) !== undefined) {
    throw new CommandFailure(
      EXIT.refused,
      `${manifestPath} is there already: edit it, or replace it with --force`,
    );
  }
  for (const path of [options.adopt, options.python]) {
    if (path === undefined || isAbsolute(path)) continue;
    throw new CommandFailure(EXIT.refused, `expected an absolute path, found ${path}`);
  }
  const gpus = gpuQuery(programs);
  const { gpus: found } = await gpus.discover(new AbortController().signal);
  const text = manifestTemplate({
    hasGpu: found.length > 0,
    adoptFolder: options.adopt ?? null,
    adoptPython: options.python ?? null,
  });
  await mkdir(dirname(manifestPath), { recursive: true });
  await writeFile(manifestPath, text, { mode: 0o644 });
  if (options.json === true) terminal.line(JSON.stringify({ manifest: manifestPath }));
  else {
    terminal.line(`wrote ${manifestPath}`);
    terminal.line("next: edit it, then holdfast machine plan, then holdfast machine install");
  }
}

/** `holdfast machine plan`. */
export async function plan(options: MachineCommandOptions, context: CommandContext): Promise<void> {
  await withFolder(options, context, async (folder, signal) => {
    const found = await folder.installer.plan({
      update: options.update === true,
      verify: options.verify === true,
      signal,
    });
    if (options.json === true) context.terminal.line(JSON.stringify(found));
    else for (const line of planLines(found)) context.terminal.line(line);
    if (found.problems.length > 0) process.exitCode = EXIT.refused;
  });
}

/** `holdfast machine install`. */
export async function install(
  options: MachineCommandOptions,
  context: CommandContext,
): Promise<void> {
  await withFolder(options, context, async (folder, signal) => {
    await bring(folder, { ...options, update: false }, context, signal);
  });
}

/** `holdfast machine update`. */
export async function update(
  options: MachineCommandOptions,
  context: CommandContext,
): Promise<void> {
  await withFolder(options, context, async (folder, signal) => {
    await bring(folder, { ...options, update: true }, context, signal);
  });
}

/** `holdfast machine rollback`. */
export async function rollback(
  options: MachineCommandOptions,
  context: CommandContext,
): Promise<void> {
  await withFolder(options, context, async (folder) => {
    const outcome = await folder.installer.rollback();
    if (outcome.kind === "busy") throw busy(outcome.holder);
    if (options.json === true) context.terminal.line(JSON.stringify(outcome));
    if (outcome.kind === "nothing") throw new CommandFailure(EXIT.refused, outcome.reason);
    if (options.json === true) return;
    const from = outcome.from === null ? "" : ` instead of ${outcome.from}`;
    context.terminal.line(`release ${outcome.to} serves${from}; a running agent takes it at once`);
  });
}

/** `holdfast machine clean`. */
export async function clean(
  options: MachineCommandOptions,
  context: CommandContext,
): Promise<void> {
  await withFolder(options, context, async (folder) => {
    const cleaned = await folder.installer.clean();
    if ("kind" in cleaned) throw busy(cleaned.holder);
    const { terminal } = context;
    if (options.json === true) terminal.line(JSON.stringify(cleaned));
    else {
      for (const what of cleaned.removed) terminal.line(`removed ${what}`);
      for (const { what, reason } of cleaned.kept) terminal.line(`kept ${what}: ${reason}`);
      if (cleaned.removed.length === 0) terminal.line("nothing to remove");
    }
  });
}

/** `holdfast machine status`. */
export async function status(
  options: MachineCommandOptions,
  context: CommandContext,
): Promise<void> {
  const settings = readSettings(options, context);
  const { root } = machineSettings(settings);
  const health = await askHealth(machinePlaces(root));
  await withFolder(options, context, async (folder) => {
    const summary = await folder.installer.status();
    if (options.json === true) context.terminal.line(JSON.stringify({ ...summary, health }));
    else for (const line of statusLines(summary, health)) context.terminal.line(line);
  });
}

async function bring(
  folder: MachineFolder,
  options: MachineCommandOptions,
  context: CommandContext,
  signal: AbortSignal,
): Promise<void> {
  const { terminal } = context;
  const outcome = await folder.installer.install({
    update: options.update === true,
    verify: options.verify === true,
    signal,
    ...(options.json === true ? {} : { onEvent: watchInstall(terminal) }),
  });
  if (options.json === true) terminal.line(JSON.stringify(outcome));
  switch (outcome.kind) {
    case "busy":
      throw busy(outcome.holder);
    case "refused":
      if (options.json !== true) for (const line of planLines(outcome.plan)) terminal.line(line);
      throw new CommandFailure(EXIT.refused, "nothing was changed: the plan has problems");
    case "failed":
    case "aborted": {
      const serving =
        outcome.serving === null ? "nothing serves yet" : `release ${outcome.serving} serves on`;
      const what = outcome.kind === "failed" ? "the installation failed" : "stopped before its end";
      const code = outcome.kind === "failed" ? EXIT.failed : EXIT.interrupted;
      throw new CommandFailure(code, `${what}; ${serving}. Log: ${outcome.logFile}`);
    }
    case "installed": {
      await folder.apply();
      if (options.json === true) return;
      for (const warning of outcome.warnings) terminal.note(`warning: ${warning}`);
      const release = outcome.release === null ? "no ComfyUI" : `release ${outcome.release}`;
      terminal.line(
        outcome.isChanged ? `installed: ${release} serves` : `nothing to do: ${release} serves`,
      );
    }
  }
}

/** Opens the machine folder for one command; Ctrl-C ends what is done, and it can be repeated. */
async function withFolder(
  options: MachineCommandOptions,
  context: CommandContext,
  action: (folder: MachineFolder, signal: AbortSignal) => Promise<void>,
): Promise<void> {
  const { terminal, env } = context;
  // Steps are told as they go, failures too; the log's own lines are for whoever asks for them.
  const isLogAsked = options.logLevel !== undefined || env["HOLDFAST_LOG_LEVEL"] !== undefined;
  const settings = readSettings(isLogAsked ? options : { ...options, logLevel: "silent" }, context);
  const stop = listenForStop(terminal, () => undefined);
  try {
    const machine = machineSettings(settings);
    const opened = await openMachineFolder({
      root: machine.root,
      manifestPath: machine.manifestPath,
      programs: machine.programs,
      env,
      gpus: gpuQuery(machine.programs),
      clock: systemClock,
      random: systemRandom,
      log: logFor(settings),
      lockWaitMs: options.wait ?? LOCK_WAIT_MS,
    });
    if (opened.kind === "refused") {
      const found = opened.problems.join("\n");
      throw new CommandFailure(EXIT.refused, `machine.yaml cannot be used:\n${found}`);
    }
    const { folder } = opened;
    try {
      for (const warning of folder.warnings) terminal.note(`warning: ${warning}`);
      await action(folder, stop.signal);
    } finally {
      await folder.close();
    }
  } finally {
    stop.release();
  }
}

function gpuQuery(programs: MachineSettings["programs"]): ReturnType<typeof createGpuQuery> {
  return createGpuQuery({
    clock: systemClock,
    ...(programs.nvidiaSmi === null ? {} : { program: programs.nvidiaSmi }),
  });
}

function busy(holder: string): CommandFailure {
  return new CommandFailure(
    EXIT.unavailable,
    `another installer is at work on this machine: ${holder}. Wait for it, or use --wait.`,
  );
}
