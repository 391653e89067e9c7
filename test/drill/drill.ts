/** A whole drill: its faults, played on some grounds side by side, and what they came to. */
import type { SimTemplate } from "../simulation/world/database.ts";
import { createGround, type Ground } from "./ground.ts";
import { FAULT_KINDS, planFaults, type PlannedFault } from "./plan.ts";
import { playFault, type Sabotage } from "./play.ts";
import type { FaultRecord } from "./record.ts";
import { judgeAll, scoreOf, type Judged, type Score } from "./score.ts";

/** How to run one. */
export interface DrillOptions {
  readonly seed: number;
  readonly count: number;
  readonly serverUrl: string;
  readonly template: SimTemplate;
  /** Plays these kinds alone, of the faults as planned. */
  readonly only?: readonly string[];
  readonly sabotage?: Sabotage;
  /** Told after each fault. */
  readonly onRecord?: (record: FaultRecord) => void;
  readonly onLine?: (line: string) => void;
}

/** What a drill came to. */
export interface DrillResult {
  readonly seed: number;
  readonly judged: readonly Judged[];
  readonly score: Score;
}

/** Control planes at work at the same time: while one waits for its Postgres the other one runs. */
const LANES = 2;

/** Runs a drill. The same seed gives the same faults, each with the same machines and choices. */
export async function runDrill(options: DrillOptions): Promise<DrillResult> {
  const { seed, count, only } = options;
  const planned = planFaults(seed, count).filter(
    ({ kind }) => only === undefined || only.includes(kind.name),
  );
  const lanes = Array.from({ length: LANES }, (_, lane) =>
    planned.filter((_fault, at) => at % LANES === lane),
  );
  const records = (
    await Promise.all(lanes.map((faults, lane) => playLane(options, faults, lane)))
  ).flat();
  const judged = judgeAll(
    [...records].sort((a, b) => a.index - b.index),
    FAULT_KINDS,
  );
  return { seed, judged, score: scoreOf(judged) };
}

async function playLane(
  options: DrillOptions,
  faults: readonly PlannedFault[],
  lane: number,
): Promise<FaultRecord[]> {
  const { seed, serverUrl, template, onLine } = options;
  const ground: Ground = await createGround({
    seed: seed * LANES + lane,
    serverUrl,
    template,
    ...(onLine && { onLine }),
  });
  const records: FaultRecord[] = [];
  try {
    for (const fault of faults) {
      const record = await playFault(ground, fault, options.sabotage);
      records.push(record);
      options.onRecord?.(record);
    }
  } finally {
    await ground.close();
  }
  return records;
}
