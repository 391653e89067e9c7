import { holdWords, type InstallationSummary } from "@holdfast/machine";
import { assertNever } from "@holdfast/runtime";
import type { AgentSight } from "./ask-health.ts";

/** What is installed and how it is, in lines. */
export function statusLines(summary: InstallationSummary, agent: AgentSight): readonly string[] {
  const { lock, current, previous, releases, hold, damage, busyPid } = summary;
  return [
    ...(lock === null
      ? ["nothing is installed: holdfast machine install"]
      : [
          `release ${lock.release} serves, made ${new Date(lock.createdAt).toISOString()}`,
          `  ComfyUI ${lock.comfyui.version ?? "?"} (${lock.comfyui.commit?.slice(0, 12) ?? lock.comfyui.adopted ?? "?"}), Python ${lock.python.version}, PyTorch ${torchText(lock.torch)}`,
          ...lock.nodes.map(({ name, commit, missing }) =>
            missing === null
              ? `  node pack ${name} ${commit.slice(0, 12)}`
              : `  node pack ${name} is MISSING: ${missing}`,
          ),
          `  ${lock.models.length} models, ${lock.nodeClasses.length} node classes`,
        ]),
    ...(hold === null ? [] : [`  ${holdWords(hold)}`]),
    ...(damage === null ? [] : [`  ${damage}`]),
    ...releases
      .filter(({ id }) => id !== current)
      .map(({ id, lock: own }) => {
        const what = id === previous ? " (before: rollback goes there)" : "";
        return `  release ${id}${own === null ? " is half-built" : what}`;
      }),
    ...(busyPid === null ? [] : [`an installer is at work: process ${busyPid}`]),
    ...agentLines(agent),
  ];
}

function torchText({
  version,
  backend,
}: NonNullable<InstallationSummary["lock"]>["torch"]): string {
  if (version === null) return "none";
  return backend === "none" ? `${version}, left to the requirements` : `${version} (${backend})`;
}

/** How the agent is that runs on the machine folder, in lines. */
export function agentLines(agent: AgentSight): readonly string[] {
  switch (agent.kind) {
    case "none":
      return ["no agent runs on this machine folder"];
    case "silent":
      return [
        `an agent runs (process ${agent.pid}, ${agent.url}) and tells nothing: ${agent.reason}`,
      ];
    case "answers": {
      const { url, health, services } = agent;
      return [
        `agent at ${url}: ${health.state}, ${health.reason}`,
        ...health.manifest.problems.map((problem) => `  ${problem}`),
        ...services.map(({ name, state, reason }) => `  ${name}: ${state}, ${reason}`),
      ];
    }
    default:
      return assertNever(agent);
  }
}
