import type { Abortable } from "@holdfast/runtime";
import type {
  BlobStored,
  CheckpointRequest,
  CheckpointResponse,
  InventoryUpload,
  PollRequest,
  PollResponse,
  RegisterRequest,
  RegisterResponse,
  RenewRequest,
  RenewResponse,
  ReportRequest,
  ReportResponse,
} from "./agent.ts";
import type { MachineReportRequest, StartupStepsRequest } from "./machine-report.ts";

/** Bytes that can be read from their start as often as an upload needs to be tried. */
export interface BlobSource {
  readonly sha256: string;
  readonly sizeBytes: number;
  open(): AsyncIterable<Uint8Array>;
}

/**
 * The control plane as an agent sees it: over HTTP (`/agent/v1`), or directly when both live in one
 * process. Calls throw `HoldfastError` with the answer's code; `database_unavailable`,
 * `store_unavailable`, `overloaded` and `shutting_down`, and anything that is no `HoldfastError`,
 * mean "try again". An aborted signal rejects with its reason.
 */
export interface ControlPlaneLink {
  register(request: RegisterRequest, signal: Abortable): Promise<RegisterResponse>;
  poll(request: PollRequest, signal: Abortable): Promise<PollResponse>;
  renew(request: RenewRequest, signal: Abortable): Promise<RenewResponse>;
  report(request: ReportRequest, signal: Abortable): Promise<ReportResponse>;
  /** Tells what an attempt has put away, went on from, or could not use. */
  checkpoints(request: CheckpointRequest, signal: Abortable): Promise<CheckpointResponse>;
  putInventory(upload: InventoryUpload, signal: Abortable): Promise<void>;
  /** What the machine is now. A control plane that is older throws `not_found`. */
  putMachineReport(request: MachineReportRequest, signal: Abortable): Promise<void>;
  /** How a start or an installation went so far. A control plane that is older throws `not_found`. */
  putStartupSteps(request: StartupStepsRequest, signal: Abortable): Promise<void>;
  /** Resolves only after the store has confirmed size and SHA-256. */
  putBlob(source: BlobSource, signal: Abortable): Promise<BlobStored>;
  /** Streams a blob (an input file); throws `not_found` when the store has no such bytes. */
  getBlob(sha256: string, signal: Abortable): Promise<AsyncIterable<Uint8Array>>;
}
