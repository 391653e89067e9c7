export { manifestSchema, type Manifest } from "./manifest/model.ts";
export { machinePlaces, type MachinePlaces } from "./machine-places.ts";
export { SERVICE_STATES, type ServiceReport, type ServiceState } from "./services/model.ts";
export {
  createInstaller,
  type Installer,
  type InstallOutcome,
  type InstallRequest,
} from "./install/installer.ts";
export type {
  InstallerOptions,
  InstallerPorts,
  InstallerSettings,
} from "./install/installer-options.ts";
export type { InstallPlan } from "./install/plan-install.ts";
export type { InstallEvent, MachineLock, Step, StepResult } from "./install/model.ts";
