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
import { createWaker, slept, type Waker } from "./pause.ts";
import type { Session } from "./reporter.ts";

/** What a poller is made of. */
export interface PollerDeps extends RetryDeps {
  readonly link: Pick<ControlPlaneLink, "poll">;
  readonly log: AgentLog;
  readonly limits: AgentLimits;
  readonly session: () => Session | undefined;
  readonly reports: () => readonly InstanceReport[];
  /** Leases wanted in all: the sum of the reports', without making them. */
  readonly wants: () => number;
  /** Changes whenever a report says something new but for its wants. */
  readonly version: () => number;
  readonly held: () => readonly HeldAttempt[];
  /** Whether the answer brought anything that was not known; when it did not, the next one waits. */
  readonly onAnswer: (answer: PollResponse, request: PollRequest, startedAt: number) => boolean;
  /** The agent itself is refused: resolves when it may poll again, false when never. */
  readonly onRefused: (error: unknown, session: Session) => Promise<boolean>;
}

const DEFAULT_WAIT_MS = 25_000;
/** Polls under way at most: the newest, and older ones that the control plane is ending. */
const POLLS_MAX = 3;
/** Pause after an answer that told nothing new, so that a disagreement cannot become a storm. */
const NOTHING_NEW_MS = 250;

interface UnderWay {
  readonly startedAt: number;
  readonly abort: AbortController;
  readonly pause: Promise<number>;
}

/**
 * The one long poll of an agent, for all its instances: always one under way, also without wants,
 * for orders. When capacity appears a newer poll is sent, and the control plane ends the older one;
 * it is not cut off here, for its answer may carry leases.
 */
export class Poller {
  readonly #deps: PollerDeps;
  readonly #stopping = new AbortController();
  readonly #underWay = new Set<UnderWay>();
  readonly #quiet: Waker;
  #waitMs = DEFAULT_WAIT_MS;
  #sequence = 0;
  #failures = 0;
  #sentWants = 0;
  #sentVersion = -1;
  #onNews: (() => void) | undefined;
  #running: Promise<unknown> | undefined;

  constructor(deps: PollerDeps) {
    this.#deps = deps;
    this.#quiet = createWaker(deps.clock);
  }

  /** Nothing is asked before. */
  start(): void {
    this.#running ??= Promise.all([this.#run(), this.#endLatePolls()]);
  }

  /** Capacity or state may have changed: a newer poll is sent when there is news in it. */
  notify(): void {
    if (!this.#hasNews()) return;
    this.#onNews?.();
    this.#quiet.wake();
  }

  /** Whether the last poll that came to an end was answered; true before there was one. */
  isAnswered(): boolean {
    return this.#failures === 0;
  }

  configure(config: AgentConfig): void {
    this.#waitMs = Math.min(60_000, Math.max(0, config.pollWaitMs));
  }

  async stop(): Promise<void> {
    this.#stopping.abort();
    for (const { abort } of this.#underWay) abort.abort(this.#stopping.signal.reason);
    this.#quiet.wake();
    this.#onNews?.();
    await this.#running;
    await Promise.all([...this.#underWay].map(({ pause }) => pause));
  }

  #hasNews(): boolean {
    const { wants, version } = this.#deps;
    // Fewer wants are news as well: what the poll under way asks for could run elsewhere.
    return version() !== this.#sentVersion || wants() !== this.#sentWants;
  }

  async #run(): Promise<void> {
    const { signal } = this.#stopping;
    const { limits } = this.#deps;
    while (!signal.aborted) {
      const session = this.#deps.session();
      if (session === undefined) {
        await this.#quiet.wait(NOTHING_NEW_MS, signal);
        continue;
      }
      const newest = this.#begin(session);
      const news = new Promise<undefined>((resolve) => {
        this.#onNews = () => resolve(undefined);
      });
      const pauseMs = await Promise.race([newest, news]);
      this.#onNews = undefined;
      if (pauseMs === undefined) {
        // The newest ends those before it; their answers still count when they come.
        while (this.#underWay.size >= POLLS_MAX) {
          await Promise.race([...this.#underWay].map(({ pause }) => pause));
        }
      } else if (pauseMs > 0) {
        await this.#quiet.wait(pauseMs, signal);
      } else if (!this.#hasNews() && this.#deps.wants() === 0) {
        // Without room a poll only brings orders: capacity is about to come, one call will do.
        this.#sentWants = 0;
        await this.#quiet.wait(limits.pollSettleMs, signal);
      }
    }
  }

  #begin(session: Session): Promise<number> {
    const abort = new AbortController();
    const startedAt = this.#deps.clock.elapsed();
    const pause = this.#poll(session, startedAt, abort.signal);
    const poll = { startedAt, abort, pause };
    this.#underWay.add(poll);
    return pause.finally(() => this.#underWay.delete(poll));
  }

  /** One poll; resolves with the pause before the next one, and never rejects. */
  async #poll(session: Session, startedAt: number, signal: AbortSignal): Promise<number> {
    const { link, log } = this.#deps;
    const instances = [...this.#deps.reports()];
    this.#sentWants = instances.reduce((sum, report) => sum + report.wants, 0);
    this.#sentVersion = this.#deps.version();
    this.#sequence += 1;
    const held = [...this.#deps.held()];
    const request = {
      ...session,
      sequence: this.#sequence,
      instances,
      held,
      waitMs: this.#waitMs,
    };
    try {
      const answer = await link.poll(request, signal);
      this.#failures = 0;
      const isNews = this.#deps.onAnswer(answer, request, startedAt);
      const { leases, revoked, inventoriesWanted } = answer;
      // Empty after its whole wait. An inventory that is wanted still is no news, and comes at once.
      const isEmpty = leases.length + revoked.length + inventoriesWanted.length === 0;
      return isNews || isEmpty ? 0 : NOTHING_NEW_MS;
    } catch (err) {
      if (this.#stopping.signal.aborted) return 0;
      if (isHoldfastError(err, "machine_unknown") || isHoldfastError(err, "agent_superseded")) {
        if (!(await this.#deps.onRefused(err, session))) this.#stopping.abort();
        return 0;
      }
      this.#failures += 1;
      if (this.#failures === 1) log.warn({ err }, "control plane does not answer");
      return linkPauseMs(this.#deps, this.#failures);
    }
  }

  /** Ends polls that nobody answers; one look for all, instead of a timer for each. */
  async #endLatePolls(): Promise<void> {
    const { clock, limits } = this.#deps;
    while (await slept(clock, limits.healthEveryMs, this.#stopping.signal)) {
      const latest = clock.elapsed() - this.#waitMs - limits.linkCallMs;
      for (const { startedAt, abort } of this.#underWay) {
        if (startedAt < latest) abort.abort(new Error("a poll was not answered in time"));
      }
    }
  }
}
