import type { Command } from "commander";
import type { CommandContext } from "../command-context.ts";
import { duration } from "./option-values.ts";
import type { MachineCommandOptions } from "../machine/options.ts";
import type * as runMachine from "../machine/run-machine.ts";

/** Commands that open the machine folder. */
type FolderCommand = "clean" | "install" | "plan" | "rollback" | "status" | "update";

/** Adds `holdfast machine …`. */
export function addMachine(program: Command, context: CommandContext): void {
  const machine = program
    .command("machine")
    .description("Install and look after what machine.yaml says of this machine");
  const add = (action: FolderCommand, description: string): Command =>
    common(machine.command(action).description(description)).action(
      async (options: MachineCommandOptions) => {
        const actions: typeof runMachine = await import("../machine/run-machine.ts");
        await actions[action](options, context);
      },
    );
  common(machine.command("init").description("Write a machine.yaml to begin with"))
    .action(async (options: MachineCommandOptions) => {
      const { init } = await import("../machine/run-init.ts");
      await init(options, context);
    })
    .option("--adopt <folder>", "a ComfyUI that is there already; it is never written to")
    .option("--python <file>", "its Python, where it is not in venv or .venv of the folder")
    .option("--force", "replace a machine.yaml that is there");
  const endHold = "go by machine.yaml again, which a rollback has held back";
  const thorough = "look thoroughly at everything that seems done";
  add("plan", "Say what an installation would do; changes nothing")
    .option("--update", "ask for every ref anew")
    .option("--verify", thorough)
    .option("--end-hold", endHold);
  withWait(add("install", "Bring the machine to what machine.yaml says"))
    .option("--verify", thorough)
    .option("--end-hold", endHold);
  withWait(
    add(
      "update",
      "The same, with every ref asked for anew: branches move; ends what a rollback holds back",
    ),
  ).option("--end-hold", "go by machine.yaml also when it comes to what the machine has left");
  withWait(add("rollback", "Make the release before serve again; once more undoes it"));
  withWait(
    add("clean", "Remove releases, checkouts, parts of downloads and logs that nobody needs"),
  ).option("--dry-run", "list what would go, with sizes; changes nothing");
  add("status", "Say what is installed, and how the services are");
}

function common(command: Command): Command {
  return command
    .option("--manifest <file>", "what this machine should be (HOLDFAST_MACHINE_MANIFEST)")
    .option("--machine-dir <folder>", "folder for what is installed (HOLDFAST_MACHINE_DIR)")
    .option("--home <folder>", "folder for everything Holdfast keeps (HOLDFAST_HOME)")
    .option("--log-level <level>", "debug, info, warn, error or silent (HOLDFAST_LOG_LEVEL)")
    .option("--json", "print as JSON");
}

function withWait(command: Command): Command {
  return command.option("--wait <duration>", "wait so long for another installer", duration);
}
