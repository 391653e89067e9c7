import { mkdir, open, rename, rm, type FileHandle } from "node:fs/promises";
import { dirname, isAbsolute } from "node:path";
import { createGpuQuery } from "@holdfast/gpu";
import { manifestTemplate } from "@holdfast/machine";
import { systemClock } from "@holdfast/runtime/system";
import type { CommandContext } from "../command-context.ts";
import { CommandFailure } from "../command-failure.ts";
import { EXIT } from "../exit-codes.ts";
import { machineSettings } from "../up/machine-settings.ts";
import { readSettings } from "../up/settings.ts";
import type { MachineCommandOptions } from "./options.ts";

/** `holdfast machine init`: writes a manifest to begin with; one that is there is never touched unasked. */
export async function init(options: MachineCommandOptions, context: CommandContext): Promise<void> {
  const { terminal } = context;
  const { manifestPath, programs } = machineSettings(readSettings(options, context));
  for (const path of [options.adopt, options.python]) {
    if (path === undefined || isAbsolute(path)) continue;
    throw new CommandFailure(EXIT.refused, `expected an absolute path, found ${path}`);
  }
  if (options.python !== undefined && options.adopt === undefined) {
    const message = "--python names the Python of a ComfyUI that is there already: add --adopt";
    throw new CommandFailure(EXIT.refused, message);
  }
  const gpus = createGpuQuery({
    clock: systemClock,
    ...(programs.nvidiaSmi === null ? {} : { program: programs.nvidiaSmi }),
  });
  const { gpus: found } = await gpus.discover(new AbortController().signal);
  const text = manifestTemplate({
    hasGpu: found.length > 0,
    adoptFolder: options.adopt ?? null,
    adoptPython: options.python ?? null,
  });
  await writeManifest(manifestPath, text, options.force === true);
  if (options.json === true) terminal.line(JSON.stringify({ manifest: manifestPath }));
  else {
    terminal.line(`wrote ${manifestPath}`);
    terminal.line("next: edit it, then holdfast machine plan, then holdfast machine install");
  }
}

async function writeManifest(path: string, text: string, mayReplace: boolean): Promise<void> {
  // Beside it and renamed: an agent that starts now reads the old one or the new one, whole.
  const target = mayReplace ? `${path}.${process.pid}.new` : path;
  try {
    await mkdir(dirname(path), { recursive: true });
    const file = await openNew(target, path);
    try {
      await file.writeFile(text);
    } finally {
      await file.close();
    }
    if (mayReplace) await rename(target, path);
  } catch (error) {
    if (mayReplace) await rm(target, { force: true }).catch(() => undefined);
    if (error instanceof CommandFailure) throw error;
    const { message } = error as Error;
    throw new CommandFailure(EXIT.refused, `${path} cannot be written: ${message}`, {
      cause: error,
    });
  }
}

/** Opens a file that is not there yet. */
async function openNew(target: string, path: string): Promise<FileHandle> {
  try {
    return await open(target, "wx", 0o644);
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== "EEXIST") throw error;
    const message = `${path} is there already: edit it, or replace it with --force`;
    throw new CommandFailure(EXIT.refused, message, { cause: error });
  }
}
