import type { Command } from "commander";
import type { CommandContext } from "../command-context.ts";
import { withClientOptions } from "./client-options.ts";
import { positiveNumber } from "./option-values.ts";
import type * as jobActions from "../jobs/job-actions.ts";
import type { ListOptions, JobOptions } from "../jobs/job-actions.ts";

type JobActions = typeof jobActions;

/** Adds `holdfast jobs …`. */
export function addJobs(program: Command, context: CommandContext): void {
  const jobs = program.command("jobs").description("List, watch and change jobs");
  withClientOptions(jobs.command("list").description("List jobs, newest first"))
    .option("--status <status>", "one status, or several separated by commas")
    .option("--tag <tag>", "only jobs with this tag")
    .option("--batch <id>", "only jobs of this batch")
    .option("--since <when>", "created after an instant, or so long ago: 2h, 2025-11-25T10:00:00Z")
    .option("--before <when>", "created before")
    .option("--oldest", "oldest first")
    .option("--limit <number>", "at most so many (default 50)", positiveNumber)
    .option("--json", "one JSON object a line")
    .action((options: ListOptions) => run("list", options, context));

  withClientOptions(jobs.command("show").description("Show a job and its attempts"))
    .argument("<job>", "id or number")
    .option("--json", "print as JSON")
    .action((id: string, options: JobOptions) => run("show", id, options, context));

  withClientOptions(jobs.command("watch").description("Watch a job until it has ended"))
    .argument("<job>", "id or number")
    .option("--out <folder>", "write the outputs there")
    .option("--json", "print the ended job as JSON")
    .action((id: string, options: JobOptions) => run("watch", id, options, context));

  for (const action of ["cancel", "retry"] as const) {
    const words = action === "cancel" ? "Cancel jobs" : "Queue ended jobs again";
    const command = withClientOptions(jobs.command(action).description(words))
      .argument("<job...>", "ids or numbers")
      .option("--json", "one JSON object a line");
    if (action === "retry") command.option("--force", "also a completed job: render it once more");
    command.action((ids: string[], options: JobOptions) =>
      run("change", action, ids, options, context),
    );
  }

  withClientOptions(jobs.command("outputs").description("List what a job gave, or fetch it"))
    .argument("<job>", "id or number")
    .option("--out <folder>", "write the outputs there")
    .option("--json", "print as JSON")
    .action((id: string, options: JobOptions) => run("outputs", id, options, context));
}

/** Loads what the commands do only when one of them runs. */
async function run<K extends keyof JobActions>(
  action: K,
  ...args: Parameters<JobActions[K]>
): Promise<void> {
  const actions: JobActions = await import("../jobs/job-actions.ts");
  await (actions[action] as (...args: Parameters<JobActions[K]>) => Promise<void>)(...args);
}
