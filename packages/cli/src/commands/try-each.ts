import { CommandFailure } from "../command-failure.ts";
import { EXIT, type ExitCode } from "../exit-codes.ts";
import type { Terminal } from "../terminal/terminal.ts";

/** Does it for each, also after one that was refused, which is told; stops when nobody answers. */
export async function tryEach(
  refs: readonly string[],
  terminal: Terminal,
  act: (ref: string) => Promise<void>,
): Promise<ExitCode> {
  let worst: ExitCode = EXIT.ok;
  for (const ref of refs) {
    try {
      await act(ref);
    } catch (error) {
      if (!(error instanceof CommandFailure)) throw error;
      terminal.note(`${ref}: ${error.message}`);
      worst = error.exitCode;
      if (error.exitCode === EXIT.unavailable) break;
    }
  }
  return worst;
}
