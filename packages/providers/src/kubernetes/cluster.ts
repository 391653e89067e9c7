/** Calls of one cluster's API: the official client, loaded when it is first needed. */
import type { ProviderTrouble } from "@holdfast/fleet";
import { abortReason } from "@holdfast/runtime";
import type * as client from "@kubernetes/client-node";
import type { AuthorizationV1Api, CoreV1Api, HttpLibrary } from "@kubernetes/client-node";
import { throwIfAborted, trouble } from "../provided.ts";
import { shortened, type ApiRefusal } from "./api-trouble.ts";
import { watchedHttp } from "./bounded-http.ts";
import type { KubernetesSettings } from "./settings.ts";

/** How long one call may take. */
const REQUEST_TIMEOUT_MS = 30_000;
/** Errors of a connection that never was: nothing was asked. */
const NEVER_HEARD = /^(?:ECONNREFUSED|ENOTFOUND|EAI_AGAIN|EHOSTUNREACH|ENETUNREACH|.*CERT.*)$/;

/** What came of a call. A refusal is what the server says, for whoever knows what it means there. */
export type ApiAnswer<T> =
  | {
      readonly kind: "ok";
      readonly value: T;
      /** The server's clock, epoch ms; null where it does not say. */
      readonly serverNow: number | null;
    }
  | { readonly kind: "refused"; readonly refusal: ApiRefusal }
  | { readonly kind: "trouble"; readonly trouble: ProviderTrouble };

/** The parts of the API that are used. */
export interface ClusterApis {
  readonly core: CoreV1Api;
  readonly authorization: AuthorizationV1Api;
}

/** What is given on to each call of the client. */
export interface CallOptions {
  readonly httpApi: HttpLibrary;
}

/** One cluster. */
export interface Cluster {
  /** Asks once, within a time. Rejects only when the signal is aborted. */
  call<T>(
    signal: AbortSignal,
    ask: (apis: ClusterApis, options: CallOptions) => Promise<T>,
  ): Promise<ApiAnswer<T>>;
  /** What its settings lead to is read anew at the next call. */
  forget(): void;
}

type Client = typeof client;
type Settings = Pick<KubernetesSettings, "kubeconfig" | "context">;

/** The cluster of the settings. Nothing is read and nobody called before the first call. */
export function createCluster(settings: Settings, timeoutMs = REQUEST_TIMEOUT_MS): Cluster {
  let apis: ClusterApis | undefined;
  const forget = (): void => {
    apis = undefined;
  };
  return {
    forget,
    async call(signal, ask) {
      throwIfAborted(signal);
      const client = await import("@kubernetes/client-node");
      if (apis === undefined) {
        const found = connect(client, settings);
        if (typeof found === "string") return trouble("invalid", shortened(found));
        apis = found;
      }
      const within = AbortSignal.any([signal, AbortSignal.timeout(timeoutMs)]);
      const http = watchedHttp(client, within);
      try {
        const value = await untilAborted(ask(apis, { httpApi: http.library }), within);
        return { kind: "ok", value, serverNow: http.serverNow() };
      } catch (error) {
        throwIfAborted(signal);
        if (!(error instanceof client.ApiException)) {
          return transportTrouble(error, http.wasSent(), within, timeoutMs);
        }
        const refusal = { status: error.code, body: error.body, headers: error.headers };
        // A key that is refused may have been replaced where it was read.
        if (error.code === 401) forget();
        return { kind: "refused", refusal };
      }
    },
  };
}

/** The client for what the settings name; a text says why there is none. */
function connect(client: Client, { kubeconfig, context }: Settings): ClusterApis | string {
  const config = new client.KubeConfig();
  try {
    if (kubeconfig === undefined) config.loadFromCluster();
    else config.loadFromFile(kubeconfig);
  } catch (error) {
    const isMissing = (error as NodeJS.ErrnoException).code === "ENOENT";
    return isMissing
      ? `kubeconfig: there is no file ${kubeconfig}`
      : `kubeconfig: ${kubeconfig} cannot be read: ${messageOf(error)}`;
  }
  if (context !== undefined) config.setCurrentContext(context);
  const server = config.getCurrentCluster()?.server;
  if (server !== undefined && URL.canParse(server)) {
    return {
      core: config.makeApiClient(client.CoreV1Api),
      authorization: config.makeApiClient(client.AuthorizationV1Api),
    };
  }
  if (kubeconfig === undefined) {
    return "this does not run in a cluster: `kubeconfig` has to name the file that says where one is";
  }
  const known = (config.getContexts() ?? []).map(({ name }) => name).join(", ");
  return (
    `kubeconfig: expected a context ${JSON.stringify(context ?? "current-context")} with a cluster ` +
    `and its server in ${kubeconfig}, found the contexts: ${known === "" ? "none" : known}`
  );
}

function transportTrouble(
  error: unknown,
  wasSent: boolean,
  within: AbortSignal,
  timeoutMs: number,
): Extract<ApiAnswer<never>, { readonly kind: "trouble" }> {
  const code = (error as NodeJS.ErrnoException).code ?? "";
  if (within.aborted) {
    const message = `no answer from the cluster in ${timeoutMs / 1_000} s`;
    return trouble("unavailable", message, { mayHaveHappened: wasSent });
  }
  const message = shortened(`the cluster cannot be asked: ${messageOf(error)}`);
  // A certificate or a token's file that is not there: nobody but a person puts it there.
  if (!wasSent && (code === "ENOENT" || code === "EACCES")) return trouble("invalid", message);
  return trouble("unavailable", message, { mayHaveHappened: wasSent && !NEVER_HEARD.test(code) });
}

/** The client's preparations (a key's program) do not hear the signal: whoever waits does. */
async function untilAborted<T>(promise: Promise<T>, signal: AbortSignal): Promise<T> {
  let stop = (): void => undefined;
  const aborted = new Promise<never>((_, reject) => {
    stop = () => reject(abortReason(signal));
    signal.addEventListener("abort", stop, { once: true });
    if (signal.aborted) stop();
  });
  try {
    return await Promise.race([promise, aborted]);
  } finally {
    signal.removeEventListener("abort", stop);
  }
}

function messageOf(error: unknown): string {
  return error instanceof Error ? error.message : String(error);
}
