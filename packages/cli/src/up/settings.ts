import { homedir } from "node:os";
import {
  createLog,
  formatProblems,
  readControlPlaneSettings,
  type ControlPlaneSettings,
  type Log,
} from "@holdfast/control-plane/process";
import { CommandFailure } from "../command-failure.ts";
import type { SettingOptions } from "./options.ts";
import { EXIT } from "../exit-codes.ts";
import type { CommandContext } from "../command-context.ts";

/**
 * The settings of a start, from flags, environment, `config.json` and defaults. Throws
 * {@link CommandFailure} with every problem listed.
 */
export function readSettings(
  options: SettingOptions,
  context: CommandContext,
): ControlPlaneSettings {
  const parsed = readControlPlaneSettings({
    env: context.env,
    platform: process.platform,
    userFolder: homedir(),
    flags: {
      home: options.home,
      host: options.host,
      port: options.port,
      store: options.store,
      comfyui: options.comfyui,
      "log-level": options.logLevel,
      "log-format": options.logFormat,
      manifest: options.manifest,
      "machine-dir": options.machineDir,
      "health-host": options.healthHost,
      "health-port": options.healthPort,
      name: options.name,
      fleet: options.fleet,
      "public-url": options.publicUrl,
    },
  });
  if (parsed.kind === "ok") return parsed.settings;
  throw new CommandFailure(
    EXIT.refused,
    `these settings are wrong:\n${formatProblems(parsed.problems)}`,
  );
}

/** The process's log, as the settings want it. */
export function logFor(settings: ControlPlaneSettings): Log {
  const { logLevel, logFormat } = settings;
  const isPretty = logFormat === "pretty" || (logFormat === "auto" && process.stderr.isTTY);
  return createLog({ level: logLevel, format: isPretty ? "pretty" : "json" });
}
