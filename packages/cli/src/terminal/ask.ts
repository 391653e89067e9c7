import { createInterface } from "node:readline/promises";
import { CommandFailure } from "../command-failure.ts";
import { EXIT } from "../exit-codes.ts";
import type { Terminal } from "./terminal.ts";

/** Asks whoever watches; the answer is trimmed. Null where nobody can answer. */
export type Ask = (question: string) => Promise<string | null>;

/** Asks on the process's own terminal. Ctrl-C at the question ends the command. */
export function processAsk(terminal: Pick<Terminal, "isInteractive">): Ask {
  return async (question) => {
    if (!terminal.isInteractive || !process.stdin.isTTY) return null;
    const prompt = createInterface({ input: process.stdin, output: process.stderr });
    const stopped = new AbortController();
    prompt.once("SIGINT", () => stopped.abort(EXIT.interrupted));
    prompt.once("close", () => stopped.abort());
    try {
      return (await prompt.question(question, { signal: stopped.signal })).trim();
    } catch (error) {
      if (stopped.signal.reason === EXIT.interrupted) {
        throw new CommandFailure(EXIT.interrupted, "\nnothing was changed");
      }
      if (!stopped.signal.aborted) throw error;
      return ""; // Ctrl-D: nothing is said.
    } finally {
      prompt.close();
    }
  };
}
