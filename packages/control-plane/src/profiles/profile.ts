import type { CostValue } from "./cost-key.ts";
import type { ProfileStatistics } from "./statistics.ts";

/** What graphs of one cost take on one kind of card. */
export interface Profile {
  readonly costKey: string;
  /** Empty where nobody told what it is. */
  readonly card: string;
  /** Hash of the template. */
  readonly shape: string;
  readonly values: readonly CostValue[];
  readonly models: readonly string[];
  readonly statistics: ProfileStatistics;
  /** Epoch ms; null: never measured by hand. */
  readonly measuredAt: number | null;
  readonly updatedAt: number;
}

/** Profiles that are kept; over it those go to which nothing was added for longest. */
export const PROFILES_MAX = 2_000;
/** Names of models that a profile is shown with. */
export const PROFILE_MODELS_MAX = 8;
