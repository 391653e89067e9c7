import type { Command } from "commander";
import type { CommandContext } from "../command-context.ts";
import type { BreakerReplayOptions } from "../fleet/replay-breaker.ts";

/** Adds `holdfast fleet …`. */
export function addFleet(program: Command, context: CommandContext): void {
  const fleet = program
    .command("fleet")
    .description("The machines of the fleet, and what keeps new ones from being started");
  fleet
    .command("breaker")
    .description("Whether new machines may be started, and when they may again")
    .requiredOption("--replay <file>", "machines' events, one JSON object a line; - for stdin")
    .option("--at <instant>", "the instant to look at (RFC 3339 or epoch ms); default: now")
    .option("--threshold <share>", "failure rate that blocks (MAX_WORKER_FAILURE_RATE)")
    .option("--window-minutes <n>", "how long a machine counts (FAILURE_WINDOW_MINUTES)")
    .option("--minimum <n>", "machines that a check needs (MIN_WORKERS_FOR_RATE_CHECK)")
    .option("--clear-before <instant>", "leave failures before this instant out")
    .option("--json", "print one JSON object")
    .action(async (options: BreakerReplayOptions) => {
      const { replayBreakerFile } = await import("../fleet/replay-breaker.ts");
      await replayBreakerFile(options, context);
    });
}
