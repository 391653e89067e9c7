import type { ServiceAnswer } from "@holdfast/experiments";
import { probeMlflow, type ProbedMlflow, type TrackingTarget } from "@holdfast/mlflow";
import { assertNever } from "@holdfast/runtime";
import { systemClock } from "@holdfast/runtime/system";
import type { ProbeMlflow } from "./services.ts";
import { shownUrl } from "./shown-url.ts";

/**
 * Looks whether an MLflow takes calls, with the credentials of the one that is told of runs where it
 * is that one: `/health` is green while the host check refuses every call.
 */
export function mlflowProbe(known: TrackingTarget | undefined): ProbeMlflow {
  return async (baseUrl, timeoutMs, signal) => {
    const base = shownUrl(baseUrl);
    const authorization = known?.baseUrl === base ? known.authorization : null;
    const target = { baseUrl: base, authorization };
    const found = await probeMlflow({ target, clock: systemClock, timeoutMs, signal });
    return answerOf(found);
  };
}

function answerOf(found: ProbedMlflow): ServiceAnswer {
  switch (found.kind) {
    case "healthy":
      return { kind: "ok" };
    case "unreachable":
      return { kind: "unreachable" };
    case "timeout":
      return { kind: "timed_out", afterMs: found.afterMs };
    case "forbidden_host":
      return { kind: "http_status", status: 403 };
    case "unauthorized":
    case "refused":
    case "failed":
    case "not_mlflow":
      return { kind: "http_status", status: found.status };
    case "experiment_deleted":
      return { kind: "ok" };
    default:
      return assertNever(found);
  }
}
