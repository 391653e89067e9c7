export { createLocalProvider, type LocalProviderOptions } from "./local/provider.ts";
export { localSettingsSchema, type LocalSettings } from "./local/settings.ts";
export { offersOf, SPOT_ORDERS, type OfferWishes, type SpotOrder } from "./offers.ts";
export { FLEET_EXAMPLE, fleetReference } from "./config/fleet-reference.ts";
export type { FleetConfig, FleetPool, PoolBasics } from "./config/model.ts";
export { PROVIDER_BLOCKS, type ProviderBlocks } from "./config/provider-blocks.ts";
export {
  FLEET_FILE_BYTES_MAX,
  readFleetFile,
  type FleetReading,
  type ReadPool,
} from "./config/read-fleet-file.ts";
export {
  createKubernetesProvider,
  type KubernetesProviderOptions,
} from "./kubernetes/kubernetes-provider.ts";
export { kubernetesSettingsSchema, type KubernetesSettings } from "./kubernetes/settings.ts";
export type { FleetLabel } from "./label.ts";
export { machineEnvironment, type PoolEnvironment } from "./pool-environment.ts";
export type { MachineProvider } from "./port.ts";
export { createRunpodProvider, type RunpodProviderOptions } from "./runpod/provider.ts";
export { runpodSettingsSchema, type RunpodSettings } from "./runpod/settings.ts";
