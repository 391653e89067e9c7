export { HealthServerRefusal, type Listening } from "./health-server/listen.ts";
export type { HealthAnswer, ServicesAnswer } from "./health-server/model.ts";
export type { Cleaned } from "./install/release/clean-releases.ts";
export type { InstallOutcome, InstallationSummary, RollbackOutcome } from "./install/installer.ts";
export type { InstallPlan } from "./install/plan-install.ts";
export type { InstallEvent, StepProgress, StepResult } from "./install/model.ts";
export { holdWords, type ReleaseHold } from "./install/release/release-hold.ts";
export { readHealthAddress } from "./machine/health-address.ts";
export { createMachine, defaultMachineRoot } from "./machine/machine.ts";
export type { Machine, MachineOptions, MachinePrograms } from "./machine/machine-options.ts";
export {
  openMachineFolder,
  type MachineFolder,
  type MachineFolderOptions,
} from "./machine/machine-folder.ts";
export { machinePlaces, type MachinePlaces } from "./machine-places.ts";
export { manifestReference } from "./manifest/manifest-reference.ts";
export { manifestTemplate, type TemplateFacts } from "./manifest/template.ts";
