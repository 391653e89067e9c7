export { FLEET_EXAMPLE, fleetReference } from "./config/fleet-reference.ts";
export type { FleetConfig, FleetPool, PoolBasics } from "./config/model.ts";
export { PROVIDER_BLOCKS, type ProviderBlocks } from "./config/provider-blocks.ts";
export {
  FLEET_FILE_BYTES_MAX,
  readFleetFile,
  type FleetReading,
} from "./config/read-fleet-file.ts";
export { kubernetesSettingsSchema, type KubernetesSettings } from "./kubernetes/settings.ts";
export type { MachineProvider } from "./port.ts";
