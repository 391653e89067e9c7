import type { Command } from "commander";
import type { RecordOptions } from "../baseline/run-record.ts";
import type { CommandContext } from "../command-context.ts";
import { withMeasuredServer } from "./measured-server.ts";

const HELP = `
Each baseline is a folder of its day below <root>/observability/baselines: README.md with hardware, driver,
versions, workflow hashes, parameters and metrics, the load runs, and a line a job. Hold a later run against
one with holdfast load --compare <folder>/load-4.json. Exit codes as of holdfast load.`;

/** Adds `holdfast baseline`. */
export function addBaseline(program: Command, context: CommandContext): void {
  const baseline = program
    .command("baseline")
    .description("Keep load runs with what they were measured on, to compare later ones with");
  const record = baseline.command("record").description("Measure, and write a baseline of today");
  withMeasuredServer(record, "workflow in the API format; repeatable")
    .option("--concurrency <numbers>", "so many in flight, a run each: 1,4", "1,4")
    .option("--jobs <number>", "of each run", "40")
    .option("--warm-up <jobs>", "left out of the figures", "4")
    .option("--seed <number>", "of the jobs' seeds (default 1)")
    .option("--timeout <seconds>", "a job that takes longer is given up (default 420)")
    .option("--root <folder>", "default infra")
    .option("--json", "the result as JSON; what is told goes to standard error")
    .addHelpText("after", HELP)
    .action(async (options: RecordOptions) => {
      const { runRecord } = await import("../baseline/run-record.ts");
      await runRecord(options, context);
    });
  baseline
    .command("list")
    .description("List what was recorded, the newest first")
    .option("--root <folder>", "where", "infra")
    .option("--json", "print as JSON")
    .action(async (options: { readonly root: string; readonly json?: boolean }) => {
      const { runList } = await import("../baseline/run-list.ts");
      await runList(options, context);
    });
}
