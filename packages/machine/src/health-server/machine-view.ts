/** What the server answers from: nothing at first, then whatever has been attached. */
import { notConfiguredSource } from "../services/fixed-facts.ts";
import { summarizeMachine } from "../services/machine-summary.ts";
import type { ServiceView } from "../services/service-registry.ts";
import { computeReports } from "../services/service-reports.ts";
import { createTransitionHistory } from "../services/transition-history.ts";
import type { MachineFacts } from "./model.ts";

/** Where answers come from. Both are read at every request, and must not wait. */
export interface MachineView {
  readonly services: ServiceView;
  readonly facts: () => MachineFacts;
}

/** A machine of which nothing is known: ComfyUI is there, and not configured. */
export function emptyMachineView(name: string, now: number): MachineView {
  const source = notConfiguredSource("comfyui", "comfyui", "no manifest has been read");
  // A history of its own, that nobody keeps: a machine that starts has not changed its state.
  const { reports } = computeReports([source], createTransitionHistory(), now);
  const summary = summarizeMachine(reports);
  const services: ServiceView = {
    reports: () => reports,
    report: (wanted) => reports.find((report) => report.name === wanted),
    summary: () => summary,
    transitions: () => [],
    logFiles: (wanted) => (wanted === source.name ? [] : undefined),
  };
  const facts: MachineFacts = {
    machineId: null,
    name,
    gpus: [],
    controlPlane: { state: "none", url: null, detail: null },
    release: null,
    manifest: { path: null, problems: [] },
  };
  return { services, facts: () => facts };
}
