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
import { createWaker, WAIT_OVER } from "./pause.ts";
import type { Session } from "./reporter.ts";
import { extendTrust, hasLostTrust, type TrustWindow } from "./trust.ts";

/** Renews what the agent holds, and ends what it can no longer believe to hold (STYLE §5). */
export interface LeaseKeeper {
  start(): void;
  /** A lease came with the answer to a call that was sent then. */
  granted(lease: Lease, callStartedAt: number): void;
  /** A call that was sent then and answered has renewed these. */
  renewed(attemptIds: readonly string[], callStartedAt: number): void;
  configure(config: AgentConfig): void;
  stop(): Promise<void>;
}

/** What a keeper is made of. */
export interface LeaseKeeperDeps extends RetryDeps {
  readonly link: Pick<ControlPlaneLink, "renew">;
  readonly log: AgentLog;
  readonly limits: AgentLimits;
  readonly session: () => Session | undefined;
  readonly held: () => readonly HeldAttempt[];
  readonly onRevoked: (revoked: readonly Revoked[]) => void;
  readonly onDistrusted: (attemptId: string) => void;
  readonly onRefused: (error: unknown) => void;
}

interface Kept {
  readonly window: TrustWindow;
  readonly renewedAt: number;
  readonly isEnded: boolean;
}

const DEFAULT_RENEW_MS = 5_000;

/** Makes a keeper; nothing is renewed before `start`. */
export function createLeaseKeeper(deps: LeaseKeeperDeps): LeaseKeeper {
  const { clock, limits, log } = deps;
  const stopping = new AbortController();
  const { signal } = stopping;
  const waker = createWaker(clock);
  const leases = new Map<string, Kept>();
  let renewEveryMs = DEFAULT_RENEW_MS;
  let wakeAt = Infinity;
  let failures = 0;
  let retryAt = -Infinity;
  let running: Promise<void> | undefined;

  const extend = (attemptId: string, ttlMs: number, callStartedAt: number): void => {
    const known = leases.get(attemptId);
    const window = extendTrust(known?.window, ttlMs, callStartedAt, limits.trustMarginMs);
    leases.set(attemptId, { window, renewedAt: callStartedAt, isEnded: false });
    if (dueAt(window, callStartedAt) < wakeAt) waker.wake();
  };
  const dueAt = (window: TrustWindow, renewedAt: number): number =>
    Math.min(renewedAt + renewEveryMs, window.trustedUntil);

  const renew = async (held: readonly HeldAttempt[]): Promise<void> => {
    const session = deps.session();
    if (session === undefined) return;
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
      const answer = await deps.link.renew({ ...session, held: [...held] }, late.signal);
      failures = 0;
      retryAt = -Infinity;
      keeper.renewed(
        held.map((attempt) => attempt.attemptId),
        callStartedAt,
      );
      deps.onRevoked(answer.revoked);
    } catch (err) {
      if (signal.aborted) return;
      failures += 1;
      retryAt = clock.elapsed() + linkPauseMs(deps, failures);
      log.warn({ err, held: held.length }, "leases could not be renewed");
      if (isHoldfastError(err)) deps.onRefused(err);
    } finally {
      done.abort(WAIT_OVER);
      signal.removeEventListener("abort", onStop);
    }
  };

  /** Ends the trust that has run out; the instant of the next thing to do. */
  const sweep = (held: readonly HeldAttempt[]): number => {
    const now = clock.elapsed();
    const names = new Set(held.map((attempt) => attempt.attemptId));
    let next = Infinity;
    for (const [attemptId, kept] of leases) {
      if (!names.has(attemptId)) {
        leases.delete(attemptId);
      } else if (!kept.isEnded && hasLostTrust(kept.window, now)) {
        leases.set(attemptId, { ...kept, isEnded: true });
        log.warn({ attemptId }, "lease could not be renewed in time");
        deps.onDistrusted(attemptId);
      } else if (!kept.isEnded) {
        next = Math.min(next, kept.window.trustedUntil);
      }
    }
    return next;
  };

  const run = async (): Promise<void> => {
    while (!signal.aborted) {
      const held = deps.held();
      const trustEndsAt = sweep(held);
      const oldest = Math.min(...held.map((a) => leases.get(a.attemptId)?.renewedAt ?? Infinity));
      const isRegistered = deps.session() !== undefined;
      const renewAt = isRegistered ? Math.max(oldest + renewEveryMs, retryAt) : Infinity;
      if (held.length > 0 && clock.elapsed() >= renewAt) {
        // Trust must be able to end while a renewal hangs.
        void renew(held);
        retryAt = clock.elapsed() + renewEveryMs;
        continue;
      }
      wakeAt = Math.min(trustEndsAt, Math.max(renewAt, clock.elapsed() + 1));
      await waker.wait(wakeAt - clock.elapsed(), signal);
      wakeAt = Infinity;
    }
  };

  const keeper: LeaseKeeper = {
    start: () => {
      running ??= run();
    },
    granted: (lease, callStartedAt) => extend(lease.attemptId, lease.ttlMs, callStartedAt),
    renewed: (attemptIds, callStartedAt) => {
      for (const attemptId of attemptIds) {
        const known = leases.get(attemptId);
        if (known !== undefined) extend(attemptId, known.window.ttlMs, callStartedAt);
      }
    },
    configure: (config) => {
      renewEveryMs = Math.max(1, config.renewEveryMs);
      waker.wake();
    },
    stop: async () => {
      stopping.abort();
      await running;
    },
  };
  return keeper;
}
