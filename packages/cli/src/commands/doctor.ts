import type { Command } from "commander";
import type { CommandContext } from "../program.ts";

/** The options of `doctor`. */
export interface DoctorOptions {
  readonly home?: string;
  readonly comfyui?: string;
  readonly json?: boolean;
}

/** Adds `holdfast doctor`. */
export function addDoctor(program: Command, context: CommandContext): void {
  program
    .command("doctor")
    .description("Say what is missing on this machine, and how to fix it")
    .option("--home <folder>", "the data folder to look at (HOLDFAST_HOME)")
    .option("--comfyui <urls>", "ComfyUIs to look at (COMFYUI_URL)")
    .option("--json", "print as JSON")
    .action(async (options: DoctorOptions) => {
      const { runDoctor } = await import("../doctor/run-doctor.ts");
      await runDoctor(options, context);
    });
}
