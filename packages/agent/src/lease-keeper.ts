import type {
  AgentConfig,
  ControlPlaneLink,
  HeldAttempt,
  Lease,
  Revoked,
} from "@holdfast/contract";
import { isHoldfastError } from "@holdfast/contract";
import type { AgentLog } from "./agent-log.ts";
import { linkPauseMs, type RetryDeps } from "./link-retry.ts";
import type { AgentLimits } from "./limits.ts";
import { createWaker, WAIT_OVER, type Waker } from "./pause.ts";
import type { Session } from "./reporter.ts";
import { extendTrust, hasLostTrust, type TrustWindow } from "./trust.ts";

/** What a keeper is made of. */
export interface LeaseKeeperDeps extends RetryDeps {
  readonly link: Pick<ControlPlaneLink, "renew">;
  readonly log: AgentLog;
  readonly limits: AgentLimits;
  readonly session: () => Session | undefined;
  readonly held: () => readonly HeldAttempt[];
  readonly onRevoked: (revoked: readonly Revoked[]) => void;
  readonly onDistrusted: (attemptId: string) => void;
  readonly onRefused: (error: unknown, session: Session) => void;
}

interface Kept {
  readonly window: TrustWindow;
  readonly renewedAt: number;
  readonly isEnded: boolean;
  /** As the control plane was told last. */
  readonly phase: HeldAttempt["phase"];
}

const DEFAULT_RENEW_MS = 5_000;
/**
 * A new phase is told at least so soon: should the whole machine die, the attempt that ran is blamed
 * for it, and for that the control plane must know that it ran.
 */
const TELL_PHASE_MS = 1_000;

/** Renews what the agent holds, and ends what it can no longer believe to hold (STYLE §5). */
export class LeaseKeeper {
  readonly #deps: LeaseKeeperDeps;
  readonly #stopping = new AbortController();
  readonly #waker: Waker;
  readonly #leases = new Map<string, Kept>();
  #renewEveryMs = DEFAULT_RENEW_MS;
  #wakeAt = Infinity;
  #failures = 0;
  #retryAt = -Infinity;
  #running: Promise<void> | undefined;

  constructor(deps: LeaseKeeperDeps) {
    this.#deps = deps;
    this.#waker = createWaker(deps.clock);
  }

  /** Nothing is renewed before. */
  start(): void {
    this.#running ??= this.#run();
  }

  async stop(): Promise<void> {
    this.#stopping.abort();
    await this.#running;
  }

  configure(config: AgentConfig): void {
    this.#renewEveryMs = Math.max(1, config.renewEveryMs);
    this.#waker.wake();
  }

  /** A lease came with the answer to a call that was sent then. */
  granted(lease: Lease, callStartedAt: number): void {
    this.#extend(lease.attemptId, lease.ttlMs, callStartedAt, "staged");
  }

  /** A call that was sent then and answered has renewed these. */
  renewed(held: readonly HeldAttempt[], callStartedAt: number): void {
    for (const { attemptId, phase } of held) {
      const known = this.#leases.get(attemptId);
      if (known !== undefined) this.#extend(attemptId, known.window.ttlMs, callStartedAt, phase);
    }
  }

  #extend(
    attemptId: string,
    ttlMs: number,
    callStartedAt: number,
    phase: HeldAttempt["phase"],
  ): void {
    const { trustMarginMs } = this.#deps.limits;
    const known = this.#leases.get(attemptId);
    const window = extendTrust(known?.window, ttlMs, callStartedAt, trustMarginMs);
    this.#leases.set(attemptId, { window, renewedAt: callStartedAt, isEnded: false, phase });
    const dueAt = Math.min(callStartedAt + this.#renewEveryMs, window.trustedUntil);
    if (dueAt < this.#wakeAt) this.#waker.wake();
  }

  async #run(): Promise<void> {
    const { clock } = this.#deps;
    const { signal } = this.#stopping;
    while (!signal.aborted) {
      const held = this.#deps.held();
      const trustEndsAt = this.#sweep(held);
      const renewAt = this.#renewAt(held);
      if (clock.elapsed() >= renewAt) {
        this.#retryAt = clock.elapsed() + this.#renewEveryMs;
        // Not waited for: trust must be able to end while a renewal hangs.
        void this.#renew(held);
        continue;
      }
      const lookAt = held.length > 0 ? clock.elapsed() + TELL_PHASE_MS : Infinity;
      this.#wakeAt = Math.min(trustEndsAt, renewAt, lookAt);
      await this.#waker.wait(this.#wakeAt - clock.elapsed(), signal);
      this.#wakeAt = Infinity;
    }
  }

  #renewAt(held: readonly HeldAttempt[]): number {
    if (held.length === 0 || this.#deps.session() === undefined) return Infinity;
    const dueAt = held.map(({ attemptId, phase }) => {
      const kept = this.#leases.get(attemptId);
      if (kept === undefined) return Infinity;
      const withinMs = kept.phase === phase ? this.#renewEveryMs : TELL_PHASE_MS;
      return kept.renewedAt + Math.min(this.#renewEveryMs, withinMs);
    });
    return Math.max(Math.min(...dueAt), this.#retryAt);
  }

  /** Ends the trust that has run out; the instant at which the next one will. */
  #sweep(held: readonly HeldAttempt[]): number {
    const now = this.#deps.clock.elapsed();
    const names = new Set<string>(held.map((attempt) => attempt.attemptId));
    let next = Infinity;
    for (const [attemptId, kept] of this.#leases) {
      if (!names.has(attemptId)) {
        this.#leases.delete(attemptId);
      } else if (!kept.isEnded && hasLostTrust(kept.window, now)) {
        this.#leases.set(attemptId, { ...kept, isEnded: true });
        this.#deps.log.warn({ attemptId }, "lease could not be renewed in time");
        this.#deps.onDistrusted(attemptId);
      } else if (!kept.isEnded) {
        next = Math.min(next, kept.window.trustedUntil);
      }
    }
    return next;
  }

  async #renew(held: readonly HeldAttempt[]): Promise<void> {
    const { clock, limits, link, log } = this.#deps;
    const session = this.#deps.session();
    if (session === undefined) return;
    const { signal } = this.#stopping;
    const callStartedAt = clock.elapsed();
    const late = new AbortController();
    const done = new AbortController();
    const onStop = (): void => late.abort(signal.reason);
    signal.addEventListener("abort", onStop, { once: true });
    clock.sleep(limits.linkCallMs, done.signal).then(
      () => late.abort(new Error("a renewal took too long")),
      () => undefined, // Answered in time.
    );
    try {
      const answer = await link.renew({ ...session, held: [...held] }, late.signal);
      this.#failures = 0;
      this.#retryAt = -Infinity;
      this.renewed(held, callStartedAt);
      this.#deps.onRevoked(answer.revoked);
    } catch (err) {
      if (signal.aborted) return;
      this.#failures += 1;
      this.#retryAt = clock.elapsed() + linkPauseMs(this.#deps, this.#failures);
      log.warn({ err, held: held.length }, "leases could not be renewed");
      this.#waker.wake();
      if (isHoldfastError(err)) this.#deps.onRefused(err, session);
    } finally {
      done.abort(WAIT_OVER);
      signal.removeEventListener("abort", onStop);
    }
  }
}
