import type { Command } from "commander";
import type { CommandContext } from "../command-context.ts";
import type { CheckOptions } from "../sla/run-check.ts";
import { withClientOptions } from "./client-options.ts";
import { durationWithUnit } from "./option-values.ts";

const DAY_MS = 86_400_000;

/** Adds `holdfast sla`. */
export function addSla(program: Command, context: CommandContext): void {
  const sla = program
    .command("sla")
    .description("What is promised of a service, and what was measured");
  const check = sla
    .command("check")
    .description("Judge what a Holdfast delivered lately: exit code 1 where a target is missed")
    .option("--targets <file>", "targets as YAML or JSON (default: the starting targets)")
    .option("--last <time>", "over how long: 24h, 7d", durationWithUnit, DAY_MS)
    .option("--json", "print as JSON");
  withClientOptions(check).action(async (options: CheckOptions) => {
    const { runCheck } = await import("../sla/run-check.ts");
    await runCheck(options, context);
  });
}
