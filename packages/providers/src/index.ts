export type { FleetLabel } from "./label.ts";
export { createLocalProvider, type LocalProviderOptions } from "./local/provider.ts";
export { localSettingsSchema, type LocalSettings } from "./local/settings.ts";
export { offersOf, SPOT_ORDERS, type OfferWishes, type SpotOrder } from "./offers.ts";
export type { MachineProvider } from "./port.ts";
export { createRunpodProvider, type RunpodProviderOptions } from "./runpod/provider.ts";
export { runpodSettingsSchema, type RunpodSettings } from "./runpod/settings.ts";
export { readSettings, type SettingsReading } from "./settings-words.ts";
