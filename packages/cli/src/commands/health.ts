import type { Command } from "commander";
import type { CommandContext } from "../command-context.ts";
import type { HealthOptions } from "../health/run-health.ts";
import { withClientOptions } from "./client-options.ts";

const EXIT_CODES = `
Exit codes of this command (they differ from those of the others):
  0    healthy: work gets done
  1    degraded: work gets done, and something is wrong
  2    down: no work can be done, or no server answers; also wrong usage and a refused key
  130  with --watch: stopped by Ctrl-C`;

/** Adds `holdfast health`. */
export function addHealth(program: Command, context: CommandContext): void {
  const command = program
    .command("health")
    .description("Say how the whole system is, and what to do: exit code 0, 1 or 2")
    .option("--watch", "every 2 s anew; where nobody watches, a line a change")
    .option("--json", "print as JSON")
    .addHelpText("after", EXIT_CODES);
  withClientOptions(command).action(async (options: HealthOptions) => {
    const { runHealth } = await import("../health/run-health.ts");
    await runHealth(options, context);
  });
}
