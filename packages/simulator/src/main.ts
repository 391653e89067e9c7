import { readFileSync } from "node:fs";
import { systemClock } from "@holdfast/runtime/system";
import type { VRAM_PRESETS } from "./card/vram.ts";
import { parseFaultRule, type FaultRule } from "./faults/rules.ts";
import { startSimulator } from "./simulator.ts";

/** What `holdfast simulator` may say. */
export interface SimulatorCommand {
  readonly host?: string;
  readonly port?: number;
  readonly timeScale?: number;
  readonly vram?: keyof typeof VRAM_PRESETS;
  readonly seed?: number;
  readonly dataDir?: string | null;
  readonly restartDelayMs?: number;
  /** Rules as JSON texts, or `@file` with a JSON list of them. */
  readonly faults?: readonly string[];
  /** Print what a real ComfyUI would log. */
  readonly isVerbose?: boolean;
  /** Ends the simulator when aborted. */
  readonly signal: AbortSignal;
  /** Where lines are printed. */
  readonly print: (line: string) => void;
}

/**
 * Runs a simulator until `signal` is aborted. Prints one line when it listens. Throws when a fault
 * rule cannot be read, or when the port is taken.
 */
export async function runSimulator(command: SimulatorCommand): Promise<void> {
  const { signal, print, isVerbose, faults, ...options } = command;
  const simulator = await startSimulator({
    ...options,
    clock: systemClock,
    faults: readRules(faults ?? []),
    ...(isVerbose === true ? { log: print } : {}),
  });
  print(`simulated ComfyUI on ${simulator.url}`);
  try {
    if (!signal.aborted) {
      await new Promise<void>((resolve) => {
        signal.addEventListener("abort", () => resolve(), { once: true });
      });
    }
  } finally {
    await simulator.stop();
  }
}

function readRules(texts: readonly string[]): readonly FaultRule[] {
  return texts.flatMap((text) => {
    const source = text.startsWith("@") ? readFileSync(text.slice(1), "utf8") : text;
    const parsed: unknown = JSON.parse(source);
    return (Array.isArray(parsed) ? parsed : [parsed]).map((each) => {
      const rule = parseFaultRule(each);
      if (typeof rule === "string") throw new Error(`fault rule ${JSON.stringify(each)}: ${rule}`);
      return rule;
    });
  });
}
