import { Command, type CommanderError } from "commander";
import { addAlerts } from "./commands/alerts.ts";
import { addBaseline } from "./commands/baseline.ts";
import { addBatch } from "./commands/batch.ts";
import { addClassify } from "./commands/classify.ts";
import { addCompletion } from "./commands/completion.ts";
import { addDoctor } from "./commands/doctor.ts";
import { addExperiment } from "./commands/experiment.ts";
import { addFault } from "./commands/fault.ts";
import { addFleet } from "./commands/fleet.ts";
import { addHealth } from "./commands/health.ts";
import { addHelp } from "./commands/help.ts";
import { addJobs } from "./commands/jobs.ts";
import { addKeys } from "./commands/keys.ts";
import { addLoad } from "./commands/load.ts";
import { addMachine } from "./commands/machine.ts";
import { addOutWords } from "./commands/out-options.ts";
import { addProfile } from "./commands/profile.ts";
import { addServers } from "./commands/servers.ts";
import { addSla } from "./commands/sla.ts";
import { addSubmit } from "./commands/submit.ts";
import type { CommandContext } from "./command-context.ts";
import { EXIT_CODES_IN_WORDS } from "./exit-codes.ts";
import { holdfastVersion } from "./version.ts";

/**
 * The command line. Declaring a command loads nothing of what it needs: each action imports its
 * packages itself, so that `jobs list` does not wait for a database driver.
 */
export function createProgram(context: CommandContext): Command {
  const program = new Command("holdfast")
    .description("Runs ComfyUI so that no render is lost.")
    .version(holdfastVersion(), "-V, --version", "print the version")
    .showHelpAfterError("(holdfast help <command> says more)")
    .exitOverride(rethrow)
    .addHelpText(
      "after",
      `\nExit codes:\n${EXIT_CODES_IN_WORDS.map(([code, words]) => `  ${String(code).padEnd(4)} ${words}`).join("\n")}`,
    );
  addServers(program, context);
  addSubmit(program, context);
  addJobs(program, context);
  addBatch(program, context);
  addExperiment(program, context);
  addLoad(program, context);
  addProfile(program, context);
  addAlerts(program, context);
  addClassify(program, context);
  addMachine(program, context);
  addFault(program, context);
  addFleet(program, context);
  addHealth(program, context);
  addSla(program, context);
  addBaseline(program, context);
  addKeys(program, context);
  addDoctor(program, context);
  addCompletion(program, context);
  addHelp(program);
  addOutWords(program);
  return program;
}

function rethrow(error: CommanderError): never {
  throw error;
}
