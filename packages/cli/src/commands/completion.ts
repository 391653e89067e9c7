import type { Command } from "commander";
import { CommandFailure } from "../command-failure.ts";
import { EXIT } from "../exit-codes.ts";
import type { CommandContext } from "../command-context.ts";

/** Adds `holdfast completion`. */
export function addCompletion(program: Command, context: CommandContext): void {
  program
    .command("completion")
    .description("Print a completion script: bash, zsh or fish")
    .argument("<shell>", "bash, zsh or fish")
    .action(async (shell: string) => {
      const { completionScript, isShell } = await import("../completion/completion-script.ts");
      if (!isShell(shell)) {
        throw new CommandFailure(EXIT.refused, `expected bash, zsh or fish, found ${shell}`);
      }
      const { toCommandTree } = await import("../completion/command-tree.ts");
      context.terminal.line(completionScript(shell, toCommandTree(program)));
    });
}
