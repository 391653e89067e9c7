/** What became of an instance that died, and of the job that it ran then. */
import { assertNever } from "@holdfast/runtime";
import type { InstanceDeaths } from "../jobs/trouble-service.ts";
import { countText } from "./words.ts";

/** One crash or more of an instance within a time that is said, and how it stands now. */
export function crashWords(deaths: InstanceDeaths, within: string): string {
  const count = `${countText(deaths.deaths, "time")} in ${within}`;
  return `${count}, last during job ${deaths.jobNumber}, which ${jobWords(deaths)}; ${instanceWords(deaths)}`;
}

function jobWords({ jobState }: InstanceDeaths): string {
  switch (jobState) {
    case "queued":
      return "was queued again";
    case "recovering":
      return "is being recovered";
    case "processing":
      return "runs again";
    case "completed":
      return "completed after it";
    case "failed":
      return "failed";
    case "timeout":
      return "ran out of time";
    case "cancelled":
      return "was cancelled";
    default:
      return assertNever(jobState);
  }
}

function instanceWords({ now }: InstanceDeaths): string {
  switch (now.kind) {
    case "gone":
      return "the instance is not there any more";
    case "silent":
      return "its machine has not said how it is since";
    case "known":
      break;
    default:
      return assertNever(now);
  }
  const reason = now.reason === null ? "" : `: ${now.reason}`;
  switch (now.state) {
    case "healthy":
      return "the instance is back";
    case "starting":
      return "the instance starts again";
    case "unhealthy":
      return `the instance is not back yet${reason}`;
    case "stopped":
      return `the instance is stopped${reason}`;
    default:
      return assertNever(now.state);
  }
}
