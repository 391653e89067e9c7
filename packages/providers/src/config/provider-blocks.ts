import type { ProviderKind } from "@holdfast/fleet";
import type { z } from "zod";
import { kubernetesSettingsSchema } from "../kubernetes/settings.ts";
import { localSettingsSchema } from "../local/settings.ts";
import { runpodSettingsSchema } from "../runpod/settings.ts";

/** Who can have pools in `fleet.yaml`: each with the schema of its own block of a pool. */
export type ProviderBlocks = Readonly<Partial<Record<Exclude<ProviderKind, "static">, z.ZodType>>>;

/** The providers that there are. */
export const PROVIDER_BLOCKS = {
  local: localSettingsSchema,
  runpod: runpodSettingsSchema,
  kubernetes: kubernetesSettingsSchema,
} as const satisfies ProviderBlocks;
