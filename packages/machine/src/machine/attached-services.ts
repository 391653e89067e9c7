/** ComfyUIs of somebody else's as services: they run elsewhere, and how they are is what the runner finds. */
import type { Agent, ServedInstance } from "@holdfast/agent";
import { assertNever } from "@holdfast/runtime";
import { isLoopbackName } from "@holdfast/runtime/host";
import { NOTHING_INSTALLED } from "../services/fixed-facts.ts";
import type { CheckStatus, ServiceSource } from "../services/model.ts";

/** Longest name, so that a suffix fits into what a service may be called. */
const NAME_MAX = 100;

/** `taken` are names of other services; `now` is the wall clock, epoch ms. */
export function attachedSources(
  attached: readonly ServedInstance[],
  agent: Pick<Agent, "instanceHealth">,
  taken: readonly string[],
  now: () => number,
): readonly ServiceSource[] {
  const names = new Set(taken);
  return attached.map(({ url }) => {
    const name = unlike(names, attachedName(url));
    names.add(name);
    return {
      name,
      kind: "instance" as const,
      dependsOn: [],
      facts: () => ({
        isConfigured: true,
        installation: NOTHING_INSTALLED,
        runtime: {
          state: "elsewhere" as const,
          pid: null,
          startedAt: null,
          restarts: 0,
          detail: null,
        },
        check: checkOf(agent.instanceHealth(url), now),
      }),
      details: () => ({ url }),
      logFiles: () => [],
    };
  });
}

/** What of attached ComfyUIs can be served beside a machine's own, and what is to be said of the rest. */
export interface ServedBeside {
  readonly attached: readonly ServedInstance[];
  readonly notes: readonly string[];
}

/**
 * Addresses of attached ComfyUIs that are nobody else's: two runners on one ComfyUI would take each
 * other's prompts for a stranger's. An own instance goes first, for the manifest is about this machine.
 */
export function attachedBeside(
  attached: readonly ServedInstance[],
  own: readonly { readonly name: string; readonly url: string }[],
): ServedBeside {
  const holders = new Map(own.map(({ name, url }) => [addressOf(url), name]));
  const notes: string[] = [];
  const kept = attached.filter((one) => {
    const address = addressOf(one.url);
    const holder = holders.get(address);
    holders.set(address, holder ?? one.url);
    if (holder === undefined) return true;
    if (holder !== one.url) {
      notes.push(
        `${one.url} is the address of ${holder} too and is not attached: take it out of COMFYUI_URL, or change instances.basePort`,
      );
    }
    return false;
  });
  return { attached: kept, notes };
}

/** `comfyui-127.0.0.1-8188`: an address as a name that is no path. */
export function attachedName(url: string): string {
  const place = url.replace(/^https?:\/\//, "").replace(/\/+$/, "");
  return `comfyui-${place.replaceAll(/[^A-Za-z0-9._-]+/g, "-").slice(0, NAME_MAX)}`;
}

/** The same for every spelling of one address on loopback. */
function addressOf(url: string): string {
  const { protocol, hostname, port, pathname } = new URL(url);
  const host = isLoopbackName(hostname) ? "loopback" : hostname;
  return `${protocol}//${host}:${port}${pathname.replace(/\/+$/, "")}`;
}

function unlike(names: ReadonlySet<string>, name: string): string {
  if (!names.has(name)) return name;
  for (let number = 2; ; number += 1) {
    const other = `${name}-${number}`;
    if (!names.has(other)) return other;
  }
}

function checkOf(health: ReturnType<Agent["instanceHealth"]>, now: () => number): CheckStatus {
  if (health === undefined) return { state: "pending", detail: null, checkedAt: null };
  const checkedAt = Math.round(now());
  const { state, reason } = health;
  switch (state) {
    case "healthy":
      return { state: "passing", detail: reason, checkedAt };
    case "starting":
      return { state: "pending", detail: reason, checkedAt: null };
    case "stopped":
    case "unhealthy":
      return { state: "failing", detail: reason ?? "it is not well", checkedAt };
    default:
      return assertNever(state);
  }
}
