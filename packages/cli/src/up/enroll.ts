import { enrollMachine, readMachineKey } from "@holdfast/agent";
import { isHoldfastError } from "@holdfast/contract";
import { systemClock, systemRandom } from "@holdfast/runtime/system";
import { CommandFailure } from "../command-failure.ts";
import { EXIT } from "../exit-codes.ts";
import type { Terminal } from "../terminal/terminal.ts";

/**
 * The key of this machine: the one it was enrolled with, or a new one for a one-time token. Undefined
 * when there is neither. Waits for a control plane that does not answer. Throws {@link CommandFailure}
 * when the token is refused.
 */
export async function machineKey(facts: {
  readonly baseUrl: string;
  readonly enrollToken: string | undefined;
  readonly machineName: string;
  readonly stateDir: string;
  readonly signal: AbortSignal;
  readonly terminal: Terminal;
}): Promise<string | undefined> {
  const { baseUrl, enrollToken, machineName, stateDir, signal, terminal } = facts;
  if (enrollToken === undefined) return (await readMachineKey(stateDir))?.key;
  try {
    const { key, isNew } = await enrollMachine({
      baseUrl,
      token: enrollToken,
      machineName,
      stateDir,
      clock: systemClock,
      random: systemRandom,
      signal,
      onTrouble(error, attempt) {
        if (attempt > 1) return;
        const reason = error instanceof Error ? error.message : String(error);
        terminal.note(`waiting for ${baseUrl} to enrol this machine: ${reason}`);
      },
    });
    if (isNew) terminal.note(`this machine is enrolled at ${baseUrl}; its key is in ${stateDir}`);
    return key;
  } catch (error) {
    signal.throwIfAborted();
    const code = isHoldfastError(error) ? error.code : undefined;
    const message = `this machine cannot be enrolled: ${(error as Error).message}`;
    throw new CommandFailure(EXIT.refused, message, {
      cause: error,
      ...(code === undefined ? {} : { code }),
    });
  }
}
