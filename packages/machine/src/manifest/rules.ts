/** Rules between the keys of a manifest. Pure; the shape of each value is `manifest/model.ts`'s. */
import { contentRules } from "./content-rules.ts";
import { environmentRules } from "./environment-rules.ts";
import { joinFindings, type Findings } from "@holdfast/yaml-file";
import { instanceRules } from "./instance-rules.ts";
import type { Manifest } from "./model.ts";
import { secretRules } from "./secret-rules.ts";
import { serviceRules } from "./service-rules.ts";

/** Everything that is wrong with, or unwise in, a manifest whose values have the right shape. */
export function checkManifest(manifest: Manifest): Findings {
  return joinFindings([
    contentRules(manifest),
    environmentRules(manifest),
    instanceRules(manifest),
    serviceRules(manifest),
    secretRules(manifest),
  ]);
}
