/** What an installation comes to, in words and in facts. Pure. */
import { assertNever } from "@holdfast/runtime";
import type { InstallOutcome } from "../install/installer.ts";
import type { StepProgress } from "../install/model.ts";
import { holdWords, type ReleaseHold } from "../install/release/release-hold.ts";
import { NO_CHECK, NOTHING_INSTALLED, NOT_RUNNING } from "../services/fixed-facts.ts";
import type { InstallationStatus, ServiceFacts } from "../services/model.ts";

/** Where the installation stands. */
export type InstallationPhase =
  | { readonly kind: "waiting" }
  | { readonly kind: "installing"; readonly detail: string }
  | { readonly kind: "installed"; readonly warnings: readonly string[] }
  | {
      readonly kind: "failed";
      readonly reason: string;
      /** Epoch ms; null: somebody has to mend something first. */
      readonly retryAt: number | null;
    };

/** What is to be known beside the phase. */
export interface InstallerSight {
  readonly isConfigured: boolean;
  /** Id of the release that serves, or null. */
  readonly serving: string | null;
  /** The manifest is held back. */
  readonly hold: ReleaseHold | null;
  /** What is damaged of the release that serves by it, which nobody mends by himself; null: nothing. */
  readonly damage: string | null;
}

/**
 * The installer among the services. A failure leaves it running: it tries again. That somebody holds
 * the manifest back is as it should be; that a release did not work, or is damaged while it is held, is
 * not, and needs a person.
 */
export function installerFacts(
  phase: InstallationPhase,
  { isConfigured, serving, hold, damage }: InstallerSight,
): ServiceFacts {
  const base = { isConfigured, installation: NOTHING_INSTALLED, check: NO_CHECK };
  const running = { ...NOT_RUNNING, state: "running" as const };
  switch (phase.kind) {
    case "waiting":
    case "installing": {
      const detail = phase.kind === "waiting" ? "not looked at yet" : phase.detail;
      return { ...base, runtime: { ...NOT_RUNNING, state: "starting", detail } };
    }
    case "installed": {
      const served = serving === null ? "nothing to install" : `release ${serving} serves`;
      const held = hold === null ? [served] : [holdWords(hold)];
      const detail = [...(damage === null ? [] : [damage]), ...held].join("; ");
      const state = hold?.by === "machine" || damage !== null ? "failing" : "passing";
      return { ...base, runtime: running, check: { state, detail, checkedAt: null } };
    }
    case "failed": {
      const beside = [
        ...(damage === null ? [] : [damage]),
        ...(hold === null ? [] : [holdWords(hold)]),
      ];
      const detail = [phase.reason, ...beside].join("; ");
      const check = { state: "failing" as const, detail, checkedAt: null };
      return { ...base, runtime: running, check };
    }
    default:
      return assertNever(phase);
  }
}

/**
 * Of ComfyUI. `serving` is the release that serves, or null: an older one is worth as much while a
 * newer one is made, or could not be.
 */
export function comfyuiInstallation(
  phase: InstallationPhase,
  serving: string | null,
): InstallationStatus {
  if (serving !== null) return { state: "installed", detail: null, version: serving };
  switch (phase.kind) {
    case "installing":
      return { state: "installing", detail: phase.detail, version: null };
    case "failed":
      return { state: "broken", detail: phase.reason, version: null };
    case "waiting":
    case "installed":
      return { state: "missing", detail: null, version: null };
    default:
      return assertNever(phase);
  }
}

/** `40 %`, `310 MB`, `12`. */
export function progressWords({ done, total, unit }: StepProgress): string {
  if (total !== null && total > 0) return `${Math.floor((100 * done) / total)} %`;
  return unit === "bytes" ? `${Math.floor(done / 1_000_000)} MB` : String(done);
}

/** Why an installation did not come to its end. */
export function outcomeProblem(
  outcome: Exclude<InstallOutcome, { readonly kind: "installed" | "busy" }>,
): string {
  if (outcome.kind === "refused") {
    return outcome.plan.problems
      .map(({ subject, message, advice }) => `${subject}: ${message} ${advice}`.trim())
      .join("; ");
  }
  const failed = outcome.results.filter(
    (result) => result.outcome === "failed" && !result.isOptional,
  );
  if (failed.length === 0) return "stopped before its end";
  return failed
    .map(({ title, detail, advice }) => `${title}: ${detail} ${advice ?? ""}`.trim())
    .join("; ");
}
