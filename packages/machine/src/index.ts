export { manifestReference, type ManifestKey } from "./manifest/manifest-reference.ts";
export { manifestTemplate, type TemplateFacts } from "./manifest/template.ts";
export { manifestSchema, type Manifest } from "./manifest/model.ts";
export { machinePlaces, type MachinePlaces } from "./machine-places.ts";
export { SERVICE_STATES, type ServiceReport, type ServiceState } from "./services/model.ts";
