import type { Cleaned } from "@holdfast/machine";
import { assertNever } from "@holdfast/runtime";
import { bytesText } from "../terminal/durations.ts";

/** What was removed, or would be, and what that frees, in lines. */
export function cleanedLines(cleaned: Cleaned): readonly string[] {
  const { removed, kept, freedBytes, isDryRun, uvCache } = cleaned;
  const freed = bytesText(freedBytes);
  return [
    ...removed.map((one) => `${isDryRun ? "would remove" : "removed"} ${one.what} (${sizes(one)})`),
    ...kept.map(({ what, reason }) => `${isDryRun ? "would keep" : "kept"} ${what}: ${reason}`),
    ...(removed.length === 0
      ? ["nothing to remove"]
      : [isDryRun ? `${freed} would be freed` : `${freed} freed`]),
    uvCacheLine(uvCache),
  ];
}

function sizes({ freedBytes, sharedBytes }: Cleaned["removed"][number]): string {
  const freed = bytesText(freedBytes);
  return sharedBytes === 0
    ? freed
    : `${freed}; ${bytesText(sharedBytes)} more are held by others too`;
}

function uvCacheLine(uvCache: Cleaned["uvCache"]): string {
  switch (uvCache.kind) {
    case "pruned":
      return `uv's cache: ${uvCache.detail}`;
    case "planned":
      return `uv's cache in ${uvCache.folder} would be pruned; how much that frees uv tells only then`;
    case "skipped":
      return `uv's cache is left as it is: ${uvCache.reason}`;
    default:
      return assertNever(uvCache);
  }
}
