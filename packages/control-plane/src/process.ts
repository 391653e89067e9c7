/**
 * What a process needs before there is a control plane in it, or without one: settings, log, and whose
 * its folder and its children are. An entry of its own, because an agent or a command that needs these
 * would else load the whole of it: 30 MB and half a second of a core.
 */
export type { BlobStore } from "./files/model.ts";
export { isS3Refusal, openS3Store, parseS3Url } from "./files/s3-store.ts";
export {
  adoptOrEnd,
  endChild,
  spawnDetachedChild,
  type DetachedChild,
} from "./platform/children.ts";
export { describeSettings, formatProblems, readSecret } from "./platform/config.ts";
export { createLog, type Log } from "./platform/log.ts";
export {
  claimOwnership,
  readHolder,
  type Ownership,
  type OwnershipClaim,
  type RecordedChild,
} from "./platform/owner-file.ts";
export {
  controlPlaneSettings,
  readControlPlaneSettings,
  stallTimes,
  type ControlPlaneSettings,
} from "./platform/settings.ts";
