/** Where samples come from: ports, and how they are asked. */
import type { Observation, Sample } from "@holdfast/alerts";
import type { Clock } from "@holdfast/runtime";
import type { Log } from "../platform/log.ts";

/** Tells samples of some metrics. */
export interface SampleSource {
  readonly name: string;
  /** Every metric that it tells: those without a sample have no series now. */
  readonly metrics: readonly string[];
  /** What it told may be so old. */
  readonly everyMs: number;
  read(): Promise<readonly Sample[]>;
}

/** Tells samples of metrics by their names, as `/metrics` has them. */
export type MetricSamples = (names: ReadonlySet<string>) => Promise<Observation>;

/** Asks all sources. */
export interface Observer {
  /** What the sources tell, and of `/metrics` what is named; of one that fails nothing is told. */
  observe(wanted: ReadonlySet<string>): Promise<Observation>;
}

/** A source that has not answered by then is left out this time. */
const SOURCE_TIMEOUT_MS = 3_000;
/** Together they must not hold the turn's transaction open for long. */
const ALL_TIMEOUT_MS = 9_000;
/** What every name of `/metrics` begins with, and no name of a source. */
const METRICS_PREFIX = "holdfast_";
/** Most samples of one source. */
const SAMPLES_MAX = 5_000;

/** Makes an observer that remembers what sources told for as long as they say. */
export function createObserver(deps: {
  readonly sources: readonly SampleSource[];
  readonly metricSamples: MetricSamples;
  readonly clock: Clock;
  readonly log: Log;
}): Observer {
  const { clock, log } = deps;
  const kept = new Map<string, { readonly at: number; readonly samples: readonly Sample[] }>();
  const failing = new Set<string>();

  /** Undefined, and logged once, when it fails. */
  const ask = async <T>(name: string, read: () => Promise<T>): Promise<T | undefined> => {
    try {
      const told = await within(clock, SOURCE_TIMEOUT_MS, read());
      if (failing.delete(name)) log.info({ source: name }, "a source of alerts answers again");
      return told;
    } catch (err) {
      if (!failing.has(name)) log.warn({ err, source: name }, "a source of alerts does not answer");
      failing.add(name);
      return undefined;
    }
  };

  return {
    async observe(wanted) {
      const startedAt = clock.elapsed();
      const told: string[] = [];
      const samples: Sample[] = [];
      for (const source of deps.sources) {
        const before = kept.get(source.name);
        const isFresh = before !== undefined && startedAt - before.at < source.everyMs;
        const isLate = clock.elapsed() - startedAt > ALL_TIMEOUT_MS;
        const now = isFresh
          ? before.samples
          : isLate
            ? undefined
            : await ask(source.name, () => source.read());
        if (now === undefined) continue;
        if (!isFresh) kept.set(source.name, { at: startedAt, samples: now });
        told.push(...source.metrics);
        samples.push(...now.slice(0, SAMPLES_MAX));
      }
      // Asking for one asks for all of them, as a scrape does: not for a name that is none of theirs.
      const others = new Set([...wanted].filter((name) => name.startsWith(METRICS_PREFIX)));
      if (others.size > 0) {
        const measured = await ask("metrics", () => deps.metricSamples(others));
        told.push(...(measured?.told ?? []));
        samples.push(...(measured?.samples.slice(0, SAMPLES_MAX) ?? []));
      }
      return { told, samples };
    },
  };
}

async function within<T>(clock: Clock, ms: number, work: Promise<T>): Promise<T> {
  const ended = new AbortController();
  const late = clock.sleep(ms, ended.signal).then(
    () => {
      throw new Error(`no answer within ${ms} ms`);
    },
    () => new Promise<never>(() => undefined),
  );
  try {
    return await Promise.race([work, late]);
  } finally {
    ended.abort(new Error("answered"));
    work.catch(() => undefined);
    late.catch(() => undefined);
  }
}
