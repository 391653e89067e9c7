import { Option, type Command } from "commander";

const WORDS = { "--out": "--output", "--output": "--out" } as const;

/**
 * Commands say `--out` of a folder for a job's outputs and `--output` of a file or an experiment's
 * folder: each takes the other word as well. It is not shown, and answers name the command's own.
 */
export function addOutWords(command: Command): void {
  for (const child of command.commands) addOutWords(child);
  for (const own of command.options) {
    if (own.long !== "--out" && own.long !== "--output") continue;
    const word = WORDS[own.long];
    if (command.options.some(({ long }) => long === word)) continue;
    const other = new Option(own.flags.replace(own.long, word), own.description).hideHelp();
    command.addOption(other);
    // What it says where its value is left out.
    other.flags = own.flags;
    command.on(`option:${other.name()}`, (value: string) => {
      command.setOptionValueWithSource(other.attributeName(), undefined, undefined);
      command.setOptionValueWithSource(own.attributeName(), value, "cli");
    });
  }
}
