import type { Command } from "commander";
import type * as alertActions from "../alerts/alert-actions.ts";
import type { AlertListOptions, AlertOptions, SilenceOptions } from "../alerts/options.ts";
import type { CommandContext } from "../command-context.ts";
import { withClientOptions } from "./client-options.ts";
import { durationWithUnit, positiveNumber } from "./option-values.ts";

type AlertActions = typeof alertActions;

/** Adds `holdfast alerts …`. */
export function addAlerts(program: Command, context: CommandContext): void {
  const alerts = program
    .command("alerts")
    .description("List, acknowledge and silence alerts, and try where they are delivered to");
  const add = (name: string, words: string): Command =>
    withClientOptions(alerts.command(name).description(words)).option("--json", "print as JSON");

  add("list", "List alerts that are there, newest first")
    .option("--all", "those that were resolved as well")
    .option("--severity <severity>", "at least so bad: info, warning, critical")
    .option("--rule <name>", "only of this rule")
    .option("--limit <number>", "at most so many (default 50)", positiveNumber)
    .action((options: AlertListOptions) => run("list", options, context));

  add("show", "One alert: what to do, who is at it, and where it was sent to")
    .argument("<alert>", "its id, alt_…")
    .action((id: string, options: AlertOptions) => run("show", id, options, context));

  add("rules", "List the rules, and whether there is data for them").action(
    (options: AlertOptions) => run("rules", options, context),
  );

  add("silence", "Keep alerts from being delivered for a time")
    .argument("<matcher...>", "rule=NAME, machine=box-*, severity!=critical, …; all have to fit")
    .requiredOption("--for <duration>", "for so long, e.g. 10min, 2h", durationWithUnit)
    .requiredOption("--reason <text>", "why, for others")
    .action((matchers: string[], options: SilenceOptions) =>
      run("silence", matchers, options, context),
    );

  add("silences", "List silences, newest first").action((options: AlertOptions) =>
    run("silences", options, context),
  );

  add("unsilence", "End silences now")
    .argument("<silence...>", "their ids, sil_…")
    .action((ids: string[], options: AlertOptions) => run("unsilence", ids, options, context));

  add("ack", "Say that somebody is at alerts: no reminders of them any more")
    .argument("<alert...>", "their ids, alt_…")
    .option("--note <text>", "what is done about it")
    .action((ids: string[], options: AlertOptions) => run("ack", ids, options, context));

  add("test", "Send a test to a channel, or to all, and say what became of it")
    .argument("[channel]", "its name")
    .action((channel: string | undefined, options: AlertOptions) =>
      run("test", channel, options, context),
    );
}

/** Loads what the commands do only when one of them runs. */
async function run<K extends keyof AlertActions>(
  action: K,
  ...args: Parameters<AlertActions[K]>
): Promise<void> {
  const actions: AlertActions = await import("../alerts/alert-actions.ts");
  await (actions[action] as (...args: Parameters<AlertActions[K]>) => Promise<void>)(...args);
}
