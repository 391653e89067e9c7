import type { InstallPlan } from "@holdfast/machine";
import { bytesText } from "../terminal/durations.ts";

const MARKS = { done: "ok    ", needed: "to do ", unknown: "?     " } as const;

/** A plan as a person reads it. */
export function planLines(plan: InstallPlan): readonly string[] {
  const { releaseId, isNewRelease, torchBackend, refs, steps, problems, warnings } = plan;
  return [
    ...refs.map(
      ({ subject, ref, commit }) =>
        `${subject}: ${ref} is ${commit?.slice(0, 12) ?? "not resolved"}`,
    ),
    ...(releaseId === null
      ? []
      : [
          `release ${releaseId}: ${isNewRelease ? "to be made" : "is there"}; PyTorch: ${torchBackend === "none" ? "left to the requirements" : torchBackend}`,
        ]),
    ...steps.map(({ state, title, detail, isOptional }) => {
      return `${MARKS[state]} ${title}${isOptional ? " (optional)" : ""}: ${detail}`;
    }),
    `disk: needs about ${bytesText(plan.needBytes)}, ${bytesText(plan.freeBytes)} are free`,
    ...(plan.diskNote === null ? [] : [`      ${plan.diskNote}`]),
    ...warnings.map((warning) => `warning: ${warning}`),
    ...problems.flatMap(({ subject, message, advice }) => [
      `PROBLEM ${subject}: ${message}`,
      `        ${advice}`,
    ]),
  ];
}
