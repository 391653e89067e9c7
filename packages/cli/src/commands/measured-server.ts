import { Option, type Command } from "commander";
import { collect } from "./option-values.ts";

/** The options of commands that put load on a server: which, what it must be, its key, and the graphs. */
export function withMeasuredServer(command: Command, workflows: string): Command {
  return command
    .option("--server <url>", "what is measured (HOLDFAST_URL; default http://127.0.0.1:8328)")
    .addOption(
      new Option("--target <kind>", "what must answer there (default: found out)").choices([
        "comfyui",
        "holdfast",
      ]),
    )
    .option("--api-key <key>", "API key of a Holdfast (HOLDFAST_API_KEY)")
    .option("--workflow <file[=weight]>", workflows, collect);
}
