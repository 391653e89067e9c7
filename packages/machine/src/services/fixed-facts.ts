/** Facts of services about which there is nothing to find out. */
import type { InstallationStatus, ServiceFacts, ServiceSource } from "./model.ts";

/** Of a service that needs nothing on the disk. */
export const NOTHING_INSTALLED: ServiceFacts["installation"] = {
  state: "none",
  detail: null,
  version: null,
};

/** Of a service that is not looked at by a check. */
export const NO_CHECK: ServiceFacts["check"] = { state: "none", detail: null, checkedAt: null };

/** Of a service that is not run. */
export const NOT_RUNNING: ServiceFacts["runtime"] = {
  state: "stopped",
  pid: null,
  startedAt: null,
  restarts: 0,
  detail: null,
};

/** A service that the configuration does not ask for, with why that is so. */
export function notConfiguredSource(
  name: string,
  kind: ServiceSource["kind"],
  why: string | null,
  dependsOn: readonly string[] = [],
): ServiceSource {
  const facts: ServiceFacts = {
    isConfigured: false,
    installation: { ...NOTHING_INSTALLED, detail: why },
    runtime: NOT_RUNNING,
    check: NO_CHECK,
  };
  return { name, kind, dependsOn, facts: () => facts, details: () => ({}), logFiles: () => [] };
}

/** A service that somebody else runs, if anybody does: nothing is looked at here. */
export function heldElsewhereSource(
  name: string,
  kind: ServiceSource["kind"],
  { isConfigured, why }: { readonly isConfigured: boolean; readonly why: string },
): ServiceSource {
  const facts: ServiceFacts = {
    isConfigured,
    installation: NOTHING_INSTALLED,
    runtime: { ...NOT_RUNNING, detail: why },
    check: NO_CHECK,
  };
  return { name, kind, dependsOn: [], facts: () => facts, details: () => ({}), logFiles: () => [] };
}

/** A service whose process was not looked at yet: whether it is installed is all that is known. */
export function notLookedAtSource(
  name: string,
  kind: ServiceSource["kind"],
  known: { readonly isConfigured: boolean; readonly installation: () => InstallationStatus },
): ServiceSource {
  return {
    name,
    kind,
    dependsOn: [],
    facts: () => ({
      isConfigured: known.isConfigured,
      installation: known.installation(),
      runtime: { ...NOT_RUNNING, state: "starting", detail: "not looked at yet" },
      check: NO_CHECK,
    }),
    details: () => ({}),
    logFiles: () => [],
  };
}
