import { Option, type Command } from "commander";
import type { CommandContext } from "../command-context.ts";
import type { CheckOptions } from "../sla/run-check.ts";
import type { SlaSearchOptions } from "../sla/run-search.ts";
import { withClientOptions } from "./client-options.ts";
import { withMeasuredServer } from "./measured-server.ts";
import { durationWithUnit, positiveNumber } from "./option-values.ts";

const DAY_MS = 86_400_000;

const SEARCH_HELP = `
Twice as many books until a target is missed, then halfway; a number has failed when it did so twice. Latency
and failures are judged; throughput is told, with where it flattens. Exit codes: 0 every target that was
measured is met; 1 one is missed; 2 wrong usage, nothing was sent; 3 the server is gone; 130 Ctrl-C.`;

/** Adds `holdfast sla`. */
export function addSla(program: Command, context: CommandContext): void {
  const sla = program
    .command("sla")
    .description("What is promised of a service, and what was measured");
  const check = sla
    .command("check")
    .description("Judge what a Holdfast delivered lately: exit code 1 where a target is missed")
    .option("--targets <file>", "targets as YAML or JSON (default: the starting targets)")
    .option("--server <url>", "the same as --url")
    .addOption(
      new Option("--last <time>", "over how long: 24h, 7d")
        .argParser(durationWithUnit)
        .default(DAY_MS, "24h"),
    )
    .option("--json", "print as JSON");
  withClientOptions(check).action(async (options: CheckOptions & { readonly server?: string }) => {
    const { runCheck } = await import("../sla/run-check.ts");
    const { server, ...rest } = options;
    await runCheck(server === undefined ? rest : { ...rest, url: server }, context);
  });
  const search = sla
    .command("search")
    .description("Find the most books at a time within the targets, and write the runbook");
  withMeasuredServer(search, "pages in the API format; repeatable")
    .option("--targets <file>", "targets as YAML or JSON (default: the starting targets)")
    .option("--from <books>", "begin with so many", positiveNumber, 1)
    .option("--max <books>", "try no more than so many", positiveNumber, 64)
    .option("--window <pages>", "pages of a book in flight", positiveNumber, 2)
    .option("--seed <number>", "of the pages' seeds (default 1)")
    .option("--timeout <seconds>", "a page that takes longer is given up (default 420)")
    .option("--root <folder>", "where runbooks/comfyui_sla.md is written (default infra)")
    .option("--output <file>", "write trials and verdict there as JSON")
    .option("--json", "the result as JSON; what is told goes to standard error")
    .addHelpText("after", SEARCH_HELP)
    .action(async (options: SlaSearchOptions) => {
      const { runSearch } = await import("../sla/run-search.ts");
      await runSearch(options, context);
    });
}
