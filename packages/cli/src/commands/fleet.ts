import type { Command } from "commander";
import { CommandFailure } from "../command-failure.ts";
import type { CommandContext } from "../command-context.ts";
import { EXIT } from "../exit-codes.ts";
import type * as leverCommands from "../fleet/lever-commands.ts";
import type { BreakerReplayOptions } from "../fleet/replay-breaker.ts";
import type * as runFleet from "../fleet/run-fleet.ts";
import type { ShowOptions } from "../fleet/run-fleet.ts";
import type { EndOptions, LeverOptions, SpawnOptions } from "../fleet/run-levers.ts";
import { withClientOptions, type ClientOptions } from "./client-options.ts";
import { positiveNumber } from "./option-values.ts";

type Changing = LeverOptions & ClientOptions;

/** Adds `holdfast fleet …`. */
export function addFleet(program: Command, context: CommandContext): void {
  const fleet = program
    .command("fleet")
    .description("The machines of the fleet, and what keeps new ones from being started");
  addShowing(fleet, context);
  addBreaker(fleet, context);
  addLevers(fleet, context);
  addMachineChanges(fleet, context);
}

function addShowing(fleet: Command, context: CommandContext): void {
  withClientOptions(fleet.command("status").description("How the fleet is, and what to do"))
    .option("--watch", "every 2 s anew; where nobody watches, a line a change")
    .option("--json", "print as JSON")
    .action((options: ShowOptions) => show("status", options, context));
  withClientOptions(fleet.command("machines").description("List machines, newest first"))
    .option("--all", "those that ended too")
    .option("--limit <number>", "at most so many (default 200)", positiveNumber)
    .option("--json", "one JSON object a line")
    .action((options: ShowOptions) => show("machines", options, context));
  withClientOptions(
    fleet
      .command("show")
      .description("One machine: why it is as it is, its steps, and where its log is"),
  )
    .argument("<machine>", "its name, or its id")
    .option("--json", "print as JSON")
    .action(async (ref: string, options: ShowOptions) => {
      const { showMachine } = await import("../fleet/run-fleet.ts");
      await showMachine(ref, options, context);
    });
  withClientOptions(fleet.command("levers").description("What people have set while it runs"))
    .option("--all", "those that were undone or replaced too")
    .option("--limit <number>", "with --all: at most so many (default 200)", positiveNumber)
    .option("--json", "one JSON object a line")
    .action((options: ShowOptions) => show("levers", options, context));
}

const REPLAY_HELP = `
The file of --replay has one JSON object a line, in any order:
  {"machineId": "a", "event": "spawned", "at": "2026-01-31T12:00:00Z"}
  {"machineId": "a", "event": "healthy", "at": "2026-01-31T12:03:00Z"}
  {"machineId": "a", "event": "ended", "at": "2026-01-31T12:09:00Z", "cause": "failed", "kind": "crash"}
at: RFC 3339 with a zone, or epoch ms. ended needs a cause: failed or intended. kind may be left out: 
  no_start, no_heartbeat, crash, fault_report, provider_error.`;

function addBreaker(fleet: Command, context: CommandContext): void {
  withClientOptions(
    fleet
      .command("breaker")
      .description("Whether new machines may be started, and when they may again"),
  )
    .option("--replay <file>", "instead of a server's: machines' events, JSON lines; - for stdin")
    .option(
      "--at <instant>",
      "the instant to look at (RFC 3339, epoch ms, or so long ago: 2h); default: now",
    )
    .option("--threshold <share>", "failure rate that blocks, 0.8 or 80% (MAX_WORKER_FAILURE_RATE)")
    .option(
      "--window-minutes <n>",
      "how long a machine counts: 30, or 90s, 2h (FAILURE_WINDOW_MINUTES)",
    )
    .option("--minimum <n>", "machines that a check needs (MIN_WORKERS_FOR_RATE_CHECK)")
    .option(
      "--clear-before <instant>",
      "leave failures before this instant out, or before so long ago",
    )
    .option("--json", "print one JSON object")
    .addHelpText("after", REPLAY_HELP)
    .action(async (options: Partial<BreakerReplayOptions> & ShowOptions) => {
      const { replay } = options;
      if (replay === undefined) {
        assertNoReplayFlags(options);
        return await show("breaker", options, context);
      }
      const { replayBreakerFile } = await import("../fleet/replay-breaker.ts");
      await replayBreakerFile({ ...options, replay }, context);
    });
}

/** They would seem to set something on the server. */
function assertNoReplayFlags(options: Partial<BreakerReplayOptions>): void {
  const { at, threshold, windowMinutes, minimum, clearBefore } = options;
  const flags = {
    "--at": at,
    "--threshold": threshold,
    "--window-minutes": windowMinutes,
    "--minimum": minimum,
    "--clear-before": clearBefore,
  };
  const given = Object.entries(flags).find(([, value]) => value !== undefined)?.[0];
  if (given === undefined) return;
  throw new CommandFailure(
    EXIT.refused,
    `${given}: expected --replay FILE beside it. What the running server goes by is set with holdfast fleet threshold, window, minimum and clear`,
  );
}

function addLevers(fleet: Command, context: CommandContext): void {
  const lever = (name: string, description: string): Command =>
    withReason(withClientOptions(fleet.command(name).description(description)));
  lever("threshold", "Set the failure rate from which nothing new is started")
    .argument("<share>", "over 0 and at most 1, such as 0.9, or 90%")
    .action((text: string, options: Changing) =>
      change("set", "threshold", text, options, context),
    );
  lever("window", "Set how long a machine counts")
    .argument("<minutes>", "minutes, or a duration such as 90s or 2h")
    .action((text: string, options: Changing) => change("set", "window", text, options, context));
  lever("minimum", "Set how many machines a check needs")
    .argument("<machines>", "a whole number from 1")
    .action((text: string, options: Changing) => change("set", "minimum", text, options, context));
  lever("clear", "Leave failures before an instant out of the rate")
    .requiredOption("--before <instant>", "an instant, or so long ago: 10min, 2h")
    .action((options: Changing & { readonly before: string }) => change("clear", options, context));
  lever("pause", "Start and end nothing until this is undone").action((options: Changing) =>
    change("pause", options, context),
  );
  lever("undo", "Undo a lever: what was set before it is in force again")
    .argument("<lever>", "its id, as holdfast fleet levers has it")
    .action((id: string, options: Changing) => change("undo", id, options, context));
}

function addMachineChanges(fleet: Command, context: CommandContext): void {
  withReason(withClientOptions(fleet.command("spawn").description("Start machines now")))
    .option("--pool <name>", "where; may be left out where there is one pool")
    .option("--count <number>", "how many (default 1)", positiveNumber)
    .option("--force", "also while spawning is BLOCKED, or over the budget")
    .option("--yes", "with --force: do not ask whether that is meant")
    .action((options: SpawnOptions & ClientOptions) => change("spawn", options, context));
  withReason(withClientOptions(fleet.command("end").description("End a machine")))
    .argument("<machine>", "its name, or its id in the fleet")
    .option("--now", "do not wait for its jobs: they go back to the queue at no cost")
    .action((ref: string, options: EndOptions & ClientOptions) =>
      change("end", ref, options, context),
    );
}

function withReason(command: Command): Command {
  return command
    .option("--reason <words>", "why; recorded with who did it")
    .option("--json", "print as JSON");
}

type Showing = typeof runFleet;
type LeverCommands = typeof leverCommands;

/** Loads what the commands do only when one of them runs. */
async function show(
  action: "status" | "breaker" | "machines" | "levers",
  options: ShowOptions,
  context: CommandContext,
): Promise<void> {
  const actions: Showing = await import("../fleet/run-fleet.ts");
  await actions[action](options, context);
}

async function change<K extends keyof LeverCommands>(
  action: K,
  ...args: Parameters<LeverCommands[K]>
): Promise<void> {
  const actions: LeverCommands = await import("../fleet/lever-commands.ts");
  await (actions[action] as (...args: Parameters<LeverCommands[K]>) => Promise<void>)(...args);
}
