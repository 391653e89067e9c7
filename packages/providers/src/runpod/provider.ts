/**
 * Machines as pods of RunPod, by version 2 of its REST API (`https://api.runpod.io/v2`).
 *
 * What was read, on 2026-11-27:
 * - `runpod/docs` at a900806e (2026-08-20), `api-reference-v2/openapi.json` (its release 2.9.0) and
 *   `migrate-from-v1.mdx`; later states of `api-reference-v2/pods/create-a-pod` (4962c60) and
 *   `pods/list-pods` (361c969), from which come `cmd`, `entrypoint`, `minRamPerGpu`,
 *   `minVcpuCountPerGpu` and the limit of 102,400 bytes;
 * - `runpod/runpod-plugins-official` at 8be10ce, `runpod-migrate/reference/*.md`: what RunPod itself saw
 *   of version 2 on 2026-08-18, `dataCenterIds` being binding and the words of a capacity refusal among it;
 * - public clients of September to November 2026 for the pages of the list
 *   (`?limit=1..1000&cursor=`, answered with `pagination: {nextCursor, hasNextPage}`).
 *
 * Version 1 (`rest.runpod.io/v1`) was announced to be retired on 2026-11-15, later on 2026-12-01, and a
 * client (`lavallee/gipper` 0.5.0) found it gone on 2026-11-16. Version 2 has no spot pods
 * (`interruptible`), no list of GPU types in one request and no filters in the list: one offer is one
 * request, and filtering is done here. Nothing was run against RunPod itself: that needs a paid account.
 *
 * Invariants: I1, one name never makes two pods as far as this process can know (the list before every
 * request, and what was asked lately, see `recent-pods.ts`); I2, a list is whole or it is trouble.
 */
import type { MachineRequest, Provided, ProvidedMachine } from "@holdfast/fleet";
import type { Clock } from "@holdfast/runtime";
import { checkedLabel, type FleetLabel } from "../label.ts";
import { offersOf } from "../offers.ts";
import type { MachineProvider } from "../port.ts";
import { ok, requestTrouble, throwIfAborted, trouble } from "../provided.ts";
import { createTurns } from "../turns.ts";
import { readApiKey } from "./api-key.ts";
import { createBody, CREATE_BYTES_MAX } from "./create-body.ts";
import { createApi, type ApiAnswer } from "./http.ts";
import { machineNameOf, parsePage, parsePod, toMachine, type Pod } from "./pod.ts";
import { createRecentPods } from "./recent-pods.ts";
import { brokenAnswer, troubleOf, type AnswerContext } from "./refusals.ts";
import type { RunpodSettings } from "./settings.ts";
import { checkSettings } from "./check-settings.ts";

/** What it is made of. */
export interface RunpodProviderOptions {
  readonly settings: RunpodSettings;
  readonly label: FleetLabel;
  readonly clock: Clock;
}

/** Pods of one page. */
const PAGE_PODS = 500;
/** An account with more pods than these pages hold is not listed at all (I2). */
const PAGES_MAX = 20;

/** Makes a provider; nothing is asked of RunPod before its first call. */
export function createRunpodProvider(options: RunpodProviderOptions): MachineProvider {
  return new RunpodProvider(options);
}

class RunpodProvider implements MachineProvider {
  readonly kind = "runpod";
  readonly offers;
  readonly #settings;
  readonly #label;
  readonly #clock;
  readonly #api;
  readonly #recent;
  readonly #turns = createTurns();

  constructor({ settings, label, clock }: RunpodProviderOptions) {
    this.#settings = settings;
    this.#label = checkedLabel(label);
    this.#clock = clock;
    this.#recent = createRecentPods(clock);
    const timeoutMs = settings.timeoutSeconds * 1_000;
    this.#api = createApi({ baseUrl: settings.baseUrl, clock, timeoutMs });
    const { gpuTypes, dataCenters: zones, spot } = settings;
    this.offers = offersOf({ gpuTypes, zones, spot });
  }

  async list(signal: AbortSignal): Promise<Provided<readonly ProvidedMachine[]>> {
    throwIfAborted(signal);
    const listed: ProvidedMachine[] = [];
    const cursors = new Set<string>();
    let query = `limit=${PAGE_PODS}`;
    for (let pages = 1; ; pages += 1) {
      const what = "the pods cannot be listed";
      const asked = await this.#ask({ method: "GET", path: `/pods?${query}`, what, signal });
      if (asked.kind === "trouble") return asked;
      const page = parsePage(asked.value.body);
      if (page === undefined) return brokenAnswer(asked.value.context);
      listed.push(...page.pods.flatMap((pod) => this.#ours(pod) ?? []));
      if (page.next === null) return ok(this.#recent.merge(listed));
      if (pages >= PAGES_MAX || cursors.has(page.next)) {
        const words = `${what}: there are more than ${pages * PAGE_PODS} of them, or the list goes round`;
        return trouble("unavailable", words);
      }
      cursors.add(page.next);
      query = `limit=${PAGE_PODS}&cursor=${encodeURIComponent(page.next)}`;
    }
  }

  async create(request: MachineRequest, signal: AbortSignal): Promise<Provided<ProvidedMachine>> {
    throwIfAborted(signal);
    const refused = requestTrouble(request) ?? this.#offerTrouble(request);
    if (refused !== undefined) return refused;
    return await this.#turns.take(request.name, () => this.#createOnce(request, signal));
  }

  async terminate(ref: string, signal: AbortSignal): Promise<Provided<null>> {
    throwIfAborted(signal);
    // No id of RunPod's: nothing that could be there.
    if (!/^[A-Za-z0-9_-]{1,128}$/.test(ref)) return ok(null);
    const what = "the pod could not be ended";
    const path = `/pods/${ref}`;
    const asked = await this.#ask({ method: "GET", path, what, signal, fine: [404] });
    if (asked.kind === "trouble") return asked;
    if (asked.value.status !== 404) {
      const pod = parsePod(asked.value.body);
      if (pod === undefined) return brokenAnswer(asked.value.context);
      if (machineNameOf(pod, this.#label) === undefined) {
        return trouble("invalid", `${what}: ${ref} is no machine of this pool`);
      }
    } else if (!this.#recent.isNew(ref)) {
      this.#recent.ended(ref);
      return ok(null);
    }
    const ended = await this.#ask({ method: "DELETE", path, what, signal, fine: [404] });
    if (ended.kind === "trouble") return ended;
    if (ended.value.status === 404 && this.#recent.isNew(ref)) {
      const words = `${what}: it was just made, and RunPod does not show it yet`;
      return trouble("unavailable", words);
    }
    this.#recent.ended(ref);
    return ok(null);
  }

  async check(signal: AbortSignal): Promise<Provided<readonly string[]>> {
    throwIfAborted(signal);
    return await checkSettings(this.#settings, async (path, fine = []) => {
      const what = "the settings cannot be checked";
      return await this.#ask({ method: "GET", path, what, signal, fine });
    });
  }

  close(): Promise<void> {
    return this.#api.close();
  }

  async #createOnce(
    request: MachineRequest,
    signal: AbortSignal,
  ): Promise<Provided<ProvidedMachine>> {
    throwIfAborted(signal);
    const { name } = request;
    const listed = await this.list(signal);
    if (listed.kind === "trouble") {
      const mayHaveHappened = this.#recent.mayShowUpMs(name) > 0;
      return { kind: "trouble", trouble: { ...listed.trouble, mayHaveHappened } };
    }
    const there = listed.value.find((one) => one.name === name);
    if (there !== undefined) return ok(there);
    const retryAfterMs = this.#recent.mayShowUpMs(name);
    if (retryAfterMs > 0) {
      const words = `a pod for ${name} was asked for and may still show up in RunPod's list`;
      return trouble("unavailable", words, { retryAfterMs, mayHaveHappened: true });
    }
    return await this.#post(request, signal);
  }

  async #post(request: MachineRequest, signal: AbortSignal): Promise<Provided<ProvidedMachine>> {
    const { name } = request;
    const what = `a pod for ${name} could not be made`;
    const body = JSON.stringify(createBody(request, this.#settings, this.#label));
    const sizeBytes = Buffer.byteLength(body);
    if (sizeBytes > CREATE_BYTES_MAX) {
      const words = `expected at most ${CREATE_BYTES_MAX} bytes, found ${sizeBytes}: shorten \`env\``;
      return trouble("invalid", `${what}: ${words}`);
    }
    // Before it is sent: an abort in the middle leaves it open whether it was heard.
    this.#recent.asked(name);
    const secrets = Object.values(request.env);
    const asked = await this.#ask({ method: "POST", path: "/pods", what, signal, body, secrets });
    if (asked.kind === "trouble") {
      if (!asked.trouble.mayHaveHappened) this.#recent.refused(name);
      return asked;
    }
    const pod = parsePod(asked.value.body);
    if (pod === undefined) return brokenAnswer(asked.value.context);
    const machine = toMachine(pod, name, this.#settings.ports);
    this.#recent.made(machine);
    return ok(machine);
  }

  #ours(pod: Pod): ProvidedMachine | undefined {
    const name = machineNameOf(pod, this.#label);
    return name === undefined ? undefined : toMachine(pod, name, this.#settings.ports);
  }

  #offerTrouble({ offer }: MachineRequest): ReturnType<typeof trouble> | undefined {
    const { gpuType, isSpot } = offer;
    if (isSpot) return trouble("invalid", "version 2 of RunPod's API has no spot pods");
    if (gpuType !== null) return undefined;
    return trouble("invalid", "expected a GPU type: RunPod has to be told which one");
  }

  /** One call with the key of this instant. A status that is neither good nor `fine` is trouble. */
  async #ask(ask: Ask): Promise<Provided<GoodAnswer>> {
    const { what, signal, fine = [] } = ask;
    const read = await readApiKey(this.#settings);
    if (read.kind === "missing") return trouble("unauthorized", `${what}: ${read.message}`);
    const secrets = [read.key, ...(ask.secrets ?? [])];
    const isCreate = ask.method === "POST";
    const { method, path, body } = ask;
    const answer = await this.#api.call({
      method,
      path,
      apiKey: read.key,
      signal,
      ...(body === undefined ? {} : { body }),
    });
    const context = { what, isCreate, secrets, nowMs: this.#clock.now() };
    return isGood(answer, fine) ? ok({ ...answer, context }) : troubleOf(answer, context);
  }
}

interface Ask {
  readonly method: "GET" | "POST" | "DELETE";
  readonly path: string;
  /** For messages: what did not come about. */
  readonly what: string;
  readonly signal: AbortSignal;
  readonly body?: string;
  /** Beside the key and the pool's environment. */
  readonly secrets?: readonly string[];
  /** Statuses that are an answer too. */
  readonly fine?: readonly number[];
}

type WholeAnswer = Extract<ApiAnswer, { kind: "answer" }>;
type GoodAnswer = WholeAnswer & { readonly context: AnswerContext };

function isGood(answer: ApiAnswer, fine: readonly number[]): answer is WholeAnswer {
  if (answer.kind !== "answer") return false;
  const { status } = answer;
  return (status >= 200 && status < 300) || fine.includes(status);
}
