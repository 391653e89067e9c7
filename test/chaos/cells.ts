/** The kill matrix: who dies, and at which instant of a job's life. */
import { nextInt, seededRandom } from "@holdfast/runtime";

/** Who is killed with SIGKILL. There are always two control-plane replicas. */
export const VICTIMS = ["control-plane", "agent", "postgres", "comfyui"] as const;
/** One of {@link VICTIMS}. */
export type Victim = (typeof VICTIMS)[number];

/** Twenty instants of a job's life, in order: failpoints of the agent and the control plane. */
export const INSTANTS = [
  "control-plane.registered",
  "control-plane.submitted",
  "control-plane.before-claim",
  "control-plane.claimed",
  "agent.lease-received",
  "agent.prepared",
  "agent.before-post",
  "agent.after-post",
  "agent.executing",
  "control-plane.renewed",
  "agent.output-named",
  "agent.output-fetched",
  "agent.output-stored",
  "agent.finished",
  "agent.before-report",
  "control-plane.report-received",
  "control-plane.before-complete",
  "control-plane.completed",
  "agent.after-report",
  "agent.history-deleted",
] as const;
/** One of {@link INSTANTS}. */
export type Instant = (typeof INSTANTS)[number];

/** One cell of the matrix. */
export interface Cell {
  readonly victim: Victim;
  readonly instant: Instant;
}

/** All cells. */
export function allCells(): Cell[] {
  return VICTIMS.flatMap((victim) => INSTANTS.map((instant) => ({ victim, instant })));
}

/** `count` different cells, by seed; every victim gets its share. */
export function chooseCells(count: number, seed: number): Cell[] {
  const random = seededRandom(seed);
  const perVictim = VICTIMS.map((victim) => {
    const left = [...INSTANTS];
    return { victim, take: () => left.splice(nextInt(random, left.length), 1)[0] };
  });
  const cells: Cell[] = [];
  for (let index = 0; cells.length < count; index += 1) {
    const row = perVictim[index % perVictim.length];
    const instant = row?.take();
    if (row !== undefined && instant !== undefined) cells.push({ victim: row.victim, instant });
  }
  return cells;
}
