import type { Command } from "commander";

/**
 * Adds `holdfast help <command…>`: Commander's own looks at the first word alone, and prints the help of
 * `sla` for `help sla search`.
 */
export function addHelp(program: Command): void {
  program.helpCommand(false);
  program
    .command("help")
    .description("Show the help of a command")
    .argument("[command...]", "its words, such as sla search")
    .action((words: readonly string[]) => {
      let command = program;
      for (const word of words) command = childOf(command, word);
      command.help();
    });
}

function childOf(command: Command, word: string): Command {
  const children = command.commands;
  const found = children.find((one) => one.name() === word || one.aliases().includes(word));
  return found ?? command.error(missingText(command, word), { code: "commander.unknownCommand" });
}

function missingText(command: Command, word: string): string {
  const name = nameOf(command);
  const found = `found ${JSON.stringify(word)}`;
  const children = command.commands.map((one) => one.name()).join(", ");
  return children === ""
    ? `error: ${name} has no commands of its own, ${found}`
    : `error: expected a command of ${name} (${children}), ${found}`;
}

function nameOf(command: Command): string {
  return command.parent === null ? command.name() : `${nameOf(command.parent)} ${command.name()}`;
}
