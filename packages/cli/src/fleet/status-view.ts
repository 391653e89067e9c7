/** What `holdfast fleet status --watch` writes for each look. */
import type { FleetStatus } from "@holdfast/contract";
import { toFleetStatus } from "../api/fleet-calls.ts";
import type { Screen } from "../terminal/screen.ts";
import type { Terminal } from "../terminal/terminal.ts";
import { changeLine } from "./change-text.ts";
import { statusLines } from "./status-text.ts";
import type { Sight } from "./watch.ts";

/** What is written to. */
export interface StatusViewDeps {
  readonly terminal: Terminal;
  /** Null: nobody watches, each change is a line. */
  readonly screen: Screen | null;
  readonly isJson: boolean;
  readonly now: () => number;
}

/** Takes looks in: draws a screen anew, or writes one line (or JSON object) a change. */
export function createStatusView(deps: StatusViewDeps): (sight: Sight) => void {
  const { terminal, screen, isJson, now } = deps;
  let before: FleetStatus | undefined;
  let isLost = false;
  const instant = (): string => new Date(now()).toISOString();
  const lost = (reason: string): void => {
    const words = `the server does not answer (${reason}); looking on`;
    if (screen !== null && before !== undefined && !isJson) {
      screen.draw([`${instant()}  ${words}; as it was:`, ...linesOf(before)]);
    } else if (!isLost) terminal.note(`${instant()}  ${words}`);
    isLost = true;
  };
  const linesOf = (status: FleetStatus): readonly string[] =>
    statusLines(status, {
      now: now(),
      columns: screen === null ? terminal.resultColumns : terminal.columns,
    });
  return (sight) => {
    if (sight.kind === "lost") return lost(sight.reason);
    const status = toFleetStatus(sight.body);
    const change = changeLine(before, status);
    if (isLost && screen === null) terminal.note(`${instant()}  the server answers again`);
    isLost = false;
    before = status;
    if (screen !== null && !isJson) screen.draw([instant(), ...linesOf(status)]);
    else if (change !== null) {
      terminal.line(isJson ? JSON.stringify(status) : `${instant()}  ${change}`);
    }
  };
}
