/** What the agent says of a ComfyUI that failed, for a person: it speaks to programs. */

/** As the agent calls the signs of another process. */
const SIGNS: Readonly<Record<string, string>> = {
  connection_refused: "ComfyUI refused the connection: its process has ended",
  number_went_back: "ComfyUI was started anew during the run: its count of prompts began again",
  history_lost: "ComfyUI was started anew during the run: its history is lost",
  queue_lost: "ComfyUI was started anew during the run: its queue is lost",
  versions_changed: "ComfyUI was started anew during the run: its versions are others",
};
const SILENT = /^no answer for (\d+) ms(?::|$)/;
const DIED_BEFORE = "the instance died before this began: ";
const MS_PER_SECOND = 1_000;

/** Why ComfyUI ended under a run. */
export function deathWords(reason: string): string {
  return signWords(reason) ?? `ComfyUI ended during the run: ${reason}`;
}

/** Why a run was given back before it began; `health` is what the agent said of ComfyUI then. */
export function releaseWords(reason: string, health: string | undefined): string {
  return `${whyReleased(reason, health)}; the run was given back before it began`;
}

function whyReleased(reason: string, health: string | undefined): string {
  if (reason.startsWith(DIED_BEFORE)) return deathWords(reason.slice(DIED_BEFORE.length));
  // Nothing else needs the instance of an experiment: it was not well.
  if (reason !== "displaced") return reason;
  if (health === undefined) return "ComfyUI was not well";
  return signWords(health) ?? `ComfyUI was not well (${health})`;
}

function signWords(reason: string): string | undefined {
  if (Object.hasOwn(SIGNS, reason)) return SIGNS[reason];
  const silentMs = SILENT.exec(reason)?.[1];
  if (silentMs === undefined) return undefined;
  return `ComfyUI stopped answering (for ${Math.round(Number(silentMs) / MS_PER_SECOND)} s)`;
}
