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
export { createDb, type Db } from "./platform/db.ts";
export { createEmbeddedPostgres } from "./platform/postgres/embedded-postgres.ts";
export type { FleetPlan, FleetPool } from "./fleet/fleet-settings.ts";
