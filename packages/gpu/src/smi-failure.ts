/**
 * What a run of nvidia-smi says went wrong. Both streams are read, and any exit code is taken: public
 * reports disagree on whether a query that failed for one card exits 0, and on where it says so.
 */
import { assertNever } from "@holdfast/runtime";
import type { SmiFailure, SmiRun } from "./model.ts";

/** Longest text that is kept of what nobody knows. */
const TEXT_MAX = 300;

/**
 * All failures of a run, those of single cards included. `cardsSeen` is how many cards it told of all
 * the same: with none and no known text, an exit code other than 0 is a failure as well.
 */
export function readSmiFailures(run: SmiRun, cardsSeen: number): readonly SmiFailure[] {
  if (run.ended === "not_found") return [{ kind: "not_found" }];
  if (run.ended === "timeout") return [{ kind: "timeout" }];
  const text = `${run.stderr}\n${run.stdout}`;
  const whole = wholeFailure(text);
  if (whole !== undefined) return [whole];
  const cards = cardFailures(text, cardsSeen);
  if (cards.length > 0 || cardsSeen > 0) return cards;
  if (run.ended === "exited" && run.exitCode === 0) return [];
  return [byExitCode(run)];
}

/**
 * Texts: no driver, no devices, NVML (two forms) and no library are recorded in the project's
 * fixtures (drivers 440 to 595), with their sources.
 */
function wholeFailure(text: string): SmiFailure | undefined {
  if (/couldn't communicate with the NVIDIA driver/i.test(text)) return { kind: "no_driver" };
  if (/couldn't find libnvidia-ml/i.test(text)) return { kind: "library_missing" };
  if (/Driver\/library version mismatch/i.test(text)) {
    const library = /NVML library version: ([\d.]+)/i.exec(text)?.[1] ?? null;
    return { kind: "nvml_mismatch", library };
  }
  const nvml = /Failed to initialize NVML: ([^\n]+)/i.exec(text);
  if (nvml !== null) {
    const said = nvml[1]!.trim();
    if (/Driver Not Loaded/i.test(said)) return { kind: "no_driver" };
    return { kind: "nvml_unknown", text: said.slice(0, TEXT_MAX) };
  }
  return /^\s*No devices (?:were )?found/im.test(text) ? { kind: "no_devices" } : undefined;
}

const CARD_LINE =
  /Unable to determine the device handle for GPU\s*(\d+(?=:? ))?:?\s*([0-9A-F]{4,8}:[0-9A-F]{2}:[0-9A-F]{2}\.[0-9A-F])?:?\s*([^\n]*)/gi;

function cardFailures(text: string, othersSeen: number): readonly SmiFailure[] {
  return [...text.matchAll(CARD_LINE)].map(([, gpu, bus, said]): SmiFailure => {
    const index = gpu === undefined ? null : Number(gpu);
    const busId = bus ?? null;
    const what = said!.trim().slice(0, TEXT_MAX);
    return /GPU is lost/i.test(what)
      ? { kind: "gpu_lost", index, busId }
      : { kind: "device_handle", index, busId, text: what, othersSeen };
  });
}

/** By the codes of nvidia-smi's manual page, where no text told more. */
function byExitCode({ ended, exitCode, stderr, stdout }: SmiRun): SmiFailure {
  if (ended === "exited") {
    if (exitCode === 9) return { kind: "no_driver" };
    if (exitCode === 12) return { kind: "library_missing" };
    if (exitCode === 15) return { kind: "gpu_lost", index: null, busId: null };
  }
  const text = (stderr.trim() === "" ? stdout : stderr).trim().slice(0, TEXT_MAX);
  return { kind: "other", exitCode, text };
}

/**
 * Whether a failure says that there is no NVIDIA GPU, rather than that one is ill. Where nvidia-smi is
 * there, a driver that is not loaded, or a library that is not found, is ill: a GPU is meant to be here.
 */
export function meansNoGpu(kind: SmiFailure["kind"]): boolean {
  return ["not_found", "no_devices"].includes(kind);
}

/** A failure in words. */
export function smiFailureWords(failure: SmiFailure): {
  readonly reason: string;
  readonly advice: string;
} {
  switch (failure.kind) {
    case "not_found":
      return {
        reason: "there is no nvidia-smi: no NVIDIA driver is installed",
        advice: "Install the driver, or name the program if it is not on PATH.",
      };
    case "timeout":
      return {
        reason: "nvidia-smi did not answer in time",
        advice: "The driver may hang: look for Xid in the kernel's log; a reboot clears it.",
      };
    case "no_driver":
      return {
        reason: "the NVIDIA driver is not loaded",
        advice: "Load it (`modprobe nvidia`); after an update of the kernel install it anew.",
      };
    case "no_devices":
      return {
        reason: "the NVIDIA driver found no GPU",
        advice: "See `lspci` and the kernel's log: the card may be off the bus, or too new.",
      };
    case "library_missing":
      return {
        reason: "the driver's library libnvidia-ml.so is not there",
        advice: "In a container start it with the NVIDIA runtime (`--gpus all`).",
      };
    case "nvml_mismatch":
      return {
        reason: `the loaded driver is older than its library${failure.library === null ? "" : ` (${failure.library})`}`,
        advice: "The driver was updated while it ran: reboot.",
      };
    case "nvml_unknown":
      return {
        reason: `the driver's library could not be started: ${failure.text}`,
        advice:
          "In a container its devices may have been taken away (a reload of systemd does): start it anew.",
      };
    case "gpu_lost":
      return {
        reason: `${cardWords(failure)} has fallen off the bus`,
        advice:
          "Reboot; if it comes again, look at power, heat, riser and Xid in the kernel's log.",
      };
    case "device_handle":
      return {
        reason: `${cardWords(failure)} gives no handle: ${failure.text} (${othersWords(failure.othersSeen)})`,
        advice: "Look for Xid in the kernel's log, and reboot.",
      };
    case "other":
      return {
        reason: `nvidia-smi failed${failure.exitCode === null ? "" : ` with exit code ${failure.exitCode}`}${failure.text === "" ? "" : `: ${failure.text}`}`,
        advice: "Run it by hand and see what it says.",
      };
    default:
      return assertNever(failure);
  }
}

function cardWords({ index, busId }: { index: number | null; busId: string | null }): string {
  const at = busId === null ? "" : ` at ${busId}`;
  return index === null ? `a GPU${at}` : `GPU ${index}${at}`;
}

function othersWords(othersSeen: number): string {
  return othersSeen === 0 ? "no other is told of" : `${othersSeen} others are told of`;
}
