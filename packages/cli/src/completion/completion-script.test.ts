import { describe, expect, it } from "vitest";
import { createProgram } from "../program.ts";
import { toCommandTree } from "./command-tree.ts";
import { completionScript, SHELLS } from "./completion-script.ts";

const terminal = {
  line: () => undefined,
  note: () => undefined,
  progress: () => undefined,
  isInteractive: false,
  columns: 80,
  resultColumns: 80,
};
const tree = toCommandTree(createProgram({ terminal, env: {} }));

describe("the command line", () => {
  it("has the commands whose names are promised", () => {
    expect(tree.children.map((child) => child.name)).toEqual(
      expect.arrayContaining([
        "up",
        "server",
        "agent",
        "simulator",
        "submit",
        "jobs",
        "batch",
        "experiment",
        "alerts",
        "classify",
        "machine",
        "fleet",
        "health",
        "keys",
        "doctor",
      ]),
    );
    const jobs = tree.children.find((child) => child.name === "jobs");
    expect(jobs?.children.map((child) => child.name)).toEqual([
      "list",
      "show",
      "watch",
      "cancel",
      "retry",
      "outputs",
    ]);
    const alerts = tree.children.find((child) => child.name === "alerts");
    expect(alerts?.children.map((child) => child.name)).toEqual([
      "list",
      "show",
      "rules",
      "silence",
      "silences",
      "unsilence",
      "ack",
      "test",
    ]);
    const machine = tree.children.find((child) => child.name === "machine");
    expect(machine?.children.map((child) => child.name)).toEqual([
      "init",
      "plan",
      "install",
      "update",
      "rollback",
      "clean",
      "status",
    ]);
    const fleet = tree.children.find((child) => child.name === "fleet");
    expect(fleet?.children.map((child) => child.name)).toEqual([
      "status",
      "machines",
      "show",
      "levers",
      "breaker",
      "threshold",
      "window",
      "minimum",
      "clear",
      "pause",
      "undo",
      "spawn",
      "end",
    ]);
  });

  it.each(SHELLS)("completes commands and options in %s", (shell) => {
    const script = completionScript(shell, tree);
    for (const word of ["submit", "doctor", "outputs", "idempotency-key", "rollback", "adopt"]) {
      expect(script).toContain(word);
    }
  });
});
