import type { BlobSource, ControlPlaneLink } from "@holdfast/contract";
import { abortReason, type Abortable } from "@holdfast/runtime";
import type { BlobService } from "./files/model.ts";
import type { PutAhead } from "./files/put-ahead.ts";
import type { MachineReportService } from "./machines/report-service.ts";
import type { MachinesService } from "./machines/service.ts";
import type { CheckpointService } from "./scheduler/checkpoint-service.ts";
import type { LeaseService } from "./scheduler/lease-service.ts";
import type { ReportService } from "./scheduler/report-service.ts";

/** What the direct link calls. */
export interface DirectLinkDeps {
  readonly leases: LeaseService;
  readonly reports: ReportService;
  readonly checkpoints: CheckpointService;
  readonly machines: MachinesService;
  readonly machineReports: MachineReportService;
  readonly blobs: BlobService;
  readonly putAhead: PutAhead;
}

/**
 * The control plane for an agent of the same process: the same services as behind `/agent/v1`,
 * without HTTP. Requests come from our own code, so they are not validated again.
 */
export function createDirectLink(deps: DirectLinkDeps): ControlPlaneLink {
  const { leases, reports, checkpoints, machines, machineReports, blobs, putAhead } = deps;
  return {
    register: (request, signal) => unlessAborted(signal, () => leases.register(request)),
    poll: (request, signal) =>
      unlessAborted(signal, async () => {
        const gone = new AbortController();
        const onAbort = (): void => gone.abort(GONE);
        signal.addEventListener("abort", onAbort, { once: true });
        try {
          return await leases.poll(request, gone.signal);
        } finally {
          signal.removeEventListener("abort", onAbort);
        }
      }),
    renew: (request, signal) => unlessAborted(signal, () => leases.renew(request)),
    report: (request, signal) => unlessAborted(signal, () => reports.report(request)),
    checkpoints: (request, signal) => unlessAborted(signal, () => checkpoints.note(request)),
    putInventory: (upload, signal) => unlessAborted(signal, () => machines.putInventory(upload)),
    putMachineReport: (request, signal) =>
      unlessAborted(signal, () => machineReports.putReport(request)),
    putStartupSteps: (request, signal) =>
      unlessAborted(signal, () => machineReports.putSteps(request)),
    putBlob: (source: BlobSource, signal) => unlessAborted(signal, () => putAhead(source)),
    getBlob: (sha256, signal) => unlessAborted(signal, () => blobs.get(sha256)),
  };
}

const GONE = new Error("the agent has ended its call");

async function unlessAborted<T>(signal: Abortable, call: () => Promise<T>): Promise<T> {
  if (signal.aborted) throw abortReason(signal);
  return await call();
}
