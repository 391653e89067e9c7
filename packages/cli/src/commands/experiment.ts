import { InvalidArgumentError, Option, type Command } from "commander";
import type { CommandContext } from "../command-context.ts";
import type { BestOptions, RunOptions, ShowOptions, SyncOptions } from "../experiment/options.ts";
import { duration, positiveNumber, wholeNumber } from "./option-values.ts";

/** Adds `holdfast experiment …`. */
export function addExperiment(program: Command, context: CommandContext): void {
  const experiment = program
    .command("experiment")
    .description("Render one graph with many values, check services, resume, compare");
  addRun(experiment, context);
  addResults(experiment, context);
  addComparing(experiment, context);
}

const RUN_HELP = `
On a ComfyUI (--server, COMFYUI_URL) no Holdfast need run; else runs are jobs of a Holdfast.
Exit codes: 0 all completed, 1 some failed, 2 wrong usage, 3 pre-flight checks failed,
4 a periodic check failed (--start-from goes on), 130 stopped by Ctrl-C (--resume goes on).`;

function addRun(experiment: Command, context: CommandContext): void {
  experiment
    .command("run")
    .description("Run an experiment, or go on with it")
    .argument("<spec>", "the experiment's file, YAML or JSON")
    .option(
      "--count <number>",
      "so many experiments (default: all of a grid or list; required where mode is random)",
      positiveNumber,
    )
    .option("--pre-flight", "check all services before the first one")
    .option(
      "--start-from <number>",
      "go on at this one; what failed with a service is repeated first",
      fromZero,
    )
    .option("--resume", "go on wherever it ended; nothing that ended is done again")
    .option(
      "--in-flight <number>",
      "at most so many at a time (default 1; on a Holdfast 4)",
      positiveNumber,
    )
    .addOption(
      new Option("--on-unhealthy <what>", "when a check fails for good (default abort)").choices([
        "abort",
        "wait",
      ]),
    )
    .option(
      "--services <list>",
      "services to check instead: comfyui=URL,minio=URL,name=URL, or none",
    )
    .option("--server <url>", "the ComfyUI to render on (COMFYUI_URL)")
    .option("--holdfast <url>", "the Holdfast to render on (HOLDFAST_URL)")
    .option("--api-key <key>", "API key of the Holdfast (HOLDFAST_API_KEY)")
    .option("--output <folder>", "where results go (default experiments)")
    .option("--store <url>", "a second copy of every output: s3://bucket/prefix")
    .option("--mlflow <url>", "tell MLflow of runs and checks (MLFLOW_TRACKING_URI)")
    .option("--no-mlflow", "do not, though MLFLOW_TRACKING_URI is set")
    .option("--no-check", "check no service between runs")
    .option(
      "--timeout <duration>",
      "limit on execution of a run, e.g. 90s, 10min (default 30min)",
      duration,
    )
    .option("--dry-run <number>", "show the first runs, connect to nothing", positiveNumber)
    .option("--json", "the result as JSON; what is told goes to standard error")
    .addHelpText("after", RUN_HELP)
    .action(async (file: string, options: RunOptions) => {
      const { runExperiment } = await import("../experiment/run-experiment.ts");
      await runExperiment(file, options, context);
    });
}

function addResults(experiment: Command, context: CommandContext): void {
  experiment
    .command("list")
    .description("List experiments in a folder, newest first")
    .argument("[folder]", "where --output was (default experiments)")
    .option("--json", "one JSON object a line")
    .action(async (folder: string | undefined, options: ShowOptions) => {
      const { list } = await import("../experiment/list-experiments.ts");
      await list(folder, options, context);
    });
  experiment
    .command("show")
    .description("How far an experiment is, and what failed")
    .argument("<folder>", "of its results")
    .option("--json", "print as JSON")
    .action(async (folder: string, options: ShowOptions) => {
      const { show } = await import("../experiment/list-experiments.ts");
      await show(folder, options, context);
    });
  experiment
    .command("sync")
    .description("Bring to MLflow what it does not have yet")
    .argument("<folder>", "of the experiment's results")
    .option("--mlflow <url>", "where MLflow is (MLFLOW_TRACKING_URI)")
    .option("--timeout <duration>", "wait at most so long (default 10min)", duration)
    .option("--json", "print as JSON")
    .action(async (folder: string, options: SyncOptions) => {
      const { syncLog } = await import("../experiment/sync-log.ts");
      await syncLog(folder, options, context);
    });
}

function addComparing(experiment: Command, context: CommandContext): void {
  experiment
    .command("best")
    .description("Mark the best run: by a metric, by a command's verdict, or by hand")
    .argument("<folder>", "of the experiment's results")
    .option("--by <metric>", "the highest: duration_seconds, vram_peak_mb, … or score")
    .option("--lowest", "the lowest instead")
    .option("--command <cmd>", "score each run: gets its pictures, prints a number")
    .option("--mark <run>", "this one: exp_0042")
    .option("--json", "print as JSON")
    .action(async (folder: string, options: BestOptions) => {
      const { best } = await import("../experiment/choose-best.ts");
      await best(folder, options, context);
    });
  experiment
    .command("report")
    .description("Write the page that compares the runs: comparison.html")
    .argument("<folder>", "of the experiment's results")
    .option("--json", "print as JSON")
    .action(async (folder: string, options: ShowOptions) => {
      const { report } = await import("../experiment/comparison-file.ts");
      await report(folder, options, context);
    });
}

function fromZero(text: string): number {
  const value = wholeNumber(text);
  if (value < 0) throw new InvalidArgumentError("expected a whole number from 0.");
  return value;
}
