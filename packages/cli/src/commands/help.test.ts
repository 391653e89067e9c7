import type { Command } from "commander";
import { describe, expect, it } from "vitest";
import { recordingTerminal } from "../../testing/recording-terminal.ts";
import { createProgram } from "../program.ts";

/** What is written, and how it ends. */
async function run(...argv: readonly string[]): Promise<{ text: string; code: unknown }> {
  const program = createProgram({ terminal: recordingTerminal(), env: {} });
  let text = "";
  const write = (more: string): void => void (text += more);
  quieted(program, write);
  const code = await program.parseAsync(argv, { from: "user" }).then(
    () => "none",
    (error: { code?: unknown }) => error.code,
  );
  return { text, code };
}

function quieted(command: Command, write: (text: string) => void): void {
  command.configureOutput({ writeOut: write, writeErr: write });
  for (const child of command.commands) quieted(child, write);
}

/** The words of every command below the program. */
function pathsOf(command: Command): readonly (readonly string[])[] {
  return command.commands.flatMap((child) => [
    [child.name()],
    ...pathsOf(child).map((path) => [child.name(), ...path]),
  ]);
}

describe("holdfast help", () => {
  it("prints of every command, nested ones too, what --help prints", async () => {
    const paths = pathsOf(createProgram({ terminal: recordingTerminal(), env: {} }));
    expect(paths).toContainEqual(["sla", "search"]);
    for (const path of paths) {
      const { text, code } = await run("help", ...path);
      expect(text).toContain(`Usage: holdfast ${path.join(" ")}`);
      expect({ text, code: "commander.helpDisplayed" }).toEqual(await run(...path, "--help"));
      expect(code).toBe("commander.help");
    }
  });

  it("prints the program's alone, and says what there is of a command that is none", async () => {
    expect((await run("help")).text).toContain("Runs ComfyUI so that no render is lost.");
    const { text, code } = await run("help", "sla", "find");
    expect(text).toContain('expected a command of holdfast sla (check, search), found "find"');
    expect(code).toBe("commander.unknownCommand");
    expect((await run("help", "doctor", "x")).text).toContain("holdfast doctor has no commands");
  });
});
