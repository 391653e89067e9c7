/** `holdfast machine …`: each command opens the machine folder, does one thing, and says what it came to. */
import { createGpuQuery } from "@holdfast/gpu";
import { holdWords, machinePlaces, openMachineFolder, type MachineFolder } from "@holdfast/machine";
import { systemClock, systemRandom } from "@holdfast/runtime/system";
import type { CommandContext } from "../command-context.ts";
import { CommandFailure } from "../command-failure.ts";
import { EXIT } from "../exit-codes.ts";
import { machineSettings, type MachineSettings } from "../up/machine-settings.ts";
import { logFor, readSettings } from "../up/settings.ts";
import { listenForStop } from "../up/stop-signals.ts";
import { askHealth } from "./ask-health.ts";
import { watchInstall } from "./install-progress.ts";
import type { MachineCommandOptions } from "./options.ts";
import { cleanedLines } from "./cleaned-text.ts";
import { planLines } from "./plan-text.ts";
import { agentLines, statusLines } from "./status-text.ts";

/** How a machine folder is opened; a test opens one of its own. */
export type OpenFolder = typeof openMachineFolder;

/** How long another installer is waited for unless told otherwise: long enough for one that ends. */
const LOCK_WAIT_MS = 2_000;

/** `holdfast machine plan`. */
export async function plan(
  options: MachineCommandOptions,
  context: CommandContext,
  open: OpenFolder = openMachineFolder,
): Promise<void> {
  await withFolder(options, context, open, async (folder, signal) => {
    const found = await folder.installer.plan({
      update: options.update === true,
      verify: options.verify === true,
      endHold: options.endHold === true,
      signal,
    });
    if (options.json === true) context.terminal.line(JSON.stringify(found));
    else for (const line of planLines(found)) context.terminal.line(line);
    const { length } = found.problems;
    if (length === 0) return;
    const what = length === 1 ? "a problem" : `${length} problems`;
    throw new CommandFailure(EXIT.refused, `the plan has ${what}: nothing would be changed`);
  });
}

/** `holdfast machine install`. */
export async function install(
  options: MachineCommandOptions,
  context: CommandContext,
  open: OpenFolder = openMachineFolder,
): Promise<void> {
  await withFolder(options, context, open, async (folder, signal) => {
    await bring(folder, { ...options, update: false }, context, signal);
  });
}

/** `holdfast machine update`. */
export async function update(
  options: MachineCommandOptions,
  context: CommandContext,
  open: OpenFolder = openMachineFolder,
): Promise<void> {
  await withFolder(options, context, open, async (folder, signal) => {
    await bring(folder, { ...options, update: true }, context, signal);
  });
}

/** `holdfast machine rollback`. */
export async function rollback(
  options: MachineCommandOptions,
  context: CommandContext,
  open: OpenFolder = openMachineFolder,
): Promise<void> {
  await withFolder(options, context, anyFolder(open), async (folder, signal) => {
    const outcome = await folder.installer.rollback(signal);
    if (outcome.kind === "busy") throw busy(outcome.holder);
    if (options.json === true) context.terminal.line(JSON.stringify(outcome));
    if (outcome.kind === "nothing") throw new CommandFailure(EXIT.refused, outcome.reason);
    if (options.json === true) return;
    const from = outcome.from === null ? "" : ` instead of ${outcome.from}`;
    context.terminal.line(`release ${outcome.to} serves${from}; a running agent takes it at once`);
    if (outcome.hold !== null) context.terminal.line(holdWords(outcome.hold));
  });
}

/** `holdfast machine clean`. */
export async function clean(
  options: MachineCommandOptions,
  context: CommandContext,
  open: OpenFolder = openMachineFolder,
): Promise<void> {
  await withFolder(options, context, anyFolder(open), async (folder, signal) => {
    const isDryRun = options.dryRun === true;
    const cleaned = await folder.installer.clean(signal, { isDryRun });
    if ("kind" in cleaned) throw busy(cleaned.holder);
    const { terminal } = context;
    if (options.json === true) terminal.line(JSON.stringify(cleaned));
    else for (const line of cleanedLines(cleaned)) terminal.line(line);
  });
}

/** `holdfast machine status`: works whatever the manifest is like, and without one. */
export async function status(
  options: MachineCommandOptions,
  context: CommandContext,
  open: OpenFolder = openMachineFolder,
): Promise<void> {
  const settings = readSettings(options, context);
  const { root, health } = machineSettings(settings);
  const { healthAddress } = machinePlaces(root);
  const { terminal } = context;
  const tell = async (folder: MachineFolder): Promise<void> => {
    const summary = await folder.installer.status();
    const agent = await askHealth(healthAddress, health.tokenFile ?? folder.healthTokenFile);
    if (options.json === true) terminal.line(JSON.stringify({ ...summary, agent }));
    else for (const line of statusLines(summary, agent)) terminal.line(line);
  };
  try {
    await withFolder(options, context, anyFolder(open), tell);
  } catch (error) {
    if (!(error instanceof NoManifest)) throw error;
    const agent = await askHealth(healthAddress, health.tokenFile);
    if (options.json === true) terminal.line(JSON.stringify({ problems: error.problems, agent }));
    else for (const line of [...error.problems, ...agentLines(agent)]) terminal.line(line);
  }
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
    endHold: options.endHold === true,
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

/** The manifest cannot be used, and none is in force. */
class NoManifest extends CommandFailure {
  readonly problems: readonly string[];

  constructor(problems: readonly string[]) {
    super(EXIT.refused, `machine.yaml cannot be used:\n${problems.join("\n")}`);
    this.problems = problems;
  }
}

/** For what must work while the manifest's file is wrong: by what is in force then. */
function anyFolder(open: OpenFolder): OpenFolder {
  return (options) => open({ ...options, orApplied: true });
}

/** Opens the machine folder for one command; Ctrl-C ends what is done, and it can be repeated. */
async function withFolder(
  options: MachineCommandOptions,
  context: CommandContext,
  open: OpenFolder,
  action: (folder: MachineFolder, signal: AbortSignal) => Promise<void>,
): Promise<void> {
  const { terminal, env } = context;
  // Steps are told as they go, failures too; the log's own lines are for whoever asks for them.
  const isLogAsked = options.logLevel !== undefined || env["HOLDFAST_LOG_LEVEL"] !== undefined;
  const settings = readSettings(isLogAsked ? options : { ...options, logLevel: "silent" }, context);
  const stop = listenForStop(terminal, () => undefined);
  try {
    const machine = machineSettings(settings);
    const opened = await open({
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
    if (opened.kind === "refused") throw new NoManifest(opened.problems);
    const { folder } = opened;
    try {
      for (const warning of folder.warnings) terminal.note(`warning: ${warning}`);
      await action(folder, stop.signal);
    } finally {
      await folder.close();
    }
  } catch (error) {
    if (!stop.signal.aborted || error instanceof CommandFailure) throw error;
    throw new CommandFailure(EXIT.interrupted, "stopped before its end", { cause: error });
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
