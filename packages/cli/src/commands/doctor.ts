import type { Command } from "commander";
import type { CommandContext } from "../command-context.ts";
import type { DoctorOptions } from "../doctor/run-doctor.ts";

/** Adds `holdfast doctor`. */
export function addDoctor(program: Command, context: CommandContext): void {
  program
    .command("doctor")
    .description("Say what is missing on this machine, and how to fix it")
    .option("--home <folder>", "the data folder to look at (HOLDFAST_HOME)")
    .option("--comfyui <urls>", "ComfyUIs to look at (COMFYUI_URL)")
    .option("--container", "whether this host can run Holdfast's containers, cards included")
    .option("--models <folder>", "with --container: the host's models (/data/comfyui/models)")
    .option("--json", "print as JSON")
    .action(async (options: DoctorOptions) => {
      const { runDoctor } = await import("../doctor/run-doctor.ts");
      await runDoctor(options, context);
    });
}
