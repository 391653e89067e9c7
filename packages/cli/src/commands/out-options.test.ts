import { Command } from "commander";
import { describe, expect, it } from "vitest";
import { createProgram } from "../program.ts";
import { recordingTerminal } from "../../testing/recording-terminal.ts";
import { toCommandTree } from "../completion/command-tree.ts";
import { addOutWords } from "./out-options.ts";

function parsed(own: string, ...argv: readonly string[]): unknown {
  const program = new Command().exitOverride().configureOutput({ writeErr: () => undefined });
  const command = program.command("sub").command("do").option(`${own} <place>`, "where to write");
  let options: unknown;
  command.action((given: unknown) => void (options = given));
  addOutWords(program);
  program.parse(["sub", "do", ...argv], { from: "user" });
  return options;
}

describe("where results are written", () => {
  it("is taken by either word, under the command's own", () => {
    expect(parsed("--out", "--output", "a")).toEqual({ out: "a" });
    expect(parsed("--output", "--out", "a")).toEqual({ output: "a" });
    expect(parsed("--output", "--out=a", "--output", "b")).toEqual({ output: "b" });
    expect(parsed("--output")).toEqual({});
  });

  it("is named by the command's own word in answers, help and completion", () => {
    expect(() => parsed("--out", "--output")).toThrow("option '--out <place>' argument missing");
    expect(() => parsed("--other", "--out", "a")).toThrow("unknown option '--out'");
    const program = createProgram({ terminal: recordingTerminal(), env: {} });
    const submit = program.commands.find((command) => command.name() === "submit");
    expect(submit?.options.map(({ long }) => long)).toContain("--output");
    expect(submit?.helpInformation()).not.toContain("--output");
    expect(JSON.stringify(toCommandTree(program))).toContain('"--out"');
    const all = (command: Command): readonly Command[] => [
      command,
      ...command.commands.flatMap(all),
    ];
    for (const command of all(program)) {
      const shown = command.options.filter(
        ({ long, hidden }) => !hidden && (long === "--out" || long === "--output"),
      );
      expect(shown.length).toBeLessThan(2);
    }
  });
});
