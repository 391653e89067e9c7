export {
  createHealthServer,
  type HealthServer,
  type HealthServerOptions,
} from "./health-server/health-server.ts";
export {
  DEFAULT_HEALTH_PORT,
  HealthServerRefusal,
  type HealthAddress,
  type Listening,
} from "./health-server/listen.ts";
export {
  healthAnswerSchema,
  logLineSchema,
  logsAnswerSchema,
  readyAnswerSchema,
  serviceAnswerSchema,
  servicesAnswerSchema,
  transitionsAnswerSchema,
  type GpuFacts,
  type HealthAnswer,
  type LogLine,
  type LogsAnswer,
  type MachineFacts,
  type ReadyAnswer,
  type ServiceAnswer,
  type ServicesAnswer,
  type TransitionsAnswer,
} from "./health-server/model.ts";
export { manifestReference, type ManifestKey } from "./manifest/manifest-reference.ts";
export { manifestTemplate, type TemplateFacts } from "./manifest/template.ts";
export { manifestSchema, type Manifest } from "./manifest/model.ts";
export { machinePlaces, type MachinePlaces } from "./machine-places.ts";
export {
  createExtraServices,
  type ExtraServices,
  type ExtraServicesOptions,
} from "./services/extra-services.ts";
export { notConfiguredSource } from "./services/fixed-facts.ts";
export {
  MACHINE_STATES,
  type MachineState,
  type MachineSummary,
} from "./services/machine-summary.ts";
export { SERVICE_STATES, type ServiceReport, type ServiceState } from "./services/model.ts";
export { createHttpProbe, type Probe } from "./services/probe.ts";
export { createProcessHost, type ProcessHost } from "./services/process-host.ts";
export {
  createServiceRegistry,
  type ServiceChange,
  type ServiceRegistry,
} from "./services/service-registry.ts";
export { openTransitionJournal, type TransitionJournal } from "./services/transition-journal.ts";
