/** Joins what the command line says of levers with what does it. */
import { systemClock } from "@holdfast/runtime/system";
import type { CommandContext } from "../command-context.ts";
import { apiClientFor, type ClientOptions } from "../commands/client-options.ts";
import { processAsk } from "../terminal/ask.ts";
import { readClearBefore, readMinimum, readThreshold, readWindow } from "./lever-values.ts";
import * as levers from "./run-levers.ts";
import type { EndOptions, LeverDeps, LeverOptions, SpawnOptions } from "./run-levers.ts";

type With<T> = T & ClientOptions;

function depsOf(options: ClientOptions, context: CommandContext): LeverDeps {
  const { terminal } = context;
  return {
    api: apiClientFor(options, context),
    terminal,
    ask: processAsk(terminal),
    now: () => systemClock.now(),
    clock: systemClock,
  };
}

const READERS = { threshold: readThreshold, window: readWindow, minimum: readMinimum } as const;

/** `holdfast fleet threshold`, `window`, `minimum`. */
export async function set(
  kind: keyof typeof READERS,
  text: string,
  options: With<LeverOptions>,
  context: CommandContext,
): Promise<void> {
  await levers.setLever(kind, READERS[kind](text), options, depsOf(options, context));
}

/** `holdfast fleet clear`. */
export async function clear(
  options: With<LeverOptions & { readonly before: string }>,
  context: CommandContext,
): Promise<void> {
  const reading = readClearBefore(options.before, systemClock.now());
  await levers.setLever("clear", reading, options, depsOf(options, context));
}

/** `holdfast fleet pause`. */
export async function pause(options: With<LeverOptions>, context: CommandContext): Promise<void> {
  const reading = { kind: "ok", value: true } as const;
  await levers.setLever("pause", reading, options, depsOf(options, context));
}

/** `holdfast fleet undo`. */
export async function undo(
  id: string,
  options: With<LeverOptions>,
  context: CommandContext,
): Promise<void> {
  await levers.undoLever(id, options, depsOf(options, context));
}

/** `holdfast fleet spawn`. */
export async function spawn(options: With<SpawnOptions>, context: CommandContext): Promise<void> {
  await levers.spawn(options, depsOf(options, context));
}

/** `holdfast fleet end`. */
export async function end(
  ref: string,
  options: With<EndOptions>,
  context: CommandContext,
): Promise<void> {
  await levers.end(ref, options, depsOf(options, context));
}
