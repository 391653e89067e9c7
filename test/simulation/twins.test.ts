/**
 * Twins of the simulation: the same fleets and faults with one guard taken out. If none of some
 * seeds breaks a promise, the simulation would not notice that guard's loss either.
 */
import { afterAll, beforeAll, describe, expect, inject, it } from "vitest";
import { createSimTemplate, type SimTemplate, type StatementEdits } from "./world/database.ts";
import type { FaultKind, World } from "./world/faults.ts";
import { simulate } from "./world/simulate.ts";

let template: SimTemplate;
beforeAll(async () => {
  template = await createSimTemplate(inject("holdfastPostgresUrl"));
});
afterAll(() => template.drop());

interface Twin {
  readonly guard: string;
  /** Rules of which at least one must be found broken. */
  readonly breaks: readonly string[];
  /** The first seed that is tried: shortly before one that is known to break it. */
  readonly from: number;
  /** Faults that the guard is there for; the others would only take their time. */
  readonly only: readonly FaultKind[];
  readonly edits?: StatementEdits;
  readonly sabotage?: (world: World) => void;
}

const OUT_OF_TOUCH: readonly FaultKind[] = [
  "agent killed",
  "agent stands still",
  "agent comes back as a zombie",
  "machine lost",
  "partition",
  "store down",
];

const TWINS: readonly Twin[] = [
  {
    guard: "the epoch that every report is held against",
    from: 11,
    breaks: ["S3", "S4", "S5"],
    only: ["bad weather", "node fails", "replica stands still"],
    edits: [
      {
        of: "scheduler.report_facts",
        from: 'a.outcome as "attemptOutcome"',
        to: 'null::text as "attemptOutcome"',
      },
      {
        of: "scheduler.report_facts",
        from: 'j.lease_epoch as "jobEpoch"',
        to: 'a.lease_epoch as "jobEpoch"',
      },
      {
        of: "scheduler.report_facts",
        from: 'j.state as "jobState"',
        to: `'processing' as "jobState"`,
      },
      {
        of: "scheduler.complete",
        from: "j.lease_epoch = g.lease_epoch and j.state = 'processing'",
        to: "g.lease_epoch is not null",
      },
      {
        of: "scheduler.complete",
        from: "where a.id = g.attempt_id and a.job_id = j.id and a.outcome is null",
        to: "",
      },
      {
        of: "from jobs j join leases l on l.job_id = j.id",
        from: "j.lease_epoch = $2 and",
        to: "$2::int is not null and",
      },
      {
        of: "update jobs set state = $3",
        from: "lease_epoch = $2 and",
        to: "$2::int is not null and",
      },
    ],
  },
  {
    guard: "the look-up before a second POST",
    from: 4,
    breaks: ["P2"],
    only: ["POST broken"],
    sabotage: (world) => {
      for (const comfy of world.comfyWorld.all) comfy.isLookUpBlind = true;
    },
  },
  {
    guard: "a store that keeps what it says it has",
    from: 1,
    breaks: ["S6"],
    only: [],
    sabotage: (world) => {
      world.store.isForgetful = true;
    },
  },
  {
    guard: "that a lost lease costs a job nothing",
    from: 3,
    breaks: ["S7"],
    only: OUT_OF_TOUCH,
    edits: [
      {
        of: "update jobs set state = $3",
        from: "failure_count = $6",
        to: "failure_count = failure_count + 1 + 0 * $6::int",
      },
    ],
  },
  {
    guard: "that two deaths are enough",
    from: 1,
    breaks: ["S8"],
    only: ["ComfyUI crashes", "machine lost"],
    edits: [
      { of: "update jobs set state = $3", from: "poison = $10", to: "poison = $10 and false" },
    ],
  },
  {
    guard: "the end of a pause before a retry",
    from: 1,
    breaks: ["P1"],
    only: ["ComfyUI crashes"],
    edits: [{ of: "with due as", from: "run_at <= now()", to: "run_at is null" }],
  },
  {
    guard: "that a cancel takes the epoch away from the holder",
    from: 3,
    breaks: ["S2"],
    only: [],
    edits: [
      { of: "jobs.cancel", from: "lease_epoch = lease_epoch + 1", to: "lease_epoch = lease_epoch" },
    ],
  },
];

/** Seeds that are tried until one breaks a promise. */
const SEEDS = 30;

describe.concurrent("a promise breaks", () => {
  it.each(TWINS)("without $guard", { timeout: 300_000 }, async ({ breaks, from, ...rest }) => {
    const serverUrl = inject("holdfastPostgresUrl");
    const found: string[] = [];
    const isBroken = (): boolean => breaks.some((rule) => found.includes(rule));
    for (let seed = from; seed < from + SEEDS && !isBroken(); seed += 1) {
      const { violations } = await simulate({ seed, serverUrl, template, ...rest });
      found.push(...violations.map(({ rule }) => rule));
    }
    const oneOfThem: unknown = expect.stringMatching(`^(${breaks.join("|")})$`);
    expect(found).toContainEqual(oneOfThem);
  });
});
