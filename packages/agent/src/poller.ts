import {
  isHoldfastError,
  type AgentConfig,
  type ControlPlaneLink,
  type HeldAttempt,
  type InstanceReport,
  type PollRequest,
  type PollResponse,
} from "@holdfast/contract";
import type { AgentLog } from "./agent-log.ts";
import { linkPauseMs, type RetryDeps } from "./link-retry.ts";
import type { AgentLimits } from "./limits.ts";
import { createWaker } from "./pause.ts";
import type { Session } from "./reporter.ts";

/** The one long poll of an agent, for all its instances: always one under way. */
export interface Poller {
  start(): void;
  /** Capacity or state may have changed: a newer poll is sent when there is news in it. */
  notify(): void;
  configure(config: AgentConfig): void;
  stop(): Promise<void>;
}

/** What a poller is made of. */
export interface PollerDeps extends RetryDeps {
  readonly link: Pick<ControlPlaneLink, "poll">;
  readonly log: AgentLog;
  readonly limits: AgentLimits;
  readonly session: () => Session | undefined;
  readonly reports: () => readonly InstanceReport[];
  readonly held: () => readonly HeldAttempt[];
  /** Whether the answer brought anything that was not known; when it did not, the next one waits. */
  readonly onAnswer: (answer: PollResponse, request: PollRequest, startedAt: number) => boolean;
  /** The agent itself is refused: resolves when it may poll again, false when never. */
  readonly onRefused: (error: unknown) => Promise<boolean>;
}

const DEFAULT_WAIT_MS = 25_000;
/** Polls under way at most: the newest, and older ones that the control plane is ending. */
const POLLS_MAX = 3;
/** Pause after an answer that told nothing new, so that a disagreement cannot become a storm. */
const NOTHING_NEW_MS = 250;

/** Makes a poller; nothing is asked before `start`. */
export function createPoller(deps: PollerDeps): Poller {
  const { clock, limits, log } = deps;
  const stopping = new AbortController();
  const { signal } = stopping;
  const underWay = new Set<Promise<number>>();
  const quiet = createWaker(clock);
  let waitMs = DEFAULT_WAIT_MS;
  let sequence = 0;
  let failures = 0;
  let sentWants = 0;
  let sentFacts = "";
  let onNews: (() => void) | undefined;
  let running: Promise<void> | undefined;

  const wantsOf = (reports: readonly InstanceReport[]): number =>
    reports.reduce((sum, report) => sum + report.wants, 0);
  const factsOf = (reports: readonly InstanceReport[]): string =>
    reports.map((r) => `${r.instanceId} ${r.state} ${r.reason} ${r.inventoryDigest}`).join();
  const hasNews = (): boolean => {
    const reports = deps.reports();
    return wantsOf(reports) > sentWants || factsOf(reports) !== sentFacts;
  };

  /** One poll; resolves with the pause before the next one, and never rejects. */
  const poll = async (session: Session): Promise<number> => {
    const reports = [...deps.reports()];
    sentWants = wantsOf(reports);
    sentFacts = factsOf(reports);
    sequence += 1;
    const held = [...deps.held()];
    const request = { ...session, sequence, instances: reports, held, waitMs };
    const startedAt = clock.elapsed();
    const late = new AbortController();
    const done = new AbortController();
    const onStop = (): void => late.abort(signal.reason);
    signal.addEventListener("abort", onStop, { once: true });
    clock.sleep(waitMs + limits.linkCallMs, done.signal).then(
      () => late.abort(new Error("a poll was not answered in time")),
      () => undefined, // Answered.
    );
    try {
      const answer = await deps.link.poll(request, late.signal);
      failures = 0;
      const isNews = deps.onAnswer(answer, request, startedAt);
      const isEmpty = answer.leases.length + answer.revoked.length === 0;
      return isNews || isEmpty ? 0 : NOTHING_NEW_MS;
    } catch (err) {
      if (signal.aborted) return 0;
      if (isHoldfastError(err, "machine_unknown") || isHoldfastError(err, "agent_superseded")) {
        if (!(await deps.onRefused(err))) stopping.abort();
        return 0;
      }
      failures += 1;
      if (failures === 1) log.warn({ err }, "control plane does not answer");
      return linkPauseMs(deps, failures);
    } finally {
      done.abort();
      signal.removeEventListener("abort", onStop);
    }
  };

  const run = async (): Promise<void> => {
    while (!signal.aborted) {
      const session = deps.session();
      if (session === undefined) {
        await quiet.wait(NOTHING_NEW_MS, signal);
        continue;
      }
      const newest = poll(session);
      underWay.add(newest);
      void newest.finally(() => underWay.delete(newest));
      const news = new Promise<undefined>((resolve) => {
        onNews = () => resolve(undefined);
      });
      const pauseMs = await Promise.race([newest, news]);
      onNews = undefined;
      if (pauseMs === undefined) {
        // The newest ends those before it; their answers still count when they come.
        while (underWay.size >= POLLS_MAX) await Promise.race(underWay);
        continue;
      }
      if (pauseMs > 0) await quiet.wait(pauseMs, signal);
      // Without room a poll only brings orders: capacity is about to come, and one call will do.
      else if (!hasNews() && wantsOf(deps.reports()) === 0) {
        sentWants = 0;
        await quiet.wait(limits.pollSettleMs, signal);
      }
    }
  };

  return {
    start: () => {
      running ??= run();
    },
    notify: () => {
      if (!hasNews()) return;
      onNews?.();
      quiet.wake();
    },
    configure: (config) => {
      waitMs = Math.min(60_000, Math.max(0, config.pollWaitMs));
    },
    stop: async () => {
      stopping.abort();
      quiet.wake();
      onNews?.();
      await running;
      await Promise.all(underWay);
    },
  };
}
