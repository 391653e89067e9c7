import { mkdir, rename } from "node:fs/promises";
import { join } from "node:path";
import { StepFailure, type Step, type StepContext } from "./model.ts";
import { describeProgramEnd } from "./run-program.ts";
import { brokenPromises, type NodeClasses } from "./validation/object-info.ts";
import {
  fatalMissingModule,
  parseStartupLog,
  type StartupReport,
} from "./validation/startup-log.ts";
import { askRunning, quickTest, type QuickTest, type Trial } from "./validation/trial-run.ts";

/** A pack of the release as validation sees it. */
export interface ValidatedPack {
  readonly name: string;
  readonly isOptional: boolean;
  readonly classes: readonly string[];
}

/** What is validated. */
export interface Validation {
  /** Asked when it is needed: its Python may only be there by then. */
  readonly trial: () => Promise<Trial>;
  readonly packs: readonly ValidatedPack[];
  /** Optional packs that are left out, and why; grows here. */
  readonly missing: Map<string, string>;
  /** Takes an optional pack out of what ComfyUI loads; undefined where nothing may be changed. */
  readonly setAside: ((name: string) => Promise<void>) | undefined;
  readonly after: readonly string[];
  /** Whether the release was validated as it is. */
  isValid(): Promise<boolean>;
  /** Takes the result. */
  onValid(classes: NodeClasses): Promise<void>;
}

/**
 * The step that tries a release before it may serve: it starts and imports all custom nodes (exit
 * code and log, F24), and as a server has the classes that the manifest promises. Optional packs
 * that do not hold up are set aside, and the rest is tried again.
 */
export function validateStep(validation: Validation): Step {
  return {
    id: "release.validate",
    title: "ComfyUI starts, imports its custom nodes and has the promised classes",
    isOptional: false,
    after: validation.after,
    lane: "release",
    check: async () =>
      (await validation.isValid())
        ? { kind: "done", detail: "validated as it is" }
        : { kind: "needed", detail: "not validated as it is now" },
    async apply(context) {
      const { missing, setAside } = validation;
      for (const name of missing.keys()) await setAside?.(name);
      await testImports(validation, context);
      const classes = await askRunning(await validation.trial(), context);
      await checkPromises(validation, classes, context);
      await validation.onValid(classes);
    },
    verify: async () => undefined,
  };
}

const packsThere = ({ packs, missing }: Validation): ValidatedPack[] =>
  packs.filter(({ name }) => !missing.has(name));

async function testImports(
  validation: Validation,
  context: StepContext,
  isLast = false,
): Promise<void> {
  const { missing, setAside } = validation;
  const test = await quickTest(await validation.trial(), context);
  if (test.result.kind !== "succeeded") {
    if (isLast) throw deathOf(test);
    await survive(validation, test, context);
    return;
  }
  const report = parseStartupLog(test.log);
  const failed = packsThere(validation).flatMap((pack) => {
    const failure = report.failures.find(({ name }) => name === pack.name);
    return failure === undefined ? [] : [{ pack, reason: failure.reason ?? "no reason given" }];
  });
  const fatal = failed.filter(({ pack }) => !pack.isOptional);
  if (fatal.length > 0) {
    const what = fatal.map(({ pack, reason }) => `"${pack.name}" (${reason})`).join(", ");
    throw new StepFailure(
      `ComfyUI cannot import the custom nodes ${what}`,
      "Choose a ref that works with this ComfyUI, add the packages it lacks to python.packages, or mark the pack `optional: true`.",
    );
  }
  for (const { pack, reason } of failed) {
    missing.set(pack.name, `ComfyUI cannot import it: ${reason}`);
    context.log(`left out: the optional pack ${pack.name}, which cannot be imported: ${reason}`);
    await setAside?.(pack.name);
  }
  tellOthers(report, validation, context);
}

function tellOthers(report: StartupReport, { packs }: Validation, context: StepContext): void {
  const ours = new Set(packs.map(({ name }) => name));
  for (const { name, reason } of report.failures) {
    if (ours.has(name)) continue;
    context.log(`warning: ${name} of custom_nodes cannot be imported: ${reason ?? "no reason"}`);
  }
  for (const name of report.builtinFailures) {
    context.log(`warning: ComfyUI's own ${name} cannot be imported; its classes are not there`);
  }
}

/**
 * ComfyUI died at its start. When it lives without the optional packs, the deadly ones among them are
 * found by adding one after the other, and left out.
 */
async function survive(
  validation: Validation,
  first: QuickTest,
  context: StepContext,
): Promise<void> {
  const { setAside, missing } = validation;
  const trial = await validation.trial();
  const optional = packsThere(validation).filter(({ isOptional }) => isOptional);
  const death = deathOf(first);
  if (setAside === undefined || optional.length === 0) throw death;
  for (const { name } of optional) await setAside(name);
  const without = await quickTest(trial, context);
  if (without.result.kind !== "succeeded") throw deathOf(without);
  for (const { name } of optional) {
    await bringBack(trial, name);
    const withIt = await quickTest(trial, context);
    if (withIt.result.kind === "succeeded") continue;
    missing.set(name, `ComfyUI does not start with it: ${describeProgramEnd(withIt.result)}`);
    context.log(`left out: the optional pack ${name}, with which ComfyUI does not start`);
    await setAside(name);
  }
  // Those that are left live together; what they cannot import is read from that start.
  await testImports(validation, context, true);
}

async function bringBack(trial: Trial, name: string): Promise<void> {
  const folder = join(trial.comfyui, "custom_nodes", name);
  await mkdir(join(folder, ".."), { recursive: true });
  await rename(`${folder}.disabled`, folder);
}

function deathOf(test: QuickTest): StepFailure {
  const { result } = test;
  const end = result.kind === "succeeded" ? "it ended well" : describeProgramEnd(result);
  const { failures } = parseStartupLog(test.log);
  const hints = failures.map(({ name, reason }) => `${name}: ${reason ?? "not imported"}`);
  return new StepFailure(
    `ComfyUI does not start: ${end}${hints.length === 0 ? "" : `\nnot imported: ${hints.join("; ")}`}`,
    deathAdvice(fatalMissingModule(test.log)),
  );
}

const deathAdvice = (module: string | undefined): string =>
  module === undefined
    ? "Look at its last lines: if the ref is broken, name another one. What served before goes on."
    : `Add the package that brings the Python module "${module}" to python.packages of the manifest (most are named like their module), and run it again: it goes on from here.`;

async function checkPromises(
  validation: Validation,
  classes: NodeClasses,
  context: StepContext,
): Promise<void> {
  const there = packsThere(validation);
  const broken = brokenPromises(
    there.map(({ name, classes }) => ({ pack: name, classes })),
    classes,
  );
  const isOptional = (name: string): boolean =>
    there.some((pack) => pack.name === name && pack.isOptional);
  const fatal = broken.filter(({ pack }) => !isOptional(pack));
  if (fatal.length > 0) {
    const what = fatal.map(({ pack, classes }) => `"${pack}": ${classes.join(", ")}`).join("; ");
    throw new StepFailure(
      `classes that the manifest promises are not there: ${what}`,
      "Check `classes` of these packs, and whether their ref still has them.",
    );
  }
  for (const { pack, classes } of broken) {
    const why = `it does not bring ${classes.join(", ")}`;
    validation.missing.set(pack, why);
    context.log(`left out: the optional pack ${pack}: ${why}`);
    await validation.setAside?.(pack);
  }
}
