import { createFakeClock } from "@holdfast/runtime/testing";
import { expect, it } from "vitest";
import type { FoundRun, MlflowClient } from "../client/client.ts";
import type { MlflowResult } from "../client/trouble.ts";
import type { KnownRun, Progress } from "../journal/progress.ts";
import { createRunIdentities, type Identity } from "./run-identity.ts";

const { signal } = new AbortController();
const RUN: FoundRun = {
  id: "r",
  status: "RUNNING",
  artifactRoot: { kind: "served", folder: "1/r/artifacts" },
  entryCount: 0,
};
const LOST = { kind: "timeout", afterMs: 30_000 } as const;

/** Identities over a client that finds no run, and makes one as it is told. */
function identitiesOf(options: {
  readonly isResumed: boolean;
  readonly made: readonly MlflowResult<FoundRun>[];
}) {
  const clock = createFakeClock();
  const answers = [...options.made];
  const runs = new Map<string, KnownRun>();
  const client: Pick<MlflowClient, "findRuns" | "createRun"> = {
    findRuns: () => Promise.resolve({ kind: "ok", value: [] }),
    createRun: () => Promise.resolve(answers.shift() ?? { kind: "ok", value: RUN }),
  };
  const progress: Pick<Progress, "run" | "learn"> = {
    run: (key) => runs.get(key),
    learn: (key, run) => void runs.set(key, run),
  };
  const identities = createRunIdentities({
    client: client as MlflowClient,
    progress: progress as Progress,
    experiment: {
      id: () => Promise.resolve({ kind: "ok", value: "1" }),
      forget: () => undefined,
      callOfRun: (call) => call(),
    },
    journalId: "j",
    clock,
    isResumed: options.isResumed,
    isWaiting: () => false,
  });
  const begin = (isInherited = false): Promise<Identity> => {
    const start = { t: "start", key: "a", name: "a", at: 1 } as const;
    return identities.resolve("a", { start, isInherited }, signal);
  };
  return { clock, identities, begin };
}

function runOf(identity: Identity): KnownRun {
  if (identity.kind !== "run") throw new Error(identity.kind);
  return identity.run;
}

it("a run of which a request was given up waits for its doubles before it ends", async () => {
  const { clock, identities, begin } = identitiesOf({ isResumed: false, made: [LOST] });
  expect(await begin()).toEqual(LOST);
  await clock.advance(4_000);
  const run = runOf(await begin());
  expect(identities.mayBeDoubled(run)).toBe(true);
  await clock.advance(5_999);
  expect(identities.mayBeDoubled(run)).toBe(true);
  await clock.advance(1);
  expect(identities.mayBeDoubled(run)).toBe(false);
});

it("so does one that an earlier process may have asked for just before it died", async () => {
  const { clock, identities, begin } = identitiesOf({ isResumed: true, made: [] });
  const run = runOf(await begin(true));
  expect(identities.mayBeDoubled(run)).toBe(true);
  await clock.advance(10_000);
  expect(identities.mayBeDoubled(run)).toBe(false);
});

it("one that was made at the first request may end at once", async () => {
  const { identities, begin } = identitiesOf({ isResumed: false, made: [] });
  expect(identities.mayBeDoubled(runOf(await begin()))).toBe(false);
});
