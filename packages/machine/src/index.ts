export { manifestSchema, type Manifest } from "./manifest/model.ts";
export { machinePlaces, type MachinePlaces } from "./machine-places.ts";
export { SERVICE_STATES, type ServiceReport, type ServiceState } from "./services/model.ts";
