import type { Graph } from "@holdfast/comfyui/protocol";
import type { Db } from "../platform/db.ts";
import type { Log } from "../platform/log.ts";
import { cardName } from "./card-name.ts";
import { costValues } from "./cost-key.ts";
import { costOf } from "./cost-of-graph.ts";
import { PROFILE_MODELS_MAX, PROFILES_MAX, type Profile } from "./profile.ts";
import {
  addRun,
  NO_STATISTICS,
  runsOf,
  typicalMs,
  withMeasurement,
  type Measurement,
  type RunSample,
} from "./statistics.ts";
import * as store from "./store.ts";

/** An attempt that succeeded, as its report has it. */
export interface SucceededRun {
  readonly attemptId: string;
  readonly timings: Readonly<Record<string, number>>;
}

/** A graph's cost as somebody measured it on a card. */
export interface MeasuredGraph extends Measurement {
  readonly graph: Graph;
  readonly gpuName: string | null;
  /** Epoch ms. */
  readonly measuredAt: number;
}

/** How to make a {@link ProfilesService}. */
export interface ProfilesDeps {
  readonly db: Db;
  readonly log: Log;
}

/** What graphs cost. Lookups are answered from memory, as the table was a few seconds ago. */
export interface ProfilesService {
  /** The profile of a cost on a kind of card; undefined when there is none. */
  find(costKey: string | null, card: string | undefined): Profile | undefined;
  /** What a run takes as a rule; on a card of which nothing is known, as on all others together. */
  typicalMs(costKey: string | null, card?: string): number | null;
  /** The memory of a card that a run takes; null when nobody measured it. */
  vramPeakBytes(costKey: string | null): number | null;
  /** Successes to learn from; cheap, and some are left out when there are very many. */
  noteRuns(runs: readonly SucceededRun[]): void;
  /** Writes what was noted. */
  flush(): Promise<void>;
  /** Reads the table if it has changed. */
  refresh(): Promise<void>;
  /** Removes what is over the limit; returns how many. */
  prune(): Promise<number>;
  /** Writes what was measured by hand, and reads it back. */
  put(measured: readonly MeasuredGraph[]): Promise<void>;
  list(after: store.ProfilePlace | null, limit: number): Promise<Profile[]>;
}

/** Runs that are learned from between two flushes: the first ones; the others would say the same. */
const NOTED_MAX = 500;
const PRUNE_STEP = 500;

/** Makes the service; until the first `refresh` it knows nothing. */
export function createProfilesService({ db, log }: ProfilesDeps): ProfilesService {
  let byCost: ReadonlyMap<string, readonly Profile[]> = new Map();
  let mark: string | null = null;
  let noted: SucceededRun[] = [];

  const ofCost = (costKey: string | null): readonly Profile[] =>
    costKey === null ? [] : (byCost.get(costKey) ?? []);

  /** Changes profiles under a lock; `change` gets what is there, or an empty one. */
  const change = async (
    wanted: readonly (Omit<store.WrittenProfile, "measuredAt" | "statistics"> & {
      readonly change: (profile: store.WrittenProfile) => store.WrittenProfile;
    })[],
  ): Promise<void> => {
    if (wanted.length === 0) return;
    await db.transaction(async (tx) => {
      await store.lockProfiles(tx);
      const changed = new Map<string, store.WrittenProfile>(
        (await store.readProfiles(tx, wanted)).map((profile) => [placeOf(profile), profile]),
      );
      for (const { change: apply, ...own } of wanted) {
        const fresh = { ...own, statistics: NO_STATISTICS, measuredAt: null };
        const place = placeOf(own);
        changed.set(place, apply(changed.get(place) ?? fresh));
      }
      await store.writeProfiles(tx, [...changed.values()]);
    });
  };

  const refresh = async (): Promise<void> => {
    const seen = await store.readProfilesMark(db);
    if (seen === mark) return;
    // Read after the mark: a change in between is read twice, never missed.
    const profiles = await store.readNewestProfiles(db, PROFILES_MAX);
    const next = new Map<string, Profile[]>();
    for (const profile of profiles) {
      const others = next.get(profile.costKey);
      if (others === undefined) next.set(profile.costKey, [profile]);
      else others.push(profile);
    }
    byCost = next;
    mark = seen;
  };

  return {
    find: (costKey, card) => ofCost(costKey).find((profile) => profile.card === card),
    typicalMs(costKey, card) {
      const profiles = ofCost(costKey);
      const own = profiles.filter((profile) => profile.card === card);
      return meanOf(own.length > 0 ? own : profiles);
    },
    vramPeakBytes(costKey) {
      const peaks = ofCost(costKey).flatMap(({ statistics }) => statistics.vramPeakBytes ?? []);
      // The least that was enough somewhere: larger cards are used more freely.
      return peaks.length === 0 ? null : Math.min(...peaks);
    },
    noteRuns(runs) {
      for (const run of runs) {
        if (noted.length >= NOTED_MAX) return;
        noted.push(run);
      }
    },
    async flush() {
      const runs = noted;
      if (runs.length === 0) return;
      noted = [];
      const timings = new Map(runs.map((run) => [run.attemptId, run.timings]));
      const ids = [...timings.keys()];
      const facts = await store.readRunFacts(db, ids, PROFILE_MODELS_MAX);
      const samples = facts.flatMap(({ attemptId, ...own }) => {
        const sample = toSample(timings.get(attemptId) ?? {});
        if (sample === undefined) return [];
        return [
          {
            costKey: own.costKey,
            card: cardName(own.deviceName),
            shape: own.shape,
            values: costValues(own.patch ?? { set: [] }),
            models: own.models,
            change: (profile: store.WrittenProfile) => ({
              ...profile,
              statistics: addRun(profile.statistics, sample),
            }),
          },
        ];
      });
      await change(samples);
    },
    refresh,
    async prune() {
      const removed = await store.pruneProfiles(db, PROFILES_MAX, PRUNE_STEP);
      if (removed > 0) log.info({ removed }, "profiles unused for longest removed");
      return removed;
    },
    async put(measured) {
      await change(
        measured.map(({ graph, gpuName, measuredAt, ...measurement }) => ({
          ...costOf(graph),
          card: cardName(gpuName),
          change(profile) {
            // One that is no newer than the last was told before, or is out of date.
            const last = profile.measuredAt ?? Number.NEGATIVE_INFINITY;
            const isRepeated = measuredAt <= last;
            return {
              ...profile,
              statistics: withMeasurement(profile.statistics, measurement, isRepeated),
              measuredAt: Math.max(last, measuredAt),
            };
          },
        })),
      );
      await refresh();
    },
    list: (after, limit) => store.listProfiles(db, after, limit),
  };
}

function placeOf({ costKey, card }: store.ProfilePlace): string {
  return `${costKey} ${card}`;
}

/** Over several cards, each by the runs that it is of. */
function meanOf(profiles: readonly Profile[]): number | null {
  let sum = 0;
  let runs = 0;
  for (const { statistics } of profiles) {
    const ms = typicalMs(statistics);
    if (ms === null) continue;
    sum += ms * runsOf(statistics);
    runs += runsOf(statistics);
  }
  return runs === 0 ? null : sum / runs;
}

/** Times over a day come from a clock that jumped. */
const LONGEST_RUN_MS = 24 * 60 * 60 * 1000;

function toSample(timings: Readonly<Record<string, number>>): RunSample | undefined {
  const msOf = (name: string): number | undefined => {
    const value = timings[name];
    return value !== undefined && value >= 0 && value <= LONGEST_RUN_MS ? value : undefined;
  };
  const executeMs = msOf("executeMs");
  if (executeMs === undefined) return undefined;
  const cold = timings["cold"];
  return {
    executeMs,
    isCold: cold === undefined ? undefined : cold === 1,
    loadSilenceMs: msOf("loadSilenceMs"),
    stepSilenceMs: msOf("stepSilenceMs"),
  };
}
