import type { Command } from "commander";

/** A command and what may follow it, as completion scripts need it. */
export interface CommandNode {
  readonly name: string;
  readonly description: string;
  /** Long options, with the dashes. */
  readonly options: readonly { readonly name: string; readonly description: string }[];
  readonly children: readonly CommandNode[];
}

/** The tree of a program's commands. */
export function toCommandTree(command: Command): CommandNode {
  const options = command.options
    .filter((option) => option.long !== undefined && !option.hidden)
    .map((option) => ({ name: option.long ?? "", description: option.description }));
  return {
    name: command.name(),
    description: command.description(),
    options: [...options, { name: "--help", description: "show help" }],
    children: command.commands.map(toCommandTree),
  };
}
