import type { Command } from "commander";
import type { CommandContext } from "../command-context.ts";
import { withClientOptions } from "./client-options.ts";
import type * as runKeys from "../keys/run-keys.ts";
import type { KeysOptions } from "../keys/options.ts";

/** Adds `holdfast keys …`. */
export function addKeys(program: Command, context: CommandContext): void {
  const keys = program
    .command("keys")
    .description("Make, list and revoke API keys, over HTTP or on the database (--database)");
  type Action = keyof typeof runKeys;
  const run = async (action: Action, argument: string, options: KeysOptions): Promise<void> => {
    const actions = await import("../keys/run-keys.ts");
    await actions[action](argument, options, context);
  };
  common(keys.command("create").description("Make a key; it is shown once"))
    .requiredOption("--name <name>", "what the key is for")
    .option("--role <role>", "admin, operator, user or agent", "user")
    .option("--expires <duration>", "after so long, e.g. 90d; default never")
    .action((options: KeysOptions) => run("create", "", options));
  common(keys.command("list").description("List keys, without their secrets")).action(
    (options: KeysOptions) => run("list", "", options),
  );
  common(
    keys
      .command("enroll")
      .description("Make a one-time token by which a machine gets a key of its own"),
  )
    .requiredOption("--name <name>", "what the token is for")
    .option("--ttl <duration>", "how long it may be used, 1m to 30d", "1h")
    .option("--machine-name <name>", "the one machine that may use it; default any")
    .action((options: KeysOptions) => run("enroll", "", options));
  common(
    keys.command("enrolments").description("List one-time tokens, without their secrets"),
  ).action((options: KeysOptions) => run("enrolments", "", options));
  common(keys.command("revoke").description("Revoke a key, or a one-time token"))
    .argument("<key>", "its id, key_… or enr_…")
    .action((id: string, options: KeysOptions) => run("revoke", id, options));
}

function common(command: Command): Command {
  return withClientOptions(command)
    .option("--database", "work on the database of HOLDFAST_HOME or DATABASE_URL itself")
    .option("--home <folder>", "with --database: the data folder (HOLDFAST_HOME)")
    .option("--json", "print as JSON");
}
