import type { Command } from "commander";
import type { CommandContext } from "../command-context.ts";
import type { LoadOptions } from "../load/options.ts";
import { withMeasuredServer } from "./measured-server.ts";

const HELP = `
A job's latency counts from when it was meant to begin, to the last byte of its outputs. In a workflow every
seed is the job's own; {{seed}} and {{index}} stand for its seed and number. Seconds may be 90s, 10min.
Exit codes: 0 done, and enough jobs completed; 1 fewer than --min-success, or worse than --compare (or too few to
say);
2 wrong usage, nothing was sent; 3 the server cannot be reached; 130 Ctrl-C, with the report written.`;

/** Adds `holdfast load`. */
export function addLoad(program: Command, context: CommandContext): void {
  const command = program
    .command("load")
    .description("Put load on a ComfyUI or a Holdfast, and measure it");
  const workflows = "workflow in the API format; repeatable, 3 comes three times as often as 1";
  withMeasuredServer(command, workflows)
    .option("--seed <number>", "of the mix and of its jobs' seeds (default 1)")
    .option("--jobs <number>", "so many jobs (default 12, where no time ends the run)")
    .option("--for <duration>", "begin no job later than this")
    .option("--concurrency <number>", "so many in flight (default 4): a closed loop")
    .option("--rate <rate>", "so many begun, whatever becomes of them: 30/min, 2/s, poisson:2/s")
    .option("--ramp <from..to@time>", "more and more: 1..20@5min in flight, 0/s..10/s@5min begun")
    .option("--step <levels@time>", "one level after the other: 1,2,4,8@60s or 1/s@60s,2/s@90s")
    .option("--warm-up <jobs|time>", "leave out of the figures: 4, or 30s")
    .option("--timeout <seconds>", "a job that takes longer is given up (default 420)")
    .option("--stop-gpu <percent>", "end where a card is so busy (ramps: 90; never)")
    .option("--stop-errors <percent>", "end where more of the last 100 fail (ramps: 2; never)")
    .option("--min-success <share>", "with fewer completed the exit code is 1 (default 0.98)")
    .option("--cost-per-hour <dollars>", "of one machine; default: what a fleet knows of its own")
    .option("--output <file>", "write summary and samples there, for jq and --compare")
    .option("--report <file>", "write a page with plots there (HTML)")
    .option("--scenario <name>", "with this fault meanwhile (holdfast fault list)")
    .option("--root <folder>", "where observability/comfyui_metrics.ndjson grows (default infra)")
    .option("--compare <file>", "an --output before: better or worse, with intervals")
    .option("--force", "compare though it was other work")
    .option("--json", "the result as JSON; what is told goes to standard error")
    .addHelpText("after", HELP)
    .action(async (options: LoadOptions) => {
      const { runLoad } = await import("../load/run-load.ts");
      await runLoad(options, context);
    });
}
