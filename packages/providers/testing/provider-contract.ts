/**
 * What every provider of machines must do, whatever is behind it. One suite: `describeProvider` runs it
 * over a world in which a provider can be made, spoken to and hindered.
 */
import type { MachineRequest, Provided, ProvidedMachine, ProviderTrouble } from "@holdfast/fleet";
import { afterEach, beforeEach, describe, expect, test } from "vitest";
import type { FleetLabel } from "../src/label.ts";
import type { MachineProvider } from "../src/port.ts";

/** What can be made to go wrong in a world; a provider that cannot meet one does not name it. */
export const CONTRACT_FAULTS = [
  "capacity",
  "rate_limited",
  "unauthorized",
  "invalid",
  "server_error",
  /** Nobody listens. */
  "refused",
  /** The connection breaks before the request was carried out, and after. */
  "reset_unheard",
  "reset_heard",
  "silent_heard",
  "broken_json_heard",
  "huge_body_heard",
] as const;
/** One of {@link CONTRACT_FAULTS}. */
export type ContractFault = (typeof CONTRACT_FAULTS)[number];

/** `Retry-After` of the fault `rate_limited`. */
export const CONTRACT_RETRY_AFTER_MS = 12_000;

/** A world with something to have machines from. */
export interface ContractWorld {
  /** Another provider over the same world, as another control plane would make it. */
  provider(label: FleetLabel): MachineProvider;
  /** What calls run into from now on: the one that makes a machine, or those that list and end. */
  fail(fault: ContractFault, calls: "create" | "list_and_end"): void | Promise<void>;
  heal(): void | Promise<void>;
  /** Lets time pass for the providers and for what is behind them. */
  pass(ms: number): Promise<void>;
  /** Texts that no message may hold. */
  readonly secrets: readonly string[];
  close(): Promise<void>;
}

/** The pool of most tests. */
export const CONTRACT_LABEL: FleetLabel = { fleet: "studio-a", pool: "gpu" };

/** Longer than any provider's list lags behind. */
const LAG_MS = 120_000;
/** A machine that was told to end has ended by then. */
const END_MS = 600_000;

const TOKEN = "token-of-the-request";
const signal = new AbortController().signal;

const alive = (machine: ProvidedMachine): boolean =>
  machine.state === "pending" || machine.state === "running";

/** What the tests speak through: a fresh world for each of them, and what is asked of it in one word. */
class ContractKit {
  readonly #setUp: () => Promise<ContractWorld>;
  #world: ContractWorld | undefined;
  #opened: MachineProvider[] = [];

  constructor(setUp: () => Promise<ContractWorld>) {
    this.#setUp = setUp;
  }

  async begin(): Promise<void> {
    this.#world = await this.#setUp();
    this.#opened = [];
    this.open();
  }

  async end(): Promise<void> {
    for (const one of this.#opened) await one.close();
    await this.world.close();
  }

  get world(): ContractWorld {
    if (this.#world === undefined) throw new Error("no test runs");
    return this.#world;
  }

  /** The one that most is asked of. */
  get provider(): MachineProvider {
    const [first] = this.#opened;
    if (first === undefined) throw new Error("no test runs");
    return first;
  }

  open(label: FleetLabel = CONTRACT_LABEL): MachineProvider {
    const made = this.world.provider(label);
    this.#opened.push(made);
    return made;
  }

  request(name: string): MachineRequest {
    const [offer] = this.provider.offers;
    if (offer === undefined) throw new Error("the provider offers nothing");
    const env = { HOLDFAST_URL: "http://127.0.0.1:1", HOLDFAST_API_KEY: TOKEN };
    return { name, offer, env };
  }

  async made(name: string, by = this.provider): Promise<ProvidedMachine> {
    return value(await by.create(this.request(name), signal));
  }

  async listed(by = this.provider): Promise<readonly ProvidedMachine[]> {
    return value(await by.list(signal));
  }

  async named(name: string, by = this.provider): Promise<readonly ProvidedMachine[]> {
    return (await this.listed(by)).filter((one) => one.name === name);
  }

  /** The trouble of an answer; no message of any may hold what is secret. */
  troubled(answer: Provided<unknown>): ProviderTrouble {
    if (answer.kind === "ok") throw new Error("expected trouble");
    const { message } = answer.trouble;
    const told = [...this.world.secrets, TOKEN].filter((secret) => message.includes(secret));
    if (told.length > 0 || message.length < 10) throw new Error(`no message to show: ${message}`);
    return answer.trouble;
  }
}

/** Runs the suite. */
export function describeProvider(
  name: string,
  options: {
    readonly faults: readonly ContractFault[];
    readonly setUp: () => Promise<ContractWorld>;
  },
): void {
  describe(`${name} keeps the contract of providers:`, () => {
    const kit = new ContractKit(options.setUp);
    beforeEach(() => kit.begin());
    afterEach(() => kit.end());
    testAsking(kit);
    testEnds(kit);
    testRefusals(kit, options.faults);
    testLostAnswers(kit, options.faults);
  });
}

function testAsking(kit: ContractKit): void {
  test("it says what may be asked for, each once", () => {
    expect(kit.provider.offers.length).toBeGreaterThan(0);
    const words = kit.provider.offers.map((one) => JSON.stringify(one));
    expect(new Set(words).size).toBe(words.length);
  });

  test("good settings have nothing wrong with them", async () => {
    expect(await kit.provider.check(signal)).toEqual({ kind: "ok", value: [] });
  });

  test("what was asked for is listed by its name, with its state", async () => {
    expect(await kit.listed()).toEqual([]);
    const machine = await kit.made("m-1");
    expect(machine.name).toBe("m-1");
    expect(alive(machine)).toBe(true);
    await kit.world.pass(LAG_MS);
    const [found, ...more] = await kit.listed();
    expect(more).toEqual([]);
    expect(found).toMatchObject({ ref: machine.ref, name: "m-1", offer: kit.provider.offers[0] });
    expect(found?.state).toBe("running");
    expect(found?.createdAt).toBeTypeOf("number");
  });

  test("it is listed at once, and by another control plane in a while", async () => {
    await kit.made("m-1");
    expect((await kit.named("m-1")).map(alive)).toEqual([true]);
    await kit.world.pass(LAG_MS);
    expect((await kit.named("m-1", kit.open())).map(alive)).toEqual([true]);
  });

  test("a name may have 40 characters, and no other ones", async () => {
    const long = `m-${"0".repeat(38)}`;
    expect((await kit.made(long)).name).toBe(long);
    await kit.world.pass(LAG_MS);
    expect(await kit.named(long, kit.open())).toHaveLength(1);
    for (const bad of ["", `m-${"0".repeat(39)}`, "M-1", "m_1", "../m", "m.1", "-m", "m/1"]) {
      expect(kit.troubled(await kit.provider.create(kit.request(bad), signal))).toMatchObject({
        kind: "invalid",
        mayHaveHappened: false,
      });
    }
    expect(await kit.listed()).toHaveLength(1);
  });

  test("asked twice with one name, it makes one machine", async () => {
    const first = await kit.made("m-1");
    expect((await kit.made("m-1")).ref).toBe(first.ref);
    await kit.world.pass(LAG_MS);
    expect((await kit.made("m-1", kit.open())).ref).toBe(first.ref);
    expect(await kit.named("m-1", kit.open())).toHaveLength(1);
  });

  test("asked twice at the same time, it makes one machine", async () => {
    const both = await Promise.all([kit.made("m-1"), kit.made("m-1")]);
    expect(new Set(both.map((one) => one.ref)).size).toBe(1);
    await kit.world.pass(LAG_MS);
    expect(await kit.named("m-1", kit.open())).toHaveLength(1);
  });
}

function testEnds(kit: ContractKit): void {
  test("a machine is ended, as often as it is asked", async () => {
    const { ref } = await kit.made("m-1");
    expect(await kit.provider.terminate(ref, signal)).toEqual({ kind: "ok", value: null });
    expect((await kit.named("m-1")).filter(alive)).toEqual([]);
    expect(await kit.provider.terminate(ref, signal)).toEqual({ kind: "ok", value: null });
    await kit.world.pass(END_MS);
    for (const by of [kit.provider, kit.open()]) {
      expect((await kit.named("m-1", by)).filter((one) => one.state !== "ended")).toEqual([]);
      expect(await by.terminate(ref, signal)).toEqual({ kind: "ok", value: null });
    }
  });

  test("one that nobody knows is ended already", async () => {
    for (const ref of ["unknown", "../etc", "", "a/b", "ü", "x".repeat(5_000)]) {
      expect(await kit.provider.terminate(ref, signal)).toEqual({ kind: "ok", value: null });
    }
  });

  test("machines of other labels are neither listed nor touched", async () => {
    const others = [
      { fleet: "studio-b", pool: "gpu" },
      { fleet: "studio-a", pool: "gpu-2" },
      { fleet: "studio", pool: "a-gpu" },
      { fleet: "studio-a-gpu", pool: "x" },
    ].map((label) => kit.open(label));
    const theirs: ProvidedMachine[] = [];
    for (const [index, other] of others.entries()) {
      theirs.push(await kit.made(`theirs-${index}`, other));
    }
    await kit.world.pass(LAG_MS);
    expect(await kit.listed()).toEqual([]);
    for (const [index, { ref }] of theirs.entries()) {
      const other = others[index];
      expect(kit.troubled(await kit.provider.terminate(ref, signal)).kind).toBe("invalid");
      expect((await kit.listed(other)).map((one) => [one.ref, one.state])).toEqual([
        [ref, "running"],
      ]);
    }
  });

  test("an aborted signal rejects, and nothing is asked", async () => {
    const reason = new Error("not wanted any more");
    const aborted = AbortSignal.abort(reason);
    await expect(kit.provider.create(kit.request("m-1"), aborted)).rejects.toBe(reason);
    await expect(kit.provider.list(aborted)).rejects.toBe(reason);
    await expect(kit.provider.check(aborted)).rejects.toBe(reason);
    const { ref } = await kit.made("m-2");
    await expect(kit.provider.terminate(ref, aborted)).rejects.toBe(reason);
    expect((await kit.listed()).map((one) => [one.name, alive(one)])).toEqual([["m-2", true]]);
  });

  test("machines live on when a provider is closed", async () => {
    const { ref } = await kit.made("m-1");
    await kit.provider.close();
    await kit.world.pass(LAG_MS);
    expect(await kit.named("m-1", kit.open())).toMatchObject([{ ref, state: "running" }]);
  });
}

function testRefusals(kit: ContractKit, faults: readonly ContractFault[]): void {
  const refusals = ["capacity", "rate_limited", "unauthorized", "invalid"] as const;
  eachFault(
    faults,
    "a refusal is told as what it is, and has made nothing",
    refusals,
    async (fault) => {
      await kit.world.fail(fault, "create");
      const trouble = kit.troubled(await kit.provider.create(kit.request("m-1"), signal));
      expect(trouble).toMatchObject({ kind: fault, mayHaveHappened: false });
      if (fault === "rate_limited") expect(trouble.retryAfterMs).toBe(CONTRACT_RETRY_AFTER_MS);
      await kit.world.heal();
      await kit.world.pass(LAG_MS);
      expect(await kit.named("m-1")).toEqual([]);
    },
  );

  const others = faults.filter((fault) => fault !== "capacity" && fault !== "invalid");
  eachFault(faults, "trouble with the list or an end is no machine's", others, async (fault) => {
    const { ref } = await kit.made("m-1");
    await kit.world.pass(LAG_MS);
    await kit.world.fail(fault, "list_and_end");
    const expected = fault === "rate_limited" || fault === "unauthorized" ? fault : "unavailable";
    for (const answer of [
      await kit.provider.list(signal),
      await kit.provider.terminate(ref, signal),
    ]) {
      expect(kit.troubled(answer)).toMatchObject({ kind: expected, mayHaveHappened: false });
    }
    await kit.world.heal();
    expect(await kit.provider.terminate(ref, signal)).toEqual({ kind: "ok", value: null });
  });
}

function testLostAnswers(kit: ContractKit, faults: readonly ContractFault[]): void {
  const heard = ["reset_heard", "silent_heard", "broken_json_heard", "huge_body_heard"] as const;
  eachFault(faults, "after a lost answer it is found, not made again", heard, async (fault) => {
    await kit.world.fail(fault, "create");
    const lost = kit.troubled(await kit.provider.create(kit.request("m-1"), signal));
    expect(lost).toMatchObject({ kind: "unavailable", mayHaveHappened: true });
    await kit.world.heal();
    // Asked again too soon, it is found or refused, never made twice.
    const again = await kit.provider.create(kit.request("m-1"), signal);
    if (again.kind === "trouble") expect(kit.troubled(again).mayHaveHappened).toBe(true);
    await kit.world.pass(LAG_MS);
    expect((await kit.named("m-1")).map(alive)).toEqual([true]);
    expect((await kit.made("m-1")).name).toBe("m-1");
    expect(await kit.named("m-1", kit.open())).toHaveLength(1);
  });

  const unheard = ["server_error", "refused", "reset_unheard"] as const;
  eachFault(
    faults,
    "what was not carried out is asked again in a while",
    unheard,
    async (fault) => {
      await kit.world.fail(fault, "create");
      const lost = kit.troubled(await kit.provider.create(kit.request("m-1"), signal));
      expect(lost.kind).toBe("unavailable");
      expect(lost.mayHaveHappened).toBe(fault !== "refused");
      await kit.world.heal();
      await kit.world.pass(LAG_MS);
      expect(await kit.named("m-1")).toEqual([]);
      await kit.made("m-1");
      await kit.world.pass(LAG_MS);
      expect(await kit.named("m-1", kit.open())).toHaveLength(1);
    },
  );
}

/** One test for each fault that the world has. */
function eachFault(
  known: readonly ContractFault[],
  title: string,
  faults: readonly ContractFault[],
  run: (fault: ContractFault) => Promise<void>,
): void {
  test.each(faults.filter((one) => known.includes(one)))(`${title} (%s)`, (fault) => run(fault));
}

function value<T>(answer: Provided<T>): T {
  if (answer.kind === "trouble") throw new Error(`trouble: ${answer.trouble.message}`);
  return answer.value;
}
