import type { Command } from "commander";
import type { CommandContext } from "../command-context.ts";
import type { FaultListOptions, FaultOptions } from "../fault/options.ts";
import { collect, positiveNumber } from "./option-values.ts";

/** Adds `holdfast fault …`. */
export function addFault(program: Command, context: CommandContext): void {
  const fault = program
    .command("fault")
    .description("Make faults in a world of its own, and see whether Holdfast keeps its promises");
  fault
    .command("list")
    .description("The scenarios, and what must happen in each")
    .option("--json", "one JSON object a line")
    .action(async (options: FaultListOptions) => {
      const { listScenarios } = await import("../fault/run-fault.ts");
      listScenarios(options, context);
    });
  fault
    .command("run")
    .description(
      "Run scenarios: each starts Postgres, control plane, agents and simulated ComfyUIs on loopback, in a temporary folder, and removes them again",
    )
    .argument("[names...]", "scenarios, as `holdfast fault list` has them")
    .option("--all", "every scenario: before a release")
    .option("--quick", "the two for every week")
    .option("--client <name>", "holdfast, bare (what a bare ComfyUI client loses), or both")
    .option(
      "--comfyui <url>",
      "a running ComfyUI instead of simulated ones: what can be done to it",
    )
    .option("--jobs <number>", "jobs of a scenario (default 8)", positiveNumber)
    .option("--setting <name=value>", "a setting of the control plane there (repeatable)", collect)
    .option("--output <file>", "write what was seen as JSON")
    .option("--report <file>", "write the table and what was seen as Markdown")
    .option("--json", "print as JSON")
    .option("--keep", "leave each world's folder, with its logs, and say where it is")
    .action(async (names: readonly string[], options: FaultOptions) => {
      const { runFault } = await import("../fault/run-fault.ts");
      await runFault(names, options, context);
    });
}
