import type { Command } from "commander";
import type { CommandContext } from "../command-context.ts";
import type { ProfileOptions } from "../profile/options.ts";
import { collect } from "./option-values.ts";

const HELP = `
Runs each workflow alone, one run after the other, each with a seed of its own. Of a bare ComfyUI all models
are unloaded before a workflow's first run, so that it is a cold one; where others use it, they are left.
Writes <root>/comfyui/profiling/YYYY-MM-DD (README.md, report.html, summary.json, a file a workflow).
Without --workflow it takes book_small.json, book_medium.json and book_large.json of <root>/comfyui/samples;
where --root is not given and there are none, those of the repository that this program lies in.
A Holdfast learns from its jobs by itself: --feed is for what a bare ComfyUI showed.
Exit codes: 0 done; 1 a run did not complete, a file could not be written or the Holdfast not be told;
2 wrong usage, nothing was sent; 3 the server cannot be reached, or was lost; 130 Ctrl-C. What was measured
is written in any case.`;

/** Adds `holdfast profile`. */
export function addProfile(program: Command, context: CommandContext): void {
  program
    .command("profile")
    .description("Measure what workflows cost: time a node, loading of models, memory of the card")
    .option(
      "--server <url>",
      "a ComfyUI or a Holdfast (HOLDFAST_URL; default http://127.0.0.1:8328)",
    )
    .option("--api-key <key>", "API key of a Holdfast (HOLDFAST_API_KEY)")
    .option(
      "--workflow <file>",
      "workflow in the API format; repeatable (default: the three samples, see below)",
      collect,
    )
    .option("--runs <number>", "of each workflow; the first loads its models (default 3)")
    .option("--seed <number>", "of the runs' seeds (default 1)")
    .option("--root <folder>", "where comfyui/profiling grows (default infra)")
    .option(
      "--nvidia-smi <program>",
      "asked for the cards (default: nvidia-smi, on the server's host)",
    )
    .option("--no-nvidia-smi", "do not ask it")
    .option("--every <ms>", "between two looks at the cards (default 1000)")
    .option("--timeout <seconds>", "a run that takes longer is given up (default 420)")
    .option("--feed <url>", "a Holdfast to tell the figures of a bare ComfyUI (default: none)")
    .option("--keep-models", "do not unload models first; the first run may not be a cold one then")
    .option("--json", "the summary as JSON; what is told goes to standard error")
    .addHelpText("after", HELP)
    .action(async (options: ProfileOptions) => {
      const { runProfile } = await import("../profile/run-profile.ts");
      await runProfile(options, context);
    });
}
