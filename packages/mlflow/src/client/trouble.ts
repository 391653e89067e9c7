/** Why a call to MLflow brought nothing, and whether asking again can help. */
import { assertNever } from "@holdfast/runtime";
import type { ExchangeTrouble } from "@holdfast/runtime/host";

/** What went wrong with one call. Normal trouble, so it is data. */
export type MlflowTrouble =
  | ExchangeTrouble
  /** MLflow's host check (3.5 and later): `/health` is green, and every other call is 403. */
  | { readonly kind: "forbidden_host"; readonly host: string }
  /** Credentials that are missing, wrong, or not enough. */
  | { readonly kind: "unauthorized"; readonly status: number; readonly message: string }
  /** MLflow's own no, in its words: the same request gets the same answer. */
  | {
      readonly kind: "refused";
      readonly status: number;
      readonly code: string;
      readonly message: string;
    }
  /** It is ill or busy (5xx, 429): the same request may work later. */
  | {
      readonly kind: "failed";
      readonly status: number;
      readonly message: string;
      /** What `Retry-After` asked for. */
      readonly retryAfterMs: number | null;
    }
  /** Somebody answered who is not MLflow: a proxy's page, a wrong path, an answer that cannot be read. */
  | { readonly kind: "not_mlflow"; readonly status: number; readonly message: string }
  /** The experiment lies in MLflow's bin: a person has to restore it, or to choose another name. */
  | { readonly kind: "experiment_deleted"; readonly name: string; readonly experimentId: string };

/** What a result is when it is not trouble. */
export type MlflowResult<T> = { readonly kind: "ok"; readonly value: T } | MlflowTrouble;

/** The trouble in words for a person: what was found, and what to do. */
export function tellTrouble(trouble: MlflowTrouble): string {
  switch (trouble.kind) {
    case "unreachable":
      return `MLflow cannot be reached (${trouble.code}): ${trouble.message}`;
    case "timeout":
      return `MLflow did not answer within ${trouble.afterMs / 1000} s`;
    case "forbidden_host":
      return `MLflow refuses the host name ${trouble.host} (HTTP 403): start it with --allowed-hosts, or use an address that it allows`;
    case "unauthorized":
      return `MLflow wants other credentials (HTTP ${trouble.status}): check MLFLOW_TRACKING_USERNAME and MLFLOW_TRACKING_PASSWORD, or MLFLOW_TRACKING_TOKEN`;
    case "refused":
      return `MLflow refused it (HTTP ${trouble.status} ${trouble.code}): ${trouble.message}`;
    case "failed":
      return `MLflow failed (HTTP ${trouble.status}): ${trouble.message}`;
    case "not_mlflow":
      return `what answers at MLFLOW_TRACKING_URI is not MLflow (HTTP ${trouble.status}): ${trouble.message}`;
    case "experiment_deleted":
      return `the MLflow experiment "${trouble.name}" is deleted: restore it (mlflow experiments restore -x ${trouble.experimentId}), and what is kept is delivered`;
    default:
      return assertNever(trouble);
  }
}
