/** Environment variables that carry the fleet and the pool into a machine. */
export const LABEL_ENV = { fleet: "HOLDFAST_FLEET", pool: "HOLDFAST_POOL" } as const;
