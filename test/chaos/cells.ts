/** The chaos matrix: what happens to whom, and at which instant of a job's life. */
import { nextInt, seededRandom } from "@holdfast/runtime";

/** SIGKILL; or SIGSTOP for longer than a lease lasts, then SIGCONT. */
export const FAULTS = ["kill", "pause"] as const;
/** One of {@link FAULTS}. */
export type Fault = (typeof FAULTS)[number];

/**
 * Whom it befalls. There are always two control-plane replicas; `control-plane` is the first of them.
 * The `box` is that one, the agent and its ComfyUI together: a machine that loses power, or a virtual
 * one that is suspended.
 */
export const VICTIMS = ["control-plane", "agent", "postgres", "comfyui", "box"] as const;
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
  readonly fault: Fault;
  readonly victim: Victim;
  readonly instant: Instant;
}

/** A cell in which the absence of the fence must show, and every problem that it must show as. */
export interface UnfencedCell extends Cell {
  readonly shows: readonly RegExp[];
}

/**
 * Where it must. The victim has a success in its hands that nobody can take from it any more: the
 * agent's, about to be reported; the replica's, with every look of its own behind it and only the
 * statement to come. When the victim goes on, the job is being rendered by somebody else (agent), or has
 * been completed by somebody else (box). A kill shows nothing: the dead write no more.
 */
export const UNFENCED_CELLS: readonly UnfencedCell[] = [
  {
    fault: "pause",
    victim: "agent",
    instant: "agent.before-report",
    shows: [/^job \d+: attempt 1 completed it after attempt \d+ had begun$/],
  },
  {
    fault: "pause",
    victim: "box",
    instant: "control-plane.before-complete",
    shows: [
      /^job \d+: completed 2 times$/,
      /^job \d+: 2 attempts succeeded$/,
      /^job \d+: attempt 1 completed it after attempt \d+ had begun$/,
    ],
  },
];

/** `kill agent at agent.finished`: a cell in the words of its test and of its result. */
export function nameOf({ fault, victim, instant }: Cell): string {
  return `${fault} ${victim} at ${instant}`;
}

/** All cells. */
export function allCells(): Cell[] {
  return FAULTS.flatMap((fault) =>
    VICTIMS.flatMap((victim) => INSTANTS.map((instant) => ({ fault, victim, instant }))),
  );
}

/** `count` different cells of a fault, by seed; each of the victims gets its share. */
export function chooseCells(
  fault: Fault,
  count: number,
  seed: number,
  victims: readonly Victim[] = VICTIMS,
): Cell[] {
  const random = seededRandom(seed);
  const perVictim = victims.map((victim) => {
    const left = [...INSTANTS];
    return { victim, take: () => left.splice(nextInt(random, left.length), 1)[0] };
  });
  const cells: Cell[] = [];
  for (let index = 0; cells.length < count; index += 1) {
    const row = perVictim[index % perVictim.length];
    const instant = row?.take();
    if (row !== undefined && instant !== undefined) {
      cells.push({ fault, victim: row.victim, instant });
    }
  }
  return cells;
}
