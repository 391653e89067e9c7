export { assertNever, invariant } from "./assert.ts";
export { backoffMs, type BackoffPolicy } from "./backoff.ts";
export { abortReason, type Abortable, type Clock } from "./clock.ts";
export { NO_FAILPOINTS, type Failpoints } from "./failpoints.ts";
export { createIdSource, mintedAtMs, nextUuid, type IdSource } from "./ids.ts";
export { createPace, type Pace, type PaceLimits } from "./pace.ts";
export { nextInt, pick, seededRandom, type Random } from "./random.ts";
export { startInOrder, stopInOrder, type Service } from "./service.ts";
