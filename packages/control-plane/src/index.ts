export { stateOf as enrolmentState } from "./access/enrolment.ts";
export {
  createEnrolment,
  listEnrolments,
  revokeEnrolment,
  type ShownEnrolment,
} from "./access/enrolment-service.ts";
export { createKey, hasAnyKey, listKeys, revokeKey, type CreateKey } from "./access/service.ts";
export { ROLES, type ApiKey, type Role } from "./access/model.ts";
export { createControlPlane, type ControlPlane, type ControlPlaneOptions } from "./app.ts";
export {
  adoptOrEnd,
  endChild,
  spawnDetachedChild,
  type DetachedChild,
} from "./platform/children.ts";
export { describeSettings, formatProblems, readSecret } from "./platform/config.ts";
export { createDb, type Db } from "./platform/db.ts";
export { createLog, type Log } from "./platform/log.ts";
export {
  claimOwnership,
  readHolder,
  type Ownership,
  type OwnershipClaim,
  type RecordedChild,
} from "./platform/owner-file.ts";
export { createEmbeddedPostgres } from "./platform/postgres/embedded-postgres.ts";
export {
  controlPlaneSettings,
  readControlPlaneSettings,
  type ControlPlaneSettings,
} from "./platform/settings.ts";
