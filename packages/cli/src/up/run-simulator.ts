import { runSimulator, VRAM_PRESETS } from "@holdfast/simulator";
import { findPortHolder, holderText } from "@holdfast/runtime/host";
import { CommandFailure } from "../command-failure.ts";
import type { SimulatorCommandOptions } from "./options.ts";
import { EXIT } from "../exit-codes.ts";
import type { CommandContext } from "../command-context.ts";
import { listenForStop } from "./stop-signals.ts";

/** `holdfast simulator`: runs until it is stopped. */
export async function runSimulatorCommand(
  options: SimulatorCommandOptions,
  context: CommandContext,
): Promise<void> {
  const { terminal } = context;
  const { host, port, timeScale, seed, dataDir, restartDelayMs, fault, preset } = options;
  const vram = Object.keys(VRAM_PRESETS).find((name) => name === preset);
  if (preset !== undefined && vram === undefined) {
    const names = Object.keys(VRAM_PRESETS).join(", ");
    throw new CommandFailure(EXIT.refused, `--preset: expected one of ${names}, found ${preset}`);
  }
  const stop = listenForStop(terminal, () => undefined);
  try {
    await runSimulator({
      ...(host === undefined ? {} : { host }),
      ...(port === undefined ? {} : { port }),
      ...(timeScale === undefined ? {} : { timeScale }),
      ...(seed === undefined ? {} : { seed }),
      ...(dataDir === undefined ? {} : { dataDir }),
      ...(restartDelayMs === undefined ? {} : { restartDelayMs }),
      ...(vram === undefined ? {} : { vram: vram as keyof typeof VRAM_PRESETS }),
      faults: fault ?? [],
      isVerbose: options.verbose === true,
      signal: stop.signal,
      print: (line) => terminal.line(line),
    });
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== "EADDRINUSE") {
      throw new CommandFailure(EXIT.refused, (error as Error).message, { cause: error });
    }
    const holder = holderText(await findPortHolder(port ?? 0));
    const message = `port ${port ?? 0} is taken by ${holder}; use --port`;
    throw new CommandFailure(EXIT.refused, message, { cause: error });
  } finally {
    stop.release();
  }
}
