/** Facts of services about which there is nothing to find out. */
import type { ServiceFacts, ServiceSource } from "./model.ts";

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
