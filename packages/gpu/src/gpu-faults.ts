/** What is wrong with single cards, and what to do. Pure. */
import type { GpuFault, GpuReading, SmiFailure } from "./model.ts";
import type { ListedGpu } from "./parse-list.ts";
import type { ReportedGpu } from "./parse-report.ts";
import { smiFailureWords } from "./smi-failure.ts";

/** What is known of a card that is told of. */
interface KnownCard {
  readonly index: number;
  readonly reading: GpuReading | undefined;
  readonly listed: ListedGpu | undefined;
  readonly reported: ReportedGpu | undefined;
}

const RESET_ADVICE =
  "Stop what runs on it and reset it (`nvidia-smi --gpu-reset -i INDEX`); if that fails, reboot.";
const REBOOT_ADVICE =
  "Reboot; if it comes again, look at power, heat, riser and Xid in the kernel's log.";

/** Faults of a card that is told of; most have none. */
export function cardFaults(card: KnownCard): readonly GpuFault[] {
  const { index, reading, listed, reported } = card;
  const uuid = reading?.uuid ?? listed?.uuid ?? reported?.uuid ?? null;
  const fault = (
    kind: GpuFault["kind"],
    reason: string,
    advice: string,
    isUsable = false,
  ): readonly GpuFault[] => [{ index, uuid, kind, isUsable, reason, advice }];
  if (uuid === null) {
    return fault("no_uuid", `GPU ${index} does not tell its UUID`, "Run `nvidia-smi -L` by hand.");
  }
  if (reading?.fault === "lost") {
    return fault("lost", `GPU ${index} has fallen off the bus`, REBOOT_ADVICE);
  }
  if (reading?.fault === "needs_reset") {
    return fault("needs_reset", `GPU ${index} has to be reset`, RESET_ADVICE);
  }
  if (reading?.fault === "unreadable") return [unreadableFault(index, uuid)];
  const action = reading?.recoveryAction ?? reported?.recoveryAction ?? "None";
  const wanted = recovery(index, action);
  if (wanted !== undefined)
    return fault(wanted.kind, wanted.reason, wanted.advice, wanted.isUsable);
  if (reading?.isMig === true && (listed?.migDevices.length ?? 0) === 0) {
    const advice =
      "Make MIG devices (`nvidia-smi mig -cgi … -C`), or turn MIG off (`nvidia-smi -i INDEX -mig 0`).";
    return fault(
      "mig_without_devices",
      `GPU ${index} is in MIG mode and has no MIG device`,
      advice,
    );
  }
  return [];
}

/**
 * Of a card for which the driver gives errors alone. That is not known to end its work: whoever has seen
 * it answer before may take it for lost.
 */
export function unreadableFault(index: number, uuid: string | null): GpuFault {
  const reason = `the driver gives nothing but errors for GPU ${index}`;
  return { index, uuid, kind: "unreadable", isUsable: true, reason, advice: REBOOT_ADVICE };
}

/**
 * `gpu_recovery_action` in nvidia-smi's spelling (drivers 570 to 595 were seen to say `None`; the
 * other values are those of NVML's documentation). One that is not known is told, and stops nothing.
 */
function recovery(
  index: number,
  action: string,
): Pick<GpuFault, "kind" | "reason" | "advice" | "isUsable"> | undefined {
  const reason = `the driver asks for GPU ${index}: ${action}`;
  switch (action.toLowerCase()) {
    case "none":
      return undefined;
    case "gpu reset":
    case "reset":
    case "drain and reset":
      return { kind: "needs_reset", isUsable: false, reason, advice: RESET_ADVICE };
    case "node reboot":
    case "reboot":
      return { kind: "lost", isUsable: false, reason, advice: REBOOT_ADVICE };
    default: {
      const advice = "Let its work end, then see `nvidia-smi -q` and the kernel's log.";
      return { kind: "needs_drain", isUsable: true, reason, advice };
    }
  }
}

/**
 * Cards that are told of no more: those that nvidia-smi names as failed, gaps in the indices, and
 * expected ones. `seen` is in order. Rows of errors alone (`rowsOfErrors`) are of those, if as many.
 */
export function missingFaults(
  seen: readonly number[],
  failures: readonly SmiFailure[],
  expected: readonly number[],
  rowsOfErrors = 0,
): readonly GpuFault[] {
  const named = distinct(failures);
  const own = named.flatMap((failure) => indexIn(failure) ?? []);
  const highest = Math.max(-1, ...seen);
  const gaps = Array.from({ length: highest + 1 }, (_, index) => index);
  const absent = [...new Set([...gaps, ...expected])]
    .filter((index) => !seen.includes(index) && !own.includes(index))
    .sort((a, b) => a - b);
  const nameless = named.filter((failure) => indexIn(failure) === null);
  // As many nameless failures as absent cards: these are they, for indices go by the place on the bus.
  const isAllTold = nameless.length === absent.length;
  const inOrder = nameless.toSorted((a, b) => (busIn(a) < busIn(b) ? -1 : 1));
  const told = named.map((failure): GpuFault => {
    const at = inOrder.indexOf(failure);
    const index = indexIn(failure) ?? (isAllTold ? (absent[at] ?? null) : null);
    const kind = failure.kind === "gpu_lost" ? "lost" : "no_handle";
    return { index, uuid: null, kind, isUsable: false, ...smiFailureWords(failure) };
  });
  const toldIndices = told.map(({ index }) => index);
  const placeless = toldIndices.filter((index) => index === null).length;
  const missing = absent.filter((index) => !toldIndices.includes(index));
  // As many gaps as failures without a place, or fewer: each is told once.
  if (placeless > 0 && missing.length <= placeless) return told;
  return [
    ...told,
    ...missing.map((index): GpuFault => {
      if (missing.length === rowsOfErrors) return unreadableFault(index, null);
      const reason = `GPU ${index} is not told of, though it was expected`;
      return { index, uuid: null, kind: "missing", isUsable: false, reason, advice: REBOOT_ADVICE };
    }),
  ];
}

function indexIn(failure: SmiFailure): number | null {
  return "index" in failure ? failure.index : null;
}

function busIn(failure: SmiFailure): string {
  return "busId" in failure ? (failure.busId ?? "") : "";
}

/** The query and the list tell of the same card. */
function distinct(failures: readonly SmiFailure[]): readonly SmiFailure[] {
  const keys = new Set<string>();
  return failures.filter((failure) => {
    const key = "busId" in failure ? `${failure.index ?? ""} ${failure.busId ?? ""}` : "";
    if (keys.has(key)) return false;
    keys.add(key);
    return true;
  });
}
