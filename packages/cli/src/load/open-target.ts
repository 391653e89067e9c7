/** Finds out what answers at an address, and opens it. */
import { fieldOf, createApiClient, failureOf, type ServerAddress } from "../api/api-client.ts";
import { CommandFailure } from "../command-failure.ts";
import { EXIT } from "../exit-codes.ts";
import { shownUrl } from "../experiment/shown-url.ts";
import type { SocketEvent } from "@holdfast/comfyui";
import { parseSystemStats } from "@holdfast/comfyui/protocol";
import type { Clock, Random } from "@holdfast/runtime";
import { openComfyuiTarget } from "./comfyui-target.ts";
import { openHoldfastTarget } from "./holdfast-target.ts";
import type { LoadTarget } from "./load-target.ts";

/** What to open. */
export interface OpenTargetOptions {
  readonly address: ServerAddress;
  /** Absent, null: it is found out. */
  readonly kind?: LoadTarget["kind"] | null;
  readonly clock: Clock;
  readonly random: Random;
  /** Hears what a bare ComfyUI's socket tells. */
  readonly onEvent?: (event: SocketEvent) => void;
}

/** A server that answers nothing for so long is taken for gone. */
const LOOK_MS = 10_000;

/** What was found at an address. */
type Found =
  | { readonly kind: LoadTarget["kind"]; readonly version: string | null }
  | { readonly kind: "unreachable"; readonly reason: string }
  | { readonly kind: "other"; readonly words: string };

/** Opens what answers there; throws {@link CommandFailure} with what was found instead. */
export async function openTarget(options: OpenTargetOptions): Promise<LoadTarget> {
  const { address, clock, random } = options;
  const url = shownUrl(address.baseUrl);
  const found = await lookAt(options);
  if (found.kind === "unreachable") {
    const words = `cannot reach ${url}: ${found.reason}. Expected a Holdfast or a ComfyUI there (--server)`;
    throw new CommandFailure(EXIT.unavailable, words);
  }
  if (found.kind === "other") {
    const words = `${url} is neither a Holdfast nor a ComfyUI: ${found.words} (--server)`;
    throw new CommandFailure(EXIT.refused, words);
  }
  const wanted = options.kind ?? null;
  if (wanted !== null && wanted !== found.kind) {
    const name = found.kind === "holdfast" ? "a Holdfast" : "a ComfyUI";
    throw new CommandFailure(EXIT.refused, `--target: expected ${wanted}, found ${name} at ${url}`);
  }
  const { version } = found;
  if (found.kind === "comfyui") {
    const { onEvent } = options;
    return await openComfyuiTarget({
      url: address.baseUrl,
      version,
      clock,
      random,
      ...(onEvent !== undefined && { onEvent }),
    });
  }
  const api = createApiClient(address);
  // Before any load: whether the key is good.
  const allowed = await api.request("/api/v1/jobs?limit=1");
  if (allowed.kind !== "answered") throw failureOf(allowed, api.baseUrl);
  await allowed.response.body?.cancel();
  return await openHoldfastTarget({ api, version, clock, random });
}

/** A Holdfast says its version where it says that it lives; a ComfyUI tells of its system. */
async function lookAt({ address, clock }: OpenTargetOptions): Promise<Found> {
  const api = createApiClient(address);
  const over = new AbortController();
  const late = new AbortController();
  clock.sleep(LOOK_MS, over.signal).then(
    () => late.abort(),
    () => undefined,
  );
  const ask = async (path: string) => {
    const answer = await api.request(path, { signal: late.signal });
    if (answer.kind !== "answered") return answer;
    const value: unknown = await answer.response.json().catch(() => undefined);
    return { kind: "value" as const, value };
  };
  try {
    const health = await ask("/healthz");
    if (health.kind === "unreachable") return health;
    if (health.kind === "value") {
      const version = fieldOf(health.value, "version");
      if (fieldOf(health.value, "status") === "ok" && typeof version === "string") {
        return { kind: "holdfast", version };
      }
    }
    const stats = await ask("/system_stats");
    if (stats.kind === "unreachable") return stats;
    if (stats.kind === "value") {
      const read = parseSystemStats(stats.value);
      if (read !== undefined) return { kind: "comfyui", version: read.comfyuiVersion ?? null };
      return { kind: "other", words: "/healthz and /system_stats answer with something else" };
    }
    return { kind: "other", words: `/system_stats: ${stats.message}` };
  } catch (error) {
    if (!late.signal.aborted) throw error;
    return { kind: "unreachable", reason: `no answer within ${LOOK_MS / 1_000} s` };
  } finally {
    over.abort();
  }
}
