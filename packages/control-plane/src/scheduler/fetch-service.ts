/**
 * Models that no instance has, jobs need, and a machine offers to fetch: it is asked for them with its
 * polls, and the jobs wait for it rather than get other models.
 *
 * F1  What machines are asked for is in the database: every replica tells the same, whoever asked.
 * F2  One machine is asked at a time (`model-fetch.ts`), under a lock over all replicas.
 * F3  What nobody was seen to need for {@link UNNEEDED_MS} is asked for no more.
 * F4  Jobs that lack nothing are never held up: what fails here is logged, and the next look does it.
 * F5  A machine whose offer has gone is believed to have fetched it, for as long as its instances may
 *     take to list it (`arriving-fetches.ts`): nobody else is asked, and no job gets another model.
 */
import { MAX_MODELS_WANTED, type WantedModel } from "@holdfast/contract";
import type { Clock, IdSource } from "@holdfast/runtime";
import { modelKey, type MachineOffers } from "../machines/model.ts";
import type { Servers } from "../machines/servers.ts";
import type { MachinesService } from "../machines/service.ts";
import type { Db } from "../platform/db.ts";
import type { Log } from "../platform/log.ts";
import type { ActiveRequirement } from "./active-requirements.ts";
import { createArrivingFetches, decideArriving } from "./arriving-fetches.ts";
import * as store from "./fetch-store.ts";
import {
  decideFetch,
  findCandidates,
  stateOfAll,
  type FetchCandidate,
  type FetchDecision,
  type FetchState,
} from "./model-fetch.ts";
import type { RecordUnserved } from "./model.ts";
import type { WorkSignal } from "./work-signal.ts";

/** Pause between two looks at what is asked, and at what is to be. */
const LOOK_EVERY_MS = 2_000;
/** What was not needed for so long is asked for no more: the jobs are gone, or somebody has it. */
const UNNEEDED_MS = 60_000;
/** Jobs noted in one look; more are noted at the next. */
const JOBS_AT_ONCE = 100;
/**
 * All waiting jobs of a requirement are looked at so often, those that are new at each look: one that
 * came another way (released, or committed late) is noted a little later.
 */
const ALL_JOBS_EVERY_MS = 60_000;
/** Requirements that are looked at in one look. */
const REQUIREMENTS_AT_ONCE = 100;

/** What fetching is made of. */
export interface ModelFetchingDeps {
  readonly db: Db;
  readonly clock: Pick<Clock, "elapsed">;
  readonly ids: IdSource;
  readonly log: Log;
  readonly machines: Pick<MachinesService, "offers">;
  readonly signal: Pick<WorkSignal, "wakeMachine">;
  readonly recordUnserved: RecordUnserved;
}

/** See the header. */
export interface ModelFetching {
  /**
   * What a machine is asked to fetch, as far as this replica knows: what was asked first, and no more
   * than an answer may name.
   */
  wantedOf(machineId: string): readonly WantedModel[];
  /** Reads what machines are asked for, now and then, and wakes the polls of those with news. Never fails. */
  refresh(): Promise<void>;
  /** Has models fetched for requirements that nobody can serve. Never fails. */
  look(unserved: readonly ActiveRequirement[], servers: Servers): Promise<void>;
  /** In words what is being fetched for a requirement; null when nothing is. */
  underWay(requirementId: number): string | null;
}

const NONE: readonly WantedModel[] = [];

/** Makes {@link ModelFetching}. */
export function createModelFetching(deps: ModelFetchingDeps): ModelFetching {
  const { db, clock, log } = deps;
  let wanted = new Map<string, readonly WantedModel[]>();
  let fetching = new Map<number, string>();
  let refreshedAt = -Infinity;
  let lookedAt = -Infinity;
  /** When what is being fetched was last found out. */
  let knownAt = -Infinity;
  let seen: ReadonlySet<number> = new Set();
  const arriving = createArrivingFetches();

  const take = (asks: readonly store.FetchAsk[]): void => {
    const before = wanted;
    wanted = new Map();
    for (const { machineId, folder, name } of asks) {
      const models = wanted.get(machineId) ?? NONE;
      // The wire takes no more; the others get their turn when these are here.
      if (models.length < MAX_MODELS_WANTED) wanted.set(machineId, [...models, { folder, name }]);
    }
    for (const [machineId, models] of wanted) {
      const told = before.get(machineId);
      if (JSON.stringify(told) !== JSON.stringify(models)) deps.signal.wakeMachine(machineId);
    }
  };

  /** One look. While another replica has the lock nobody is asked: that one does. */
  const decide = (looked: readonly Looked[], offers: readonly MachineOffers[]) =>
    db.transaction(async (tx) => {
      const mayAsk = await store.tryLockAsking(tx);
      const asks = await store.readAsks(tx);
      const stateOf = stateFrom(asks, offers);
      const decided = looked.map((one) => ({ ...one, decision: decideOne(one, stateOf) }));
      if (!mayAsk) return { decided, asks };
      await store.writeAsks(
        tx,
        eachOnce(decided.flatMap((one) => toAsk(candidatesOf(one), one.decision, stateOf))),
      );
      return { decided, asks: await store.readAsks(tx) };
    });

  /** Up to which job all were noted, and since when. */
  const upTo = new Map<number, { readonly jobId: string; readonly since: number }>();
  const note = async (requirement: ActiveRequirement, words: string): Promise<void> => {
    const known = upTo.get(requirement.id);
    const now = clock.elapsed();
    const isOld = known === undefined || now - known.since >= ALL_JOBS_EVERY_MS;
    const { noted, newest } = await db.transaction(async (tx) => {
      const newest = await store.readNewestJobId(tx);
      const page = { afterId: isOld ? "" : known.jobId, limit: JOBS_AT_ONCE };
      const jobs = await store.noteFetching(tx, requirement.id, words, page);
      for (const job of jobs) {
        await deps.recordUnserved(tx, {
          id: deps.ids.next("evt"),
          jobId: job.id,
          owner: job.owner,
          class: "model_missing",
          strategy: "RETRY",
          rung: "fetch_model",
        });
      }
      return { noted: jobs.length, newest };
    });
    if (noted < JOBS_AT_ONCE) {
      upTo.set(requirement.id, { jobId: newest, since: isOld ? now : known.since });
    }
    if (noted > 0) log.info({ requirementId: requirement.id, jobs: noted }, words);
  };

  const refresh = async (): Promise<void> => {
    const asks = await store.readAsks(db);
    if (asks.some(({ neededMs }) => neededMs > UNNEEDED_MS)) {
      await store.dropAsks(db, UNNEEDED_MS);
    }
    take(asks.filter(({ neededMs }) => neededMs <= UNNEEDED_MS));
  };

  const look = async (lacking: readonly ActiveRequirement[], servers: Servers): Promise<void> => {
    const names = lacking.flatMap(({ needs }) => needs.models.map(({ name }) => name));
    const offers = names.length === 0 ? [] : await deps.machines.offers(names);
    const now = clock.elapsed();
    arriving.keepOnly(new Set(lacking.map(({ id }) => id)));
    const looked = lacking
      .map((requirement): Looked => {
        const { id: requirementId, needs } = requirement;
        const { instances } = servers;
        const candidates = findCandidates(needs, instances, offers);
        const about = { requirementId, needs, now, candidates, instances };
        return { requirement, candidates, arriving: arriving.find(about) };
      })
      .filter((one) => candidatesOf(one).length > 0)
      .slice(0, REQUIREMENTS_AT_ONCE);
    if (looked.length === 0) {
      fetching = new Map();
      return;
    }
    const done = await decide(looked, offers);
    take(done.asks.filter(({ neededMs }) => neededMs <= UNNEEDED_MS));
    fetching = new Map();
    for (const id of upTo.keys())
      if (!looked.some((one) => one.requirement.id === id)) upTo.delete(id);
    for (const { requirement, decision, arriving: last } of done.decided) {
      if (decision.kind !== "under_way" || decision.candidate !== last) {
        arriving.note(requirement.id, decision, now);
      }
      const words = wordsOf(decision);
      if (words === null) continue;
      fetching.set(requirement.id, words);
      if (decision.kind === "ask") log.warn({ requirementId: requirement.id }, words);
      await note(requirement, words);
    }
  };

  return {
    wantedOf: (machineId) => wanted.get(machineId) ?? NONE,
    underWay: (requirementId) => fetching.get(requirementId) ?? null,
    async refresh() {
      if (clock.elapsed() - refreshedAt < LOOK_EVERY_MS) return;
      refreshedAt = clock.elapsed();
      await refresh().catch((err: unknown) => {
        log.error({ err }, "what machines are to fetch could not be read");
      });
    },
    async look(unserved, servers) {
      const lacking = unserved.filter(({ needs }) => needs.models.length > 0);
      // One that is new is looked at before anything else is done about it.
      const isNew = lacking.some(({ id }) => !seen.has(id));
      if (!isNew && clock.elapsed() - lookedAt < LOOK_EVERY_MS) return;
      lookedAt = clock.elapsed();
      seen = new Set(lacking.map(({ id }) => id));
      try {
        await look(lacking, servers);
        knownAt = clock.elapsed();
      } catch (err) {
        log.error({ err }, "machines could not be asked to fetch models");
        // Jobs wait on for a while for what was being fetched, but not for ever.
        if (clock.elapsed() - knownAt > UNNEEDED_MS) fetching = new Map();
      }
    },
  };
}

interface Looked {
  readonly requirement: ActiveRequirement;
  readonly candidates: readonly FetchCandidate[];
  /** A machine that offers it no more, since it may have fetched it. */
  readonly arriving: FetchCandidate | undefined;
}

function candidatesOf({ candidates, arriving }: Looked): readonly FetchCandidate[] {
  return arriving === undefined ? candidates : [arriving, ...candidates];
}

function decideOne(
  { candidates, arriving }: Looked,
  stateOf: (candidate: FetchCandidate) => FetchState,
): FetchDecision {
  const decision = arriving && decideArriving(arriving, stateOf(arriving));
  return decision ?? decideFetch(candidates, stateOf);
}

/** What is asked of machines for one requirement: the new one, and all that were asked before. */
function toAsk(
  candidates: readonly FetchCandidate[],
  decision: FetchDecision,
  stateOf: (candidate: FetchCandidate) => FetchState,
): readonly (WantedModel & { readonly machineId: string })[] {
  const asked = candidates.filter((candidate) => stateOf(candidate).askedMs !== null);
  const all = decision.kind === "ask" ? [...asked, decision.candidate] : asked;
  return all.flatMap(({ machineId, models }) => models.map((model) => ({ machineId, ...model })));
}

/** Requirements have models in common, and one statement can write a row once only. */
function eachOnce<T extends WantedModel & { readonly machineId: string }>(
  asks: readonly T[],
): readonly T[] {
  return [
    ...new Map(asks.map((ask) => [`${ask.machineId}\n${ask.folder}\n${ask.name}`, ask])).values(),
  ];
}

function stateFrom(
  asks: readonly store.FetchAsk[],
  offers: readonly MachineOffers[],
): (candidate: FetchCandidate) => FetchState {
  const asked = new Map(
    asks.map(({ machineId, folder, name, askedMs }) => [keyOf(machineId, folder, name), askedMs]),
  );
  const told = new Map(
    offers.flatMap(({ machineId, fetches }) =>
      fetches.map((one) => [keyOf(machineId, one.folder, one.name), one] as const),
    ),
  );
  return ({ machineId, models }) =>
    stateOfAll(
      models.map(({ folder, name }) => {
        const key = keyOf(machineId, folder, name);
        const one = told.get(key);
        return {
          askedMs: asked.get(key) ?? null,
          told: one?.state ?? null,
          reason: one?.reason ?? null,
        };
      }),
    );
}

function keyOf(machineId: string, folder: string, name: string): string {
  return `${machineId}\n${modelKey(folder, name)}`;
}

function wordsOf(decision: FetchDecision): string | null {
  if (decision.kind !== "ask" && decision.kind !== "under_way") return null;
  const { machineName, models } = decision.candidate;
  const [first, ...others] = models.map(({ folder, name }) => modelKey(folder, name));
  const and = others.length === 0 ? "is" : `and ${others.length} more are`;
  return `model ${first ?? ""} ${and} being fetched on machine ${machineName}`;
}
