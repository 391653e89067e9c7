/** Brings a machine's report into the limits of the wire: what is too long is cut, never refused. Pure. */
import {
  MACHINE_NAME_MAX,
  MACHINE_TEXT_MAX,
  MAX_GPUS,
  MAX_MACHINE_REPORT_BYTES,
  MAX_OFFERED_MODELS,
  MAX_OFFERED_PACKS,
  MAX_PACK_CLASSES,
  MAX_SERVICES,
  type MachineReport,
  type MachineService,
  type StartupStep,
} from "@holdfast/contract";
import { cutText as cutClean } from "./wire-text.ts";

/** Longest word of a report: a kind, a state, a version. */
const WORD_MAX = 64;
/** Left for the envelope around the report. */
const ENVELOPE_BYTES = 1_024;

/** What a machine says of itself; the agent adds its version and how its fetches go. */
export type OwnReport = Omit<MachineReport, "agentVersion" | "fetches">;

/** A report that the wire takes. The tail of what the machine offers goes first when it is too large. */
export function fitReport(report: MachineReport): MachineReport {
  const fitted: MachineReport = {
    agentVersion: word(report.agentVersion),
    services: report.services.slice(0, MAX_SERVICES).map(fitService),
    gpus: report.gpus.slice(0, MAX_GPUS).map((gpu) => ({
      ...gpu,
      uuid: name(gpu.uuid),
      name: name(gpu.name),
      driver: textOrNull(gpu.driver),
      fault: textOrNull(gpu.fault),
    })),
    release:
      report.release === null
        ? null
        : {
            id: name(report.release.id),
            comfyuiCommit: wordOrNull(report.release.comfyuiCommit),
            comfyuiVersion: wordOrNull(report.release.comfyuiVersion),
            python: wordOrNull(report.release.python),
            torch: wordOrNull(report.release.torch),
          },
    manifestDigest: report.manifestDigest === null ? null : cutText(report.manifestDigest, 128),
    host: report.host,
    offers: {
      // A model of another name is another model: what is too long is left out.
      models: report.offers.models
        .filter((one) => one.folder.length <= 128 && one.name.length <= 512)
        .slice(0, MAX_OFFERED_MODELS),
      packs: report.offers.packs.slice(0, MAX_OFFERED_PACKS).map((pack) => ({
        name: name(pack.name),
        classes: pack.classes.filter((one) => one.length <= 256).slice(0, MAX_PACK_CLASSES),
      })),
    },
    fetches: report.fetches.slice(0, MAX_OFFERED_MODELS),
    healthPort: report.healthPort,
  };
  return withinBytes(fitted);
}

function withinBytes(report: MachineReport): MachineReport {
  const limit = MAX_MACHINE_REPORT_BYTES - ENVELOPE_BYTES;
  let fitted = report;
  while (sizeOf(fitted) > limit && fitted.offers.packs.length > 0) {
    const packs = fitted.offers.packs.slice(0, Math.floor(fitted.offers.packs.length / 2));
    fitted = { ...fitted, offers: { ...fitted.offers, packs } };
  }
  while (sizeOf(fitted) > limit && fitted.offers.models.length > 0) {
    const models = fitted.offers.models.slice(0, Math.floor(fitted.offers.models.length / 2));
    fitted = { ...fitted, offers: { ...fitted.offers, models } };
  }
  while (sizeOf(fitted) > limit && fitted.services.length > 0) {
    const services = fitted.services.slice(0, Math.floor(fitted.services.length / 2));
    fitted = { ...fitted, services };
  }
  return fitted;
}

function sizeOf(report: MachineReport): number {
  return Buffer.byteLength(JSON.stringify(report));
}

function fitService(service: MachineService): MachineService {
  const { installation, runtime, check } = service;
  return {
    name: name(service.name),
    kind: word(service.kind),
    state: service.state,
    reason: text(service.reason),
    since: whole(service.since),
    installation: {
      state: word(installation.state),
      detail: textOrNull(installation.detail),
      version: textOrNull(installation.version),
    },
    runtime: {
      state: word(runtime.state),
      pid: runtime.pid,
      startedAt: wholeOrNull(runtime.startedAt),
      restarts: whole(runtime.restarts),
      detail: textOrNull(runtime.detail),
    },
    check: {
      state: word(check.state),
      detail: textOrNull(check.detail),
      checkedAt: wholeOrNull(check.checkedAt),
    },
    dependencies: service.dependencies
      .slice(0, MAX_SERVICES)
      .map((one) => ({ name: name(one.name), state: one.state })),
  };
}

/** A step that the wire takes. */
export function fitStep(step: StartupStep): StartupStep {
  return {
    id: name(step.id),
    title: name(step.title),
    outcome: step.outcome,
    startedAt: whole(step.startedAt),
    durationMs: Number.isFinite(step.durationMs) ? Math.max(0, step.durationMs) : 0,
    detail: text(step.detail),
    advice: textOrNull(step.advice),
    isOptional: step.isOptional,
  };
}

/** Cut before it is cleaned: somebody's whole log may stand where a sentence should. */
function cutText(value: string, limit: number): string {
  return cutClean(value.slice(0, limit + 1), limit);
}
function name(value: string): string {
  return value === "" ? "-" : cutText(value, MACHINE_NAME_MAX);
}
function text(value: string): string {
  return cutText(value, MACHINE_TEXT_MAX);
}
function textOrNull(value: string | null): string | null {
  return value === null ? null : text(value);
}
function word(value: string): string {
  return cutText(value, WORD_MAX);
}
function wordOrNull(value: string | null): string | null {
  return value === null ? null : word(value);
}
function whole(value: number): number {
  return Number.isFinite(value) ? Math.max(0, Math.round(value)) : 0;
}
function wholeOrNull(value: number | null): number | null {
  return value === null ? null : whole(value);
}
