/** Which services an experiment needs, and how each is asked whether it is well. */
import type { ServiceAnswer } from "@holdfast/experiments";
import type { Clock } from "@holdfast/runtime";

/** A service that is checked. */
export interface CheckedService {
  /** As people know it: `ComfyUI`, `MinIO`. */
  readonly name: string;
  readonly url: string;
  /** Base of an MLflow: its health alone says nothing, so one call is made as well. */
  readonly mlflowBase?: string;
  /** A call that a Holdfast answers to a key alone, and the key: without it, it is well and takes no run. */
  readonly keyed?: { readonly url: string; readonly apiKey: string | undefined };
}

/** Asks one service once. Rejects when the signal is aborted. */
export type AskService = (
  service: CheckedService,
  timeoutMs: number,
  signal: AbortSignal,
) => Promise<ServiceAnswer>;

/** Services that are known, by what `--services` calls them. */
const KNOWN: Readonly<Record<string, { readonly name: string; readonly path: string }>> = {
  comfyui: { name: "ComfyUI", path: "/system_stats" },
  minio: { name: "MinIO", path: "/minio/health/live" },
  mlflow: { name: "MLflow", path: "/health" },
  holdfast: { name: "Holdfast", path: "/readyz" },
};

/** What whoever submits jobs may read. */
export const KEYED_PATH = "/api/v1/jobs?limit=1";

/** The services, with the key of the Holdfast that runs are rendered on, where it is one of them. */
export function withKey(
  services: readonly CheckedService[],
  { baseUrl, apiKey }: { readonly baseUrl: string; readonly apiKey: string | undefined },
): readonly CheckedService[] {
  const { url } = knownService("holdfast", baseUrl);
  const keyed = { url: `${baseUrl}${KEYED_PATH}`, apiKey };
  return services.map((service) => (service.url === url ? { ...service, keyed } : service));
}

/** A known service at a base URL. */
export function knownService(key: string, baseUrl: string): CheckedService {
  const known = KNOWN[key];
  const base = baseUrl.replace(/\/+$/, "");
  return {
    name: known?.name ?? key,
    url: `${base}${known?.path ?? ""}`,
    ...(key === "mlflow" && { mlflowBase: base }),
  };
}

/** The services of `--services`, or what is wrong with them. */
export type ParsedServices =
  | { readonly kind: "ok"; readonly services: readonly CheckedService[] }
  | { readonly kind: "bad"; readonly message: string };

/**
 * Reads `comfyui=URL,minio=URL,name=URL`. A known service's URL may be its base alone, and is asked
 * where its health is; the URL of another one is asked as it is. `none` is no service at all.
 */
export function parseServices(text: string): ParsedServices {
  if (text.trim() === "none") return { kind: "ok", services: [] };
  const services: CheckedService[] = [];
  for (const part of text.split(",").map((one) => one.trim())) {
    const [, key = "", url = ""] = /^([A-Za-z][\w .-]{0,39})=(.+)$/.exec(part) ?? [];
    if (!URL.canParse(url) || !/^https?:$/.test(new URL(url).protocol)) {
      const expected = "expected name=URL with an http or https address, or none";
      return { kind: "bad", message: `--services: ${expected}, found ${JSON.stringify(part)}` };
    }
    const known = key.toLowerCase();
    const hasPath = new URL(url).pathname !== "/";
    const isBase = Object.hasOwn(KNOWN, known) && !hasPath;
    const service = isBase ? knownService(known, url) : { name: KNOWN[known]?.name ?? key, url };
    if (services.some(({ name }) => name === service.name)) {
      return { kind: "bad", message: `--services: ${service.name} is there twice` };
    }
    services.push(service);
  }
  return { kind: "ok", services };
}

/** Looks at an MLflow; see `mlflow-probe.ts`. */
export type ProbeMlflow = (
  baseUrl: string,
  timeoutMs: number,
  signal: AbortSignal,
) => Promise<ServiceAnswer>;

/** Asks over HTTP: healthy is 200 to 299, in time. */
export function createAskService(
  clock: Clock,
  ports: { readonly fetchIt?: typeof fetch; readonly probeMlflow: ProbeMlflow },
): AskService {
  const { fetchIt = fetch, probeMlflow } = ports;
  return async ({ url, mlflowBase, keyed }, timeoutMs, signal) => {
    if (mlflowBase !== undefined) return await probeMlflow(mlflowBase, timeoutMs, signal);
    const over = new AbortController();
    const ended = new AbortController();
    let isLate = false;
    const late = clock.sleep(timeoutMs, ended.signal).then(
      () => {
        isLate = true;
        over.abort(new Error("the answer did not come in time"));
      },
      () => undefined,
    );
    const onAbort = (): void => over.abort(signal.reason);
    signal.addEventListener("abort", onAbort, { once: true });
    try {
      signal.throwIfAborted();
      const get = async (address: string, more: Readonly<Record<string, string>> = {}) => {
        const response = await fetchIt(withoutCredentials(address), {
          signal: over.signal,
          redirect: "manual",
          headers: { ...credentialsOf(address), ...more },
        });
        // An answer that breaks off, or never ends, is none.
        await response.arrayBuffer();
        return response;
      };
      const { ok, status } = await get(url);
      if (!ok) return { kind: "http_status", status };
      if (keyed === undefined) return { kind: "ok" };
      const { apiKey } = keyed;
      return keyedAnswer(
        await get(keyed.url, apiKey === undefined ? {} : { authorization: `Bearer ${apiKey}` }),
      );
    } catch {
      signal.throwIfAborted();
      return isLate ? { kind: "timed_out", afterMs: timeoutMs } : { kind: "unreachable" };
    } finally {
      signal.removeEventListener("abort", onAbort);
      ended.abort();
      await late;
    }
  };
}

function keyedAnswer({ ok, status }: Pick<Response, "ok" | "status">): ServiceAnswer {
  const advice = KEY_ADVICE[status];
  if (advice !== undefined) return { kind: "refused", status, advice };
  return ok ? { kind: "ok" } : { kind: "http_status", status };
}

const KEY_ADVICE: Readonly<Record<number, string>> = {
  401: "set HOLDFAST_API_KEY, or use --api-key",
  403: "the API key may not submit jobs: use one of the role user, operator or admin",
};

/** `fetch` refuses addresses with a user in them. */
function withoutCredentials(text: string): string {
  const url = new URL(text);
  url.username = "";
  url.password = "";
  return url.href;
}

function credentialsOf(text: string): Readonly<Record<string, string>> {
  const { username, password } = new URL(text);
  if (username === "") return {};
  const pair = `${decodeURIComponent(username)}:${decodeURIComponent(password)}`;
  return { authorization: `Basic ${Buffer.from(pair, "utf8").toString("base64")}` };
}
