import type { Clock } from "@holdfast/runtime";
import { discoverGpus } from "./discover.ts";
import { cardFaults, missingFaults, unreadableFault } from "./gpu-faults.ts";
import type { GpuDiscovery, GpuFault, GpuReading, SmiFailure } from "./model.ts";
import { parseQuery } from "./parse-query.ts";
import {
  namelessErrors,
  NEEDED_FIELDS,
  OPTIONAL_FIELDS,
  parseQueryHelp,
  toReadings,
} from "./read-gpus.ts";
import { runSmi } from "./run-smi.ts";
import { readSmiFailures, smiFailureWords } from "./smi-failure.ts";

/** A driver with many cards that are asleep takes several seconds. */
const TIMEOUT_MS = 20_000;

/** What all cards reported at one time. */
export interface GpuSample {
  readonly readings: readonly GpuReading[];
  readonly faults: readonly GpuFault[];
  /** Why nothing was told at all; null when something was. */
  readonly failure: { readonly kind: SmiFailure["kind"]; readonly reason: string } | null;
}

/** Asks nvidia-smi: one process a question, each with a time limit. Only an abort is thrown. */
export interface GpuQuery {
  /** Finds all cards and slices. `expected`: indices that were there before. */
  discover(signal: AbortSignal, expected?: readonly number[]): Promise<GpuDiscovery>;
  /**
   * What the cards report now. Never by nvidia-smi's own loop: that was seen to print `[Unknown
   * Error]` for ever after the first row.
   */
  sample(signal: AbortSignal, expected?: readonly number[]): Promise<GpuSample>;
}

/** Options of {@link createGpuQuery}. */
export interface GpuQueryOptions {
  readonly clock: Clock;
  /** Default: `nvidia-smi` on PATH. */
  readonly program?: string;
  readonly timeoutMs?: number;
}

/** Makes a {@link GpuQuery}. It asks once which optional fields the driver knows. */
export function createGpuQuery(options: GpuQueryOptions): GpuQuery {
  const program = {
    program: options.program ?? "nvidia-smi",
    timeoutMs: options.timeoutMs ?? TIMEOUT_MS,
    clock: options.clock,
  };
  let fields: readonly string[] | undefined;

  async function queryArgs(signal: AbortSignal): Promise<readonly string[]> {
    if (fields === undefined) {
      const help = await runSmi(program, ["--help-query-gpu"], signal);
      const known = parseQueryHelp(help.stdout);
      const asked = [...NEEDED_FIELDS, ...OPTIONAL_FIELDS.filter((field) => known.has(field))];
      // An answer is kept; without one the next question begins by asking again.
      if (known.size > 0) fields = asked;
      return argsOf(asked);
    }
    return argsOf(fields);
  }

  return {
    async discover(signal, expected) {
      const query = await runSmi(program, await queryArgs(signal), signal);
      // Without the program or without an answer the other questions would only take as long again.
      if (query.ended !== "exited")
        return discoverGpus({ query, list: query, report: null }, expected);
      const list = await runSmi(program, ["-L"], signal);
      const report = await runSmi(program, ["-q", "-x"], signal);
      return discoverGpus({ query, list, report }, expected);
    },

    async sample(signal, expected = []) {
      const run = await runSmi(program, await queryArgs(signal), signal);
      const { rows } = parseQuery(run.stdout);
      const readings = toReadings(rows);
      const nameless = namelessErrors(rows);
      const failures = readSmiFailures(run, readings.length + nameless);
      const seen = readings.map(({ index }) => index);
      const ofCards = failures.filter(
        ({ kind }) => kind === "gpu_lost" || kind === "device_handle",
      );
      const whole = failures.find((failure) => !ofCards.includes(failure));
      const faults = [
        // When nothing can be asked, no single card is missing.
        ...(whole === undefined ? missingFaults(seen, ofCards, expected, nameless) : []),
        ...readings.flatMap((reading) =>
          reading.fault === "unreadable"
            ? [unreadableFault(reading.index, reading.uuid)]
            : cardFaults(knownCard(reading)),
        ),
      ];
      const failure =
        whole === undefined ? null : { kind: whole.kind, reason: smiFailureWords(whole).reason };
      return { readings, faults, failure };
    },
  };
}

function argsOf(fields: readonly string[]): readonly string[] {
  return [`--query-gpu=${fields.join(",")}`, "--format=csv"];
}

/** A sample asks for no list: whether a card in MIG mode has slices is a matter of discovery. */
function knownCard(reading: GpuReading): Parameters<typeof cardFaults>[0] {
  const { index } = reading;
  return { index, reading: { ...reading, isMig: null }, listed: undefined, reported: undefined };
}
